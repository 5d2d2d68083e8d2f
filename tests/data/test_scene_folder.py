"""Scenes as a folder: files that others can read, an interrupted call that goes on, a folder of something else kept."""

import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("panda3d.core", reason="scenes are drawn by panda3d, which is not installed")

from selfsup.data.scenes import CLASSES, crew, describe, folder, render
from selfsup.data.scenes.folder import MAPS, render_scenes
from selfsup.data.scenes.truth import truth
from selfsup.errors import InputError

SIZE = 32


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write parts of 3 scenes."""
    monkeypatch.setattr(folder, "PART", 3)


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.array(image)


def test_files_say_what_is_true(tmp_path: Path) -> None:
    """Pictures are those of the renderer; maps are the truth, in the units that the folder's README gives."""
    out = render_scenes("scenes", tmp_path / "out", count=4, size=SIZE, truth=MAPS, seed=5, workers=2)
    for index in range(4):
        scene = describe(5, index)
        found = truth(scene, SIZE)
        name = f"{index:06d}.png"
        (picture,) = render([scene], SIZE)
        np.testing.assert_array_equal(pixels(out / "rgb" / name), picture)
        depth = pixels(out / "depth" / name)
        assert depth.dtype in (np.uint16, np.int32)  # Pillow's mode for 16 bits differs from version to version
        np.testing.assert_allclose(depth / 1000, found.depth, atol=6e-4)
        normals = pixels(out / "normal" / name) / 127.5 - 1
        np.testing.assert_allclose(normals[found.seen], found.normals[found.seen], atol=5e-3)
        np.testing.assert_array_equal(pixels(out / "contour" / name) == 255, found.contours)
        np.testing.assert_array_equal(pixels(out / "instance" / name), found.instances)
        np.testing.assert_array_equal(pixels(out / "class" / name), found.classes(scene))
    labels = list(csv.DictReader((out / "labels.csv").open()))
    assert [(row["image"], row["label"]) for row in labels] == [
        (f"rgb/{index:06d}.png", CLASSES[describe(5, index).label]) for index in range(4)
    ]
    cameras = json.loads((out / "cameras.json").read_text())
    assert cameras["000003"]["field_degrees"] == describe(5, 3).camera.field_degrees
    for word in ("rgb/", "depth/", "normal/", "contour/", "coco.json", "instance/"):
        assert word in (out / "README.txt").read_text()
    assert not list(out.rglob(".*.*")), "nothing half written is left"


def test_boxes_are_those_of_coco_and_of_voc(tmp_path: Path) -> None:
    """COCO: x, y, width, height from 0; VOC: corners from 1, the last pixel included; the same things in both."""
    out = render_scenes("plain-scenes", tmp_path / "out", count=5, size=SIZE, truth=["boxes"], workers=0)
    found = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in found["images"]] == [f"rgb/{index:06d}.png" for index in range(5)]
    assert [category["name"] for category in found["categories"]] == list(CLASSES)
    assert len({each["id"] for each in found["annotations"]}) == len(found["annotations"]) > 5
    for index in range(5):
        scene = describe(0, index, room=False)
        seen = truth(scene, SIZE)
        expected = [
            (thing.shape, *box, int((seen.instances == number + 1).sum()))
            for number, (thing, box) in enumerate(
                zip(scene.things, seen.boxes(len(scene.things)).tolist(), strict=True)
            )
            if (seen.instances == number + 1).any()
        ]
        own = [each for each in found["annotations"] if each["image_id"] == index]
        given = [
            (CLASSES[each["category_id"] - 1], x, y, x + width, y + height, each["area"])
            for each in own
            for x, y, width, height in [each["bbox"]]
        ]
        assert given == expected
        tree = ElementTree.parse(out / "voc" / f"{index:06d}.xml")
        corners = [
            (
                thing.findtext("name"),
                *(int(thing.findtext(f"bndbox/{key}") or 0) for key in ("xmin", "ymin", "xmax", "ymax")),
            )
            for thing in tree.iter("object")
        ]
        assert corners == [(name, left + 1, top + 1, right, bottom) for name, left, top, right, bottom, _ in expected]
    assert not (out / "depth").exists()


