"""Scenes rendered elsewhere: files in the units and shapes that others write, and what is broken is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from told import Told

from selfsup.data.scenes import truth_store
from selfsup.data.scenes.foreign import depth_of, edges_of, normals_of
from selfsup.data.scenes.truth_store import open_truth
from selfsup.errors import InputError

SIDE = 24


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 2 scenes do."""
    monkeypatch.setattr(truth_store, "LEAST", 2)


def test_what_render_writes_is_such_a_folder(tmp_path: Path) -> None:
    """Depth, normals and contours are those that are drawn without the way over files, up to their rounding."""
    pytest.importorskip("panda3d.core", reason="scenes are drawn by panda3d, which is not installed")
    from selfsup.data.scenes.folder import render_scenes

    truth = ["depth", "normals", "contours", "masks"]
    folder = render_scenes("scenes", tmp_path / "out", count=3, size=SIDE, truth=truth, workers=0)  # type: ignore[arg-type]
    read = open_truth(folder, SIDE, cache=tmp_path, workers=1).rows(range(3))
    drawn = open_truth("scenes:3", SIDE, cache=tmp_path, workers=0).rows(range(3))
    np.testing.assert_array_equal(read["scenes"], drawn["scenes"])
    np.testing.assert_allclose(read["depth"], drawn["depth"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(read["normals"], drawn["normals"], atol=1e-2)
    np.testing.assert_array_equal(read["contours"], drawn["contours"])


def test_arrays_and_images_say_the_same(tmp_path: Path) -> None:
    """Metres in floats are millimetres in 16 bits, unit normals are bytes; names may lie in folders below."""
    draw = np.random.default_rng(0)
    depth = draw.uniform(1, 5, (SIDE, SIDE)).astype(np.float32)
    normals = draw.normal(size=(SIDE, SIDE, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    ids = np.zeros((SIDE, SIDE), np.uint8)
    ids[5:15, 5:15] = 3
    for name in ("a/1", "a/2"):
        save(tmp_path / "rgb" / name, draw.integers(0, 255, (SIDE, SIDE, 3), np.uint8))
    save(tmp_path / "depth/a/1", (depth * 1000).round().astype(np.uint16))
    save(tmp_path / "depth/a/2.npy", depth)
    save(tmp_path / "normals/a/1", ((normals + 1) * 127.5).round().astype(np.uint8))
    save(tmp_path / "normals/a/2.npy", normals.transpose(2, 0, 1) * 0.9)
    save(tmp_path / "instance/a/1", ids)
    save(tmp_path / "instance/a/2", np.stack([ids * 40, ids * 0, ids + 7], axis=2))  # a colour for each thing
    rows = open_truth(tmp_path, SIDE, cache=tmp_path / "cache", workers=0).rows([0, 1])
    np.testing.assert_allclose(rows["depth"][0], rows["depth"][1], rtol=1.5e-3)
    np.testing.assert_allclose(rows["normals"][0], rows["normals"][1], atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(rows["normals"], axis=1), 1, atol=2e-3)
    np.testing.assert_array_equal(rows["contours"][0, 0] > 0, edges_of(ids, rows["depth"][0]) > 0)
    np.testing.assert_array_equal(rows["contours"][1, 0] > 0, edges_of(ids, rows["depth"][1]) > 0)


def test_units_and_what_is_not_seen() -> None:
    """Thousandths and units; zeros, infinities and negative numbers are no depth, and gray is no normal."""
    np.testing.assert_allclose(depth_of(np.array([[1500, 0]], np.uint16)), [[1.5, 0]])
    np.testing.assert_allclose(depth_of(np.array([[1.5, np.inf], [np.nan, -2.0]])), [[1.5, 0], [0, 0]])
    found = normals_of(np.array([[[255, 128, 127], [0, 0, 0], [128, 128, 128]]], np.uint8))
    np.testing.assert_allclose(found[0], [[1, 0, 0], [0, 0, 0], [0, 0, 0]], atol=5e-3)
    np.testing.assert_allclose(normals_of(np.array([[[0.0, 0.0, -2.0], [0.0, 0.0, 0.0]]]))[0], [[0, 0, -1], [0, 0, 0]])


def test_contours_lie_on_the_nearer_side() -> None:
    """A thing of 1 pixel in front of a wall is its own contour; behind a hole in it, the wall around it is."""
    ids = np.zeros((3, 3), np.uint8)
    ids[1, 1] = 1
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(
        edges_of(ids, np.where(ids, 1.0, 2.0)), 1 - cross - np.array([[1, 0, 1], [0] * 3, [1, 0, 1]])
    )
    np.testing.assert_array_equal(edges_of(ids, np.where(ids, 2.0, 1.0)), cross)
    np.testing.assert_array_equal(edges_of(ids, None), [[0, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_maps_are_resized_without_mixing(tmp_path: Path) -> None:
    """The middle square of 4:3 pictures; depths come from the source, a line of one pixel stays, ids never mix."""
    height, width = 4 * SIDE, 16 * SIDE // 3
    depth = np.full((height, width), 2000, np.uint16)
    depth[:, width // 2 :] = 4000
    contour = np.zeros((height, width), np.uint8)
    contour[:, width // 2] = 255
    for name in ("1", "2"):
        save(tmp_path / "rgb" / name, np.full((height, width, 3), 90, np.uint8))
        save(tmp_path / "depth" / name, depth)
        save(tmp_path / "contour" / name, contour)
    rows = open_truth(tmp_path, SIDE, cache=tmp_path / "cache", workers=0).rows([0])
    assert set(np.unique(rows["depth"])) == {2.0, 4.0}
    assert rows["contours"][0, 0].sum(1).tolist() == [1.0] * SIDE
    (column,) = np.flatnonzero(rows["contours"][0, 0, 0])
    assert column == SIDE // 2
    assert (rows["depth"][0, 0] == 4).argmax() == SIDE // 2


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root: (root / "depth/1.png").unlink(), "it has no depth"),
        (lambda root: (root / "depth/1.png").write_bytes(b"\x89PNG cut"), "its depth"),
        (lambda root: (root / "rgb/1.png").write_text("no picture"), "its rgb: the content is no image"),
        (lambda root: save(root / "depth/1", np.zeros((SIDE, SIDE), np.uint8)), "8 bits; 16 are needed"),
        (lambda root: save(root / "depth/1", np.zeros((SIDE, 2 * SIDE), np.uint16)), "48 x 24, the picture 24 x 24"),
        (lambda root: save(root / "contour/1", np.zeros((SIDE, SIDE), np.uint8)), "next to no contours"),
    ],
)
def test_broken_files_are_skipped_and_named(tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    """The others are used, whatever is wrong with one."""
    folder_of(tmp_path, 4)
    spoil(tmp_path)
    told = Told()
    store = open_truth(tmp_path, SIDE, cache=tmp_path / "cache", workers=0, progress=told)
    assert [(name, says in why) for name, why in store.skipped] == [("rgb/1.png", True)], store.skipped
    assert len(store) == 3
    assert store.rows([0, 1, 2])["scenes"][:, 0, 0, 0].tolist() == [0, 2, 3]
    assert any("1 of these scenes cannot be used; the first, rgb/1.png" in note for note in told.notes)


def test_files_beside_pictures_hide_nothing(tmp_path: Path) -> None:
    """Notes, cameras and whatever else is named as a picture or a map is left alone, and so are files of no picture."""
    folder_of(tmp_path, 3)
    for name in ("rgb/0.txt", "rgb/1.xyz", "depth/1.json", "depth/2", "contour/0.yaml", "rgb/notes.md"):
        (tmp_path / name).write_text("no picture")
    store = open_truth(tmp_path, SIDE, cache=tmp_path / "cache", workers=0)
    assert (len(store), store.skipped) == (3, [])
    (tmp_path / "depth/0.png").unlink()
    (tmp_path / "depth/0.exr").write_text("of another kind")
    ((name, why),) = open_truth(tmp_path, SIDE, cache=tmp_path / "cache", workers=0).skipped
    assert name == "rgb/0.png"
    assert "its depth" in why  # of what may have been meant, the reason is said


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    """An array of objects is a broken file."""
    folder_of(tmp_path, 3)
    (tmp_path / "depth/0.png").unlink()
    np.save(tmp_path / "depth/0.npy", np.array([{}], dtype=object), allow_pickle=True)
    store = open_truth(tmp_path, SIDE, cache=tmp_path / "cache", workers=0)
    ((name, why),) = store.skipped
    assert name == "rgb/0.png"
    assert "Object arrays cannot be loaded" in why


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """Some of the maps will do, with a sentence; none at all, or no pictures, will not."""
    folder_of(tmp_path / "some", 3)
    told = Told()
    store = open_truth(tmp_path / "some", SIDE, cache=tmp_path, workers=0, progress=told)
    assert set(store.rows([0])) == {"scenes", "depth", "contours"}
    assert told.notes == [f"The scenes in {tmp_path / 'some'} have no normals, so none are learned from them."]
    save(tmp_path / "bare/rgb/1", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="depth, normal, contour or instance is needed"):
        open_truth(tmp_path / "bare", SIDE, cache=tmp_path)
    save(tmp_path / "blind/depth/1", np.zeros((8, 8), np.uint16))
    with pytest.raises(InputError, match="pictures are looked for in"):
        open_truth(tmp_path / "blind", SIDE, cache=tmp_path)


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    """The folder as it is counts, not as it was."""
    folder_of(tmp_path, 3)
    before = open_truth(tmp_path, SIDE, cache=tmp_path / "cache", workers=0).rows([0])["depth"]
    save(tmp_path / "depth/0", np.full((SIDE, SIDE), 9000, np.uint16))
    after = open_truth(tmp_path, SIDE, cache=tmp_path / "cache", workers=0).rows([0])["depth"]
    assert before.max() < 9
    assert after.min() == 9


def folder_of(root: Path, count: int) -> None:
    """Write pictures with depth and contours; the number of each stands in its pixels."""
    for number in range(count):
        picture = np.full((SIDE, SIDE, 3), number, np.uint8)
        save(root / "rgb" / str(number), picture)
        save(root / "depth" / str(number), np.full((SIDE, SIDE), 1000 + number, np.uint16))
        save(root / "contour" / str(number), np.eye(SIDE, dtype=np.uint8))


def save(path: Path, values: np.ndarray) -> None:
    """Write an array, or a PNG where the name has no ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path.with_name(f"{path.name}.png"))
