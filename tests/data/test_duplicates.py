"""Near-identical pictures are found, similar ones are not."""

import io

import numpy as np
import pytest
from pictures import picture
from PIL import Image

from selfsup.data import duplicates
from selfsup.data.duplicates import near_duplicates, overlap, similar_pairs


def stack(seeds, size: int = 48) -> np.ndarray:
    return np.stack([np.asarray(picture(seed, size, size)).transpose(2, 0, 1) for seed in seeds])


def saved(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).transpose(2, 0, 1)


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    image, size = Image.fromarray(pixels.transpose(1, 2, 0)), pixels.shape[-1]
    small = image.resize((side, side), Image.Resampling.BICUBIC).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(small).transpose(2, 0, 1)


CHANGES = {
    "identical": lambda x: x,
    "quality 50": lambda x: saved(x, 50),
    "resized": lambda x: resized(x, 36),
    "brighter": lambda x: np.clip(x * 1.1 + 5, 0, 255).astype(np.uint8),
    "warmer": lambda x: np.clip(x + np.array([12, 0, -12])[:, None, None], 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found(change):
    """All 30 copies among 300 other pictures, and nothing else."""
    pixels = stack(range(300))
    copies = np.stack([CHANGES[change](x) for x in pixels[:30]])

    group = near_duplicates(np.concatenate([pixels, copies]))

    assert group[:300].tolist() == list(range(300))
    assert group[300:].tolist() == list(range(30))


def test_shared_backgrounds_are_no_duplicates():
    """One room with one small thing in it, each time another one, as in drawn scenes or from a fixed camera."""
    random = np.random.default_rng(0)
    room = stack([1])[0]
    pixels = np.repeat(room[None], 200, 0)
    for image in pixels:
        y, x = random.integers(0, 40, 2)
        image[:, y : y + 8, x : x + 8] = random.integers(0, 255, 3)[:, None, None]

    assert near_duplicates(pixels).tolist() == list(range(200))


def test_flat_and_noisy_images_are_compared_exactly():
    """Blank slides with noise are all different; blank ones of the same bytes are the same."""
    random = np.random.default_rng(0)
    noisy = np.clip(200 + random.normal(0, 6, (100, 3, 48, 48)), 0, 255).astype(np.uint8)
    blank = np.full((10, 3, 48, 48), 7, np.uint8)
    blank[5:] = 9

    group = near_duplicates(np.concatenate([noisy, blank]))

    assert group.tolist() == [*range(100), *[100] * 5, *[105] * 5]


def test_long_chains_are_not_believed():
    """A slow film is one chain of neighbours; it is cut between all but the most alike."""
    keys = stack(range(6)).astype(np.float32)
    legs = [
        np.stack([one * (1 - t) + other * t for t in np.linspace(0, 1, 20, endpoint=False)])
        for one, other in zip(keys, np.roll(keys, -1, 0), strict=True)
    ]
    pixels = np.concatenate([*legs, stack(range(100, 140))]).astype(np.uint8)

    assert np.bincount(near_duplicates(pixels)).max() <= 20


def test_what_all_images_share_does_not_count():
    """Two pictures under the same strong vignette are different ones."""
    vignette = np.hypot(*np.mgrid[-1:1:48j, -1:1:48j])[None, None]
    pixels = (stack(range(100)) * 0.15 + 180 * (1 - vignette).clip(0)).clip(0, 255).astype(np.uint8)

    assert near_duplicates(pixels).tolist() == list(range(100))


def test_overlap_of_two_stores():
    """Indices of the first whose picture is in the second, at another size too."""
    one, other = stack(range(100)), stack(range(90, 140), size=64)

    assert overlap(one, other).tolist() == list(range(90, 100))
    assert overlap(other, one).tolist() == list(range(10))


def test_hashing_loses_next_to_nothing(monkeypatch):
    """On 500 pictures with 100 copies it finds all the pairs that a comparison of all finds."""
    pixels = stack(range(500), size=32)
    pixels = np.concatenate([pixels, np.stack([saved(x, 85) for x in pixels[:100]])])
    expected, _ = similar_pairs(pixels)
    monkeypatch.setattr(duplicates, "ALL_PAIRS", 0)

    found, likeness = similar_pairs(pixels)

    assert len(found) >= 100
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, expected.tolist()))
    assert (likeness >= duplicates.SIMILAR).all()


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_next_to_nothing(count):
    """A few images are fine."""
    assert near_duplicates(stack(range(count)) if count else np.zeros((0, 3, 8, 8), np.uint8)).tolist() == [
        *range(count)
    ]


def test_thumbnails_average_areas():
    """A 32 x 32 checkerboard of 2 x 2 fields becomes its own 16 x 16 pattern, less its mean."""
    board = np.indices((16, 16)).sum(0) % 2 * 200
    pixels = np.kron(board, np.ones((2, 2))).astype(np.uint8)[None, None].repeat(3, 1)

    assert np.allclose(duplicates.thumbnails(pixels).reshape(3, 16, 16), board - 100)