def test_an_interrupted_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that were finished are not drawn again, the folder ends as an uninterrupted one does, and may grow."""
    out = tmp_path / "out"

    class Cut(Exception):
        pass

    def stop(what: str, done: int, total: int) -> None:
        if done >= 3:
            raise Cut

    with pytest.raises(Cut):
        render_scenes("scenes", out, count=8, size=SIZE, truth=["depth"], workers=0, progress=stop)
    drawn: list[int] = []
    draw = folder.write_part
    monkeypatch.setattr(folder, "write_part", lambda order, part: (drawn.append(part), draw(order, part)))
    render_scenes("scenes", out, count=8, size=SIZE, truth=["depth"], workers=0)
    assert drawn == [1, 2]
    render_scenes("scenes", out, count=10, size=SIZE, truth=["depth"], workers=0)
    assert drawn == [1, 2, 2, 3]  # the part that was short, and the new one
    whole = render_scenes("scenes", tmp_path / "whole", count=10, size=SIZE, truth=["depth"], workers=0)
    for file in sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file()):
        assert (out / file).read_bytes() == (whole / file).read_bytes(), file


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 1}, "another seed"),
        ({"size": 48}, "another size"),
        ({"truth": ["depth"]}, "another truth"),
        ({"source": "plain-scenes"}, "another source"),
    ],
)
def test_other_settings_need_another_folder(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    """A folder never mixes scenes of two kinds."""
    settings: dict[str, object] = {"source": "scenes", "count": 1, "size": SIZE, "workers": 0, "out": tmp_path / "out"}
    render_scenes(**settings)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=sentence):
        render_scenes(**{**settings, **change})  # type: ignore[arg-type]


def test_fewer_scenes_than_there_are_need_another_folder(tmp_path: Path) -> None:
    """Lists would say less than the folder holds."""
    render_scenes("scenes", tmp_path / "out", count=4, size=SIZE, workers=0)
    with pytest.raises(InputError, match="holds 4 scenes already, got 3"):
        render_scenes("scenes", tmp_path / "out", count=3, size=SIZE, workers=0)


def test_scenes_of_another_version_are_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They might look otherwise."""
    render_scenes("scenes", tmp_path / "out", count=1, size=SIZE, workers=0)
    monkeypatch.setattr(folder, "drawing_code", lambda *_: "other")
    with pytest.raises(InputError, match="by another version"):
        render_scenes("scenes", tmp_path / "out", count=2, size=SIZE, workers=0)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written among other people's files."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        render_scenes("scenes", tmp_path, count=1, size=SIZE, workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": "rooms"}, "choose scenes, plain-scenes or moving-scenes"),
        ({"count": 0}, "At least one picture"),
        ({"size": 8}, "16 to 512"),
        ({"seed": -1}, "seed is a number from 0"),
        ({"workers": -1}, "0 or more worker processes"),
    ],
)
def test_impossible_orders_are_refused(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    """In a sentence, before a folder is made."""
    with pytest.raises(InputError, match=sentence):
        render_scenes(**{"source": "scenes", "out": tmp_path / "out", "count": 1, **change})  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_unknown_truth_is_refused() -> None:
    """With the names there are."""
    with pytest.raises(InputError, match="no truth 'deep'; choose from depth, normals, contours, boxes, masks"):
        folder.check("scenes", ["depth", "deep"], 1, 0, None)


def test_a_failing_worker_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it said, and nothing is taken for finished."""
    begin = crew._started
    monkeypatch.setattr(crew, "_started", lambda kind, order, _, said: begin(kind, order, [-9], said))
    with pytest.raises(RuntimeError, match="failed in a worker process"):
        render_scenes("scenes", tmp_path / "out", count=2, size=SIZE, workers=1)
    assert not (tmp_path / "out" / "labels.csv").exists()
