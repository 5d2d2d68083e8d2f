"""Moving scenes on disk: a store of clips that is the same everywhere, and a folder with truth of every frame."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("panda3d.core", reason="scenes are drawn by panda3d, which is not installed")

from selfsup import cli
from selfsup.data.images import open_images, open_scenes
from selfsup.data.scenes import (
    FRAMES,
    MOTIONS,
    RATE,
    SHAPES,
    Scene,
    crew,
    describe_moving,
    folder,
    moments,
    moving,
    render,
    rendered,
    store,
)  # fmt: skip
from selfsup.data.scenes.folder import MAPS, render_scenes
from selfsup.data.scenes.moments import visible
from selfsup.data.scenes.truth import truth
from selfsup.errors import InputError
from selfsup.progress import silent

SIZE = 32


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.array(image)


# The store


def test_frames_are_stills_of_the_scene_at_their_moments(tmp_path: Path) -> None:
    """Frame t of clip i is the picture of `describe_moving(seed, i).at(t / 12)`; its label is the class of motion."""
    frames, labels = moving(3, SIZE, 4, tmp_path, workers=0)

    assert frames.shape == (3 * FRAMES, 3, SIZE, SIZE)
    assert not frames.flags.writeable
    clips = [describe_moving(4, index) for index in range(3)]
    assert labels.tolist() == [clip.label for clip in clips]
    for place in (0, 5, FRAMES + 11, 3 * FRAMES - 1):
        (still,) = render([clips[place // FRAMES].at(place % FRAMES / RATE)], SIZE)
        np.testing.assert_array_equal(frames[place], still.transpose(2, 0, 1))


def test_clips_are_the_same_by_any_workers_and_go_on_where_they_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that an interrupted call had drawn are kept; a larger set begins with the same clips."""
    whole, _ = moving(5, SIZE, 1, tmp_path / "two", workers=2)
    drawn: list[int] = []
    draw = store.draw_part
    monkeypatch.setattr(store, "draw_part", lambda order, part: (drawn.append(part), draw(order, part)))

    def stop(what: str, done: int, total: int) -> None:
        assert (what, total) == ("drawing clips", 5)
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        moving(5, SIZE, 1, tmp_path / "here", workers=0, progress=stop)
    again, _ = moving(5, SIZE, 1, tmp_path / "here", workers=0)
    assert drawn == [0, 1, 2]
    np.testing.assert_array_equal(whole, again)
    fewer, _ = moving(2, SIZE, 1, tmp_path / "fewer", workers=0)
    np.testing.assert_array_equal(whole[: 2 * FRAMES], fewer)


@pytest.mark.parametrize("file", ["paths", "movements", "sight", "motion"])
def test_code_of_motion_names_clips_and_not_stills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """When it changes, clips are drawn anew; stills are those of before."""
    moving(1, 16, 0, tmp_path, workers=0), rendered(1, 16, 0, tmp_path, workers=0)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path.stem == file))
    moving(1, 16, 0, tmp_path, workers=0), rendered(1, 16, 0, tmp_path, workers=0)

    assert len(list(tmp_path.glob("moving-scenes-*"))) == 2
    assert len(list(tmp_path.glob("scenes-*"))) == 1


def test_moving_scenes_are_a_source_of_clips(tmp_path: Path) -> None:
    """Frames with names, times, clips that are their own sources, and the motion of their clip as label."""
    images = open_images("moving-scenes:3:4", 28, cache=tmp_path)
    frames, labels = moving(3, 32, 4, tmp_path)

    np.testing.assert_array_equal(images.rows(range(len(images))), frames)
    assert (images.names[0], images.names[-1]) == ("000000/0000", "000002/0023")
    assert images.clips is not None
    assert images.clips.names == ("000000", "000001", "000002")
    assert images.clips.clip.tolist() == images.clips.source.tolist() == np.repeat(np.arange(3), FRAMES).tolist()
    np.testing.assert_allclose(images.clips.seconds, np.tile(np.arange(FRAMES) / 12, 3))
    assert (images.clips.motion[::FRAMES] == 0).all()
    assert images.clips.motion.reshape(3, FRAMES).max(1).min() > 0
    _, of_frames = open_scenes("moving-scenes:3:4", 28, None, tmp_path, None, silent)
    assert of_frames.tolist() == np.repeat(labels, FRAMES).tolist()
    with pytest.raises(InputError, match="given as moving-scenes, moving-scenes:COUNT or moving-scenes:COUNT:SEED"):
        open_images("moving-scenes:all", 28, cache=tmp_path)
    with pytest.raises(InputError, match="At least one clip is needed, got 0; try 300"):
        moving(0, 32, 0, tmp_path)


# The folder


