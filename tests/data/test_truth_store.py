"""Scenes with truth as they are read beside images: the truth itself, kept on disk, the same whoever draws it."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("panda3d.core", reason="scenes are drawn by panda3d, which is not installed")

from selfsup.data.scenes import describe, render, truth_maps, truth_store
from selfsup.data.scenes.truth import truth
from selfsup.data.scenes.truth_store import TruthStore, open_truth
from selfsup.errors import InputError

SIZE = 32


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw parts of 3, and let 4 scenes do."""
    monkeypatch.setattr(truth_maps, "PART", 3)
    monkeypatch.setattr(truth_store, "LEAST", 4)


def test_rows_are_the_scenes_and_their_truth(tmp_path: Path) -> None:
    """In the order asked and in the units promised; half precision costs next to nothing."""
    store = open_truth("scenes:5:7", SIZE, cache=tmp_path, workers=0)
    assert len(store) == 5
    assert store.size == SIZE
    rows = store.rows([4, 1])
    assert {name: (values.dtype, values.shape) for name, values in rows.items()} == {
        "scenes": (np.uint8, (2, 3, SIZE, SIZE)),
        "depth": (np.float32, (2, SIZE, SIZE)),
        "normals": (np.float32, (2, 3, SIZE, SIZE)),
        "contours": (np.float32, (2, 1, SIZE, SIZE)),
    }
    for place, index in enumerate((4, 1)):
        scene = describe(7, index)
        found = truth(scene, SIZE)
        (picture,) = render([scene], SIZE)
        np.testing.assert_array_equal(rows["scenes"][place], picture.transpose(2, 0, 1))
        np.testing.assert_allclose(rows["depth"][place], found.depth, rtol=5e-4)
        np.testing.assert_allclose(rows["normals"][place], found.normals.transpose(2, 0, 1), atol=5e-4)
        np.testing.assert_array_equal(rows["contours"][place, 0], found.contours)


def test_workers_draw_the_same_and_the_second_call_draws_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes give what one does; afterwards it is read from disk, mapped and not loaded."""
    alone = open_truth("plain-scenes:7", SIZE, cache=tmp_path / "one", workers=0)
    open_truth("plain-scenes:7", SIZE, cache=tmp_path / "two", workers=2)
    monkeypatch.setattr(truth_store, "draw_part", None)
    again = open_truth("plain-scenes:7", SIZE, cache=tmp_path / "two", workers=0)
    for name, values in alone.rows(range(7)).items():
        np.testing.assert_array_equal(again.rows(range(7))[name], values)
        assert isinstance(again.arrays[name], np.memmap)
    assert not list(tmp_path.rglob("parts"))


def test_selections_share_what_is_on_disk(tmp_path: Path) -> None:
    """Also of a selection."""
    store = open_truth("scenes:6", SIZE, cache=tmp_path, workers=0)
    part = store.select([5, 1, 3]).select(np.array([2, 0]))
    assert len(part) == 2
    assert part.arrays is store.arrays
    np.testing.assert_array_equal(part.rows([0, 1])["scenes"], store.rows([3, 5])["scenes"])


def test_an_interrupted_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that were noted are not drawn again, and the arrays end as those of an uninterrupted call."""
    drawn: list[int] = []
    draw = truth_store.draw_part

    def draw_two(order: truth_maps.Order, part: int) -> None:
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(part)
        draw(order, part)

    monkeypatch.setattr(truth_store, "draw_part", draw_two)
    with pytest.raises(KeyboardInterrupt):
        open_truth("scenes:8", SIZE, cache=tmp_path / "cut", workers=0)
    monkeypatch.setattr(truth_store, "draw_part", lambda order, part: (drawn.append(part), draw(order, part)))
    resumed = open_truth("scenes:8", SIZE, cache=tmp_path / "cut", workers=0)
    assert drawn == [0, 1, 2]
    whole = open_truth("scenes:8", SIZE, cache=tmp_path / "whole", workers=0)
    for name, values in whole.rows(range(8)).items():
        np.testing.assert_array_equal(resumed.rows(range(8))[name], values)


def test_damaged_arrays_are_drawn_again(tmp_path: Path) -> None:
    """A file that was cut short is not read."""
    store = open_truth("scenes:4", SIZE, cache=tmp_path, workers=0)
    expected = store.rows(range(4))
    (file,) = tmp_path.rglob("depth.npy")
    file.write_bytes(file.read_bytes()[:-100])
    again = open_truth("scenes:4", SIZE, cache=tmp_path, workers=0).rows(range(4))
    np.testing.assert_array_equal(again["depth"], expected["depth"])


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("scenes:3", "At least 4 scenes are needed, got scenes:3"),
        ("scenes:many", "scenes:COUNT or scenes:COUNT:SEED, got scenes:many"),
        ("scenes:4:1:2", "scenes:COUNT or scenes:COUNT:SEED"),
        ("nowhere", "no folder nowhere"),
    ],
)
def test_impossible_sources_are_refused(tmp_path: Path, source: str, says: str) -> None:
    """With what would do."""
    with pytest.raises(InputError, match=says):
        open_truth(source, SIZE, cache=tmp_path, workers=0)


def test_a_store_needs_enough_scenes(tmp_path: Path) -> None:
    """Of which some are held out."""
    arrays = {"scenes": np.zeros((3, 3, SIZE, SIZE), np.uint8)}
    with pytest.raises(InputError, match="gives 3 usable scenes; at least 4"):
        truth_store._refuse_few(TruthStore(arrays, "here", np.arange(3)))
