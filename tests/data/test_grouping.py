"""What belongs together is found in paths: clips of one film, images of one patient."""

import numpy as np
import pytest
from films import drifting, write_film
from PIL import Image

from selfsup.data.grouping import check_group, grouped, has_groups
from selfsup.data.images import open_images
from selfsup.errors import InputError

SIDE = 32
FILM = r"(\w+)_\d+\."


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Three clips each of two films, and one of its own."""
    root = tmp_path_factory.mktemp("v") / "films"
    for seed, name in enumerate(["park_1", "park_2", "park_3", "room_1", "room_2", "room_3", "alone"]):
        write_film(root / f"{name}.mkv", drifting(4, seed, SIDE))
    return root


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """Nine images of three patients."""
    root = tmp_path_factory.mktemp("i") / "images"
    root.mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(root / f"{'abc'[number % 3]}_{number}.png")
    return root


def opened(root):
    return open_images(root, SIDE, store_size=SIDE, cache=root.parent / "cache", min_images=1)


def test_clips_of_a_group_have_one_source(films):
    """So that they are no negatives and are held out together; one that does not match stays by itself."""
    images = grouped(opened(films), FILM)
    source = dict(zip(images.clips.names, images.clips.source[images.clips.starts[:-1]].tolist(), strict=True))

    assert len(set(source.values())) == 3
    assert len({source[f"park_{n}.mkv"] for n in (1, 2, 3)}) == 1
    assert len({source[f"room_{n}.mkv"] for n in (1, 2, 3)}) == 1
    assert images.groups.tolist() == images.clips.source.tolist()
    assert images.notes[-1] == "The group pattern matches all but 1 clips, which are groups of their own."


def test_images_of_a_group_have_one_number(patients):
    """A selection keeps it."""
    images = grouped(opened(patients), FILM)

    for part in (images, images.select([8, 3, 1])):
        number = dict(zip((name[0] for name in part.names), part.groups.tolist(), strict=False))
        assert len(set(number.values())) == 3
        assert [number[name[0]] for name in part.names] == part.groups.tolist()


def test_grouping_twice_is_grouping_once(films):
    """An advice groups before it opens labels, and each of its runs groups again."""
    once = grouped(opened(films), FILM)
    twice = grouped(once, FILM)

    assert twice.clips.source.tolist() == once.clips.source.tolist()
    assert twice.notes == once.notes


def test_what_has_no_paths_has_no_groups(films):
    """Arrays and rendered scenes are refused in a sentence, patterns that are none too."""
    array = open_images(np.zeros((16, 3, SIDE, SIDE), np.uint8), SIDE, store_size=SIDE)

    with pytest.raises(InputError, match="which the array has none of"):
        grouped(array, FILM)
    with pytest.raises(InputError, match="which moving-scenes:4 has none of"):
        check_group(FILM, "moving-scenes:4")
    with pytest.raises(InputError, match="is no regular expression"):
        check_group("(", films)
    with pytest.raises(InputError, match="matches none of the paths"):
        grouped(opened(films), "nothing")
    with pytest.raises(InputError, match="matches none of the paths"):
        grouped(opened(films), "(nothing)?")
    assert has_groups(opened(films), FILM)
    assert not has_groups(opened(films), "(nothing)?")
    assert not has_groups(opened(films), "nothing")
    assert not has_groups(array, r"\d")


@pytest.mark.parametrize("pattern", [r"^(\w)\d/", r"(\w)\d/\d+\.png$"])
def test_frames_are_grouped_alike_as_clips_and_as_images(tmp_path, pattern):
    """An advice takes for clips what a run of a method that reads images takes for images."""
    for seed, name in enumerate(["a0", "a1", "b0", "b1"]):
        (tmp_path / "films" / name).mkdir(parents=True)
        for number, frame in enumerate(drifting(4, seed, SIDE)):
            Image.fromarray(frame).save(tmp_path / "films" / name / f"{number:04}.png")
    clips, images = (
        open_images(tmp_path / "films", SIDE, store_size=SIDE, cache=tmp_path / "c", min_images=1, wanted=wanted)
        for wanted in ("clips", "images")
    )
    assert (clips.clips.count, images.clips) == (4, None)

    for store in (clips, images):
        assert has_groups(store, pattern)
        assert {frozenset(name[0] for name in part) for part in _parts(grouped(store, pattern))} == {
            *map(frozenset, "ab")
        }


def _parts(images):
    """Names by their group."""
    return [[images.names[n] for n in np.flatnonzero(images.groups == group)] for group in set(images.groups.tolist())]
