"""Which frames belong together, and what is known of them without reading them again."""

import numpy as np
import pytest

from selfsup.clips import Clips, described


def clips(lengths: tuple[int, ...] = (4, 1, 3), side: int = 20, seed: int = 0) -> tuple[np.ndarray, Clips]:
    """Clips of noise: pixels and what is known of them; clips 0 and 2 are of one video."""
    pixels = np.random.default_rng(seed).integers(0, 256, (sum(lengths), 3, side, side), dtype=np.uint8)
    clip = np.repeat(np.arange(len(lengths)), lengths)
    seconds = np.concatenate([np.arange(length) / 10 for length in lengths])
    return pixels, described(pixels, clip, seconds, clip % 2, [f"clip {n}" for n in range(len(lengths))])


def test_motion_is_the_mean_difference_from_the_frame_before_and_0_where_a_clip_begins():
    pixels, found = clips()

    for number in range(8):
        if number in (0, 4, 5):
            assert found.motion[number] == 0
        else:
            difference = np.abs(pixels[number].astype(float) - pixels[number - 1]).mean() / 255
            assert found.motion[number] == pytest.approx(difference, rel=1e-6)


def test_pieces_in_which_frames_are_read_do_not_show(monkeypatch: pytest.MonkeyPatch):
    _, whole = clips((300, 400))
    monkeypatch.setattr("selfsup.clips._FRAMES", 7)

    _, pieces = clips((300, 400))

    np.testing.assert_array_equal(pieces.motion, whole.motion)
    np.testing.assert_array_equal(pieces.thumbs, whole.thumbs)


@pytest.mark.parametrize("side", [8, 16, 20, 37, 64])
def test_small_pictures_are_means_of_boxes(side: int):
    """Boxes of a grid of 16 x 16; smaller pictures repeat their pixels."""
    pixels, found = clips((2,), side)

    edges = np.arange(17) * side // 16
    for row, column in [(0, 0), (3, 7), (15, 15)]:
        top, left = edges[row], edges[column]
        box = pixels[1, :, top : max(edges[row + 1], top + 1), left : max(edges[column + 1], left + 1)]
        np.testing.assert_allclose(found.thumbs[1, :, row, column], box.mean((1, 2)), atol=0.51)


def test_a_selection_keeps_clips_whole_and_numbers_them_anew():
    _, found = clips()

    part = found.select([4, 5, 6, 7])

    assert part.names == ("clip 1", "clip 2")
    assert part.clip.tolist() == [0, 1, 1, 1]
    assert part.source.tolist() == [1, 0, 0, 0]
    assert part.seconds.tolist() == [0, 0, 0.1, 0.2]
    assert part.starts.tolist() == [0, 1, 4]
    np.testing.assert_array_equal(part.motion, found.motion[4:])
    np.testing.assert_array_equal(part.thumbs, found.thumbs[4:])


def test_frames_out_of_order_are_pieces():
    """Nothing then takes the frame at which a piece begins for one that followed the frame before it."""
    _, found = clips()

    part = found.select([2, 3, 0, 1, 6])

    assert part.clip.tolist() == [0, 0, 1, 1, 2]
    assert part.names == ("clip 0", "clip 0", "clip 2")
    assert (part.motion[[0, 2, 4]] == 0).all()
    assert (part.motion[[1, 3]] > 0).all()
    assert found.select([2, 2, 3]).clip.tolist() == [0, 1, 1]


def test_frames_are_read_by_their_numbers_in_the_selection():
    pixels, found = clips()

    np.testing.assert_array_equal(found.read(np.array([6, 0])), pixels[[6, 0]])
    np.testing.assert_array_equal(found.select([5, 6, 7]).select([1, 2]).read(np.array([1, 0])), pixels[[7, 6]])


def test_means_are_over_the_frames_of_each_clip():
    _, found = clips()
    rows = np.arange(16, dtype=np.float32).reshape(8, 2)

    means = found.means(rows)

    np.testing.assert_allclose(means, [[3, 4], [8, 9], [12, 13]])
    assert means.dtype == np.float32