def test_a_folder_of_clips_says_what_is_true_of_each_frame(tmp_path: Path) -> None:
    """Pictures, maps, boxes, labels, cameras and times are those of the scene at each moment."""
    out = render_scenes(
        "moving-scenes", tmp_path / "out", count=3, size=SIZE, truth=MAPS, seed=5, frames=4, frame_rate=2.5, workers=2
    )
    cameras = json.loads((out / "cameras.json").read_text())
    boxes = json.loads((out / "coco.json").read_text())
    assert [category["name"] for category in boxes["categories"]] == list(SHAPES)
    assert len({each["id"] for each in boxes["annotations"]}) == len(boxes["annotations"]) > 12
    assert [image["id"] for image in boxes["images"]] == list(range(12))
    for number in range(12):
        index, frame = divmod(number, 4)
        scene = describe_moving(5, index).at(frame / 2.5)
        found = truth(scene, SIZE)
        name = f"{index:06d}/{frame:04d}"
        (picture,) = render([scene], SIZE)
        np.testing.assert_array_equal(pixels(out / "rgb" / f"{name}.png"), picture)
        np.testing.assert_allclose(pixels(out / "depth" / f"{name}.png") / 1000, found.depth, atol=6e-4)
        np.testing.assert_array_equal(pixels(out / "contour" / f"{name}.png") == 255, found.contours)
        np.testing.assert_array_equal(pixels(out / "instance" / f"{name}.png"), found.instances)
        np.testing.assert_array_equal(pixels(out / "class" / f"{name}.png"), found.classes(scene))
        assert cameras[name]["eye"] == list(scene.camera.eye)
        assert boxes["images"][number]["file_name"] == f"rgb/{name}.png"
        own = [each["bbox"] for each in boxes["annotations"] if each["image_id"] == number]
        given = [[x, y, x + width, y + height] for x, y, width, height in own]
        assert given == [box for box in found.boxes(len(scene.things)).tolist() if any(box)]
        assert (out / "voc" / f"{name}.xml").is_file()
    rows = list(csv.DictReader((out / "labels.csv").open()))
    assert rows == [{"clip": f"rgb/{index:06d}", "label": describe_moving(5, index).motion} for index in range(3)]
    assert (out / "README.txt").read_text().count("NNNNNN/FFFF.png") == 4
    assert "4 a clip, 2.5 a second" in (out / "README.txt").read_text()
    assert not list(out.rglob(".*.*")), "nothing half written is left"


def test_moments_say_how_much_is_seen_of_what_moves(tmp_path: Path) -> None:
    """Of each moving thing and frame, in the order of the instance masks; of a moving camera, nothing."""
    out = render_scenes(
        "moving-scenes", tmp_path / "out", count=6, size=SIZE, seed=5, frames=3, frame_rate=1.5, workers=0
    )
    noted = json.loads((out / "moments.json").read_text())

    assert (noted["frame_rate"], noted["frames"], len(noted["clips"])) == (1.5, 3, 6)
    for name, said in noted["clips"].items():
        clip = describe_moving(5, int(name))
        moves = {"colliding": [1, 2], "camera": []}.get(clip.motion, [1])
        assert (said["motion"], said["things"]) == (clip.motion, moves)
        expected = [visible(clip.at(frame / 1.5), SIZE, len(moves)) for frame in range(3)]
        np.testing.assert_allclose(np.array(said["visible"]).reshape(len(moves), 3).T, expected, atol=1e-4)
    assert not (out / "instance").exists()


def counted(scene: Scene, number: int) -> tuple[int, int]:
    """Count the pixels of a thing in the picture, and those of it alone in a picture of three times the width."""
    wide = np.degrees(2 * np.arctan(3 * np.tan(np.radians(scene.camera.field_degrees) / 2)))
    camera = dataclasses.replace(scene.camera, field_degrees=float(wide))
    alone = truth(dataclasses.replace(scene, things=(scene.things[number],), camera=camera), 3 * SIZE).instances
    return int((truth(scene, SIZE).instances == number + 1).sum()), int((alone == 1).sum())


def test_visible_shares_are_pixels_counted() -> None:
    """Whole, partly behind others, partly out of the picture, hidden: as counted in a wider picture without others."""
    shares = []
    for index in range(12):
        clip = describe_moving(7, index)
        for seconds in (0.0, 0.9, 1.9):
            scene = clip.at(seconds)
            found = visible(scene, SIZE, len(clip.paths))
            for number, share in enumerate(found):
                seen, whole = counted(scene, number)
                assert abs(share * whole - seen) <= 3  # edges that run through the middle of a pixel
            shares += found
    assert min(shares) < 0.5
    assert sum(0.05 < share < 0.95 for share in shares) > 4
    assert max(shares) == 1


def test_what_is_out_of_the_picture_or_behind_is_not_seen() -> None:
    """Pushed aside by as much as the picture is wide, and behind a thing put before the camera."""
    scene = next(clip for clip in (describe_moving(1, k) for k in range(20)) if clip.motion == "rolling").at(1.0)
    thing = scene.things[0]
    right = scene.camera.axes()[0]
    aside = dataclasses.replace(thing, place=tuple((np.array(thing.place) + 20 * right[:2]).tolist()))
    assert visible(dataclasses.replace(scene, things=(aside,)), SIZE, 1) == (0.0,)
    eye, middle = np.array(scene.camera.eye), thing.corners().mean(0)
    x, y, z = (eye + middle) / 2
    between = dataclasses.replace(thing, shape="barrel", place=(float(x), float(y)), height=float(z - 0.6))
    assert visible(dataclasses.replace(scene, things=(thing, between)), SIZE, 1) == (0.0,)


def test_what_reaches_behind_the_camera_is_counted_from_where_it_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within some hundred pictures at most, and the whole is what a wide picture shows of it."""
    looked: list[object] = []
    draw = moments.numbered
    monkeypatch.setattr(moments, "numbered", lambda *asked: looked.append(asked) or draw(*asked))
    scene = next(clip for clip in (describe_moving(1, k) for k in range(20)) if clip.motion == "rolling").at(1.0)
    eye, (right, _, forward) = np.array(scene.camera.eye), scene.camera.axes()
    shares = []
    for ahead, aside in ((0.5, 0.2), (0.3, 0.3), (0.1, 0.4), (-2.0, 0.0)):
        x, y, z = eye + ahead * forward + aside * right
        thing = dataclasses.replace(scene.things[0], place=(float(x), float(y)), height=float(z - 0.5))
        near = dataclasses.replace(scene, things=(thing,))
        depth = near.camera.seen(thing.corners())[:, 2]
        assert depth.min() < near.camera.near
        (share,) = visible(near, SIZE, 1)
        seen = int((truth(near, SIZE).instances == 1).sum())
        wide = np.degrees(2 * np.arctan(24 * np.tan(np.radians(near.camera.field_degrees) / 2)))
        around = dataclasses.replace(near, camera=dataclasses.replace(near.camera, field_degrees=float(wide)))
        whole = int((truth(around, 512).instances == 1).sum()) * (24 * SIZE / 512) ** 2
        assert share * whole == pytest.approx(seen, rel=0.02, abs=1)
        shares.append(share)
    assert shares[-1] == 0
    assert min(shares[:-1]) < 0.5
    assert len(looked) < 600


def test_an_interrupted_folder_of_clips_goes_on_and_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished parts are not drawn again, and the folder ends as one that was drawn at once."""
    monkeypatch.setattr(folder, "PART", 4)
    drawn: list[int] = []
    draw = folder.write_part
    monkeypatch.setattr(folder, "write_part", lambda order, part: (drawn.append(part), draw(order, part)))
    settings = {"size": 16, "frames": 2, "truth": ["boxes"], "workers": 0}

    def stop(what: str, done: int, total: int) -> None:
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render_scenes("moving-scenes", tmp_path / "out", count=3, progress=stop, **settings)  # type: ignore[arg-type]
    for count in (3, 5):
        render_scenes("moving-scenes", tmp_path / "out", count=count, **settings)  # type: ignore[arg-type]
    assert drawn == [0, 1, 1, 2]  # the part that was short once more
    whole = render_scenes("moving-scenes", tmp_path / "whole", count=5, **settings)  # type: ignore[arg-type]
    for file in sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file()):
        assert (tmp_path / "out" / file).read_bytes() == (whole / file).read_bytes(), file
    for change in ({"frames": 3}, {"frame_rate": 6.0}):
        with pytest.raises(InputError, match=f"another {next(iter(change))}"):
            render_scenes("moving-scenes", whole, count=5, **{**settings, **change})  # type: ignore[arg-type]


def test_a_failing_worker_is_reported_for_clips_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is taken for finished."""
    begin = crew._started
    monkeypatch.setattr(crew, "_started", lambda kind, order, _, said: begin(kind, order, [-9], said))
    with pytest.raises(RuntimeError, match="failed in a worker process"):
        render_scenes("moving-scenes", tmp_path / "out", count=2, size=SIZE, workers=1)
    assert not (tmp_path / "out" / "labels.csv").exists()


def test_the_command_line_renders_clips_and_refuses_clips_of_stills(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a sentence each, before a folder is made."""
    asked = "render moving-scenes {} --count 2 --frames 3 --frame-rate 6 --size 16 --workers 0 --quiet"
    assert cli.run(asked.format(tmp_path / "out").split()) == 0
    assert len(list((tmp_path / "out").glob("rgb/*/*.png"))) == 6
    for words, sentence in (
        ("scenes {} --frames 3", "Clips are made of moving-scenes, not of scenes"),
        ("moving-scenes {} --frames 1", "A clip has 2 to 9999 frames, got 1"),
        ("moving-scenes {} --frame-rate 0", "above 0 and at most 1000 a second, got 0"),
        ("moving {}", "choose scenes, plain-scenes or moving-scenes"),
    ):
        assert cli.run(["render", *words.format(tmp_path / "no").split()]) == 2
        assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "no").exists()
    assert len(MOTIONS) == 6
