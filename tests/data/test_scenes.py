"""Scenes: the same everywhere, labelled by their main thing, kept on disk without loss."""

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("panda3d.core", reason="scenes are drawn by panda3d, which is not installed")

import selfsup
from selfsup import cli
from selfsup.advice.material import shown
from selfsup.data.images import open_images
from selfsup.data.labels import open_labelled
from selfsup.data.scenes import CLASSES, Scene, crew, describe, render, rendered, renderer, shapes, store
from selfsup.data.scenes.geometry import ground_color
from selfsup.data.sizes import natural_size
from selfsup.errors import InputError

SOURCE = Path(__file__).parents[2] / "src"


def hash_of(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def picture(scene: Scene, size: int) -> np.ndarray:
    """Draw one scene, as int so that differences keep their sign."""
    (drawn,) = render([scene], size)
    return drawn.astype(int)


def unshaded(scene: Scene) -> Scene:
    """Leave the shadows away, so that each thing changes only the pixels where it is seen."""
    return dataclasses.replace(scene, light=dataclasses.replace(scene.light, shadow=0.0))


def silhouette(scene: Scene, size: int, without: int) -> np.ndarray:
    """Find where a thing is seen: the pixels that change when it goes."""
    rest = scene.things[:without] + scene.things[without + 1 :]
    return (picture(scene, size) != picture(dataclasses.replace(scene, things=rest), size)).any(axis=2)


class Watched:
    """A progress callback that remembers, and may interrupt."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.calls: list[tuple[str, int, int]] = []
        self.stop_at = stop_at

    def __call__(self, what: str, done: int, total: int) -> None:
        self.calls.append((what, done, total))
        if self.stop_at is not None and done >= self.stop_at:
            raise KeyboardInterrupt


@pytest.fixture
def short_parts(monkeypatch):
    """Write parts of 4 scenes, so that a dozen makes three."""
    monkeypatch.setattr(store, "PART", 4)


# What a scene holds


def test_a_scene_is_a_function_of_seed_and_index():
    one = [describe(3, index) for index in (0, 1, 2)]
    again = [describe(3, index) for index in (2, 1, 0)]

    assert one == again[::-1]
    assert len({*one, describe(4, 0)}) == 4, "other indices and seeds give other scenes"
    with pytest.raises(dataclasses.FrozenInstanceError):
        one[0].seed = 5


def test_the_room_changes_nothing_else():
    """Room and plain ground show the same things from the same place."""
    with_room, plain = describe(3, 0), describe(3, 0, room=False)

    assert plain.room is None
    assert dataclasses.replace(with_room, room=None) == plain


def test_variety():
    """One to four things, all classes, any pose, colour and pattern."""
    scenes = [describe(11, index) for index in range(200)]
    things = [scene.things[0] for scene in scenes]

    assert len(CLASSES) >= 10
    assert {len(scene.things) for scene in scenes} == {1, 2, 3, 4}
    per_class = np.bincount([scene.label for scene in scenes], minlength=len(CLASSES))
    assert per_class.min() >= 8, "each class about as often as any other"
    assert np.histogram([thing.yaw_degrees for thing in things], bins=8, range=(0, 360))[0].min() >= 12
    assert len({thing.body.pattern for thing in things}) >= 30
    assert np.array([thing.body.color for thing in things]).std(axis=0).min() > 0.15


def test_things_stand_apart_on_the_floor_and_inside_the_room():
    for index in range(30):
        scene = describe(6, index)
        assert scene.room is not None
        inside = [*(corner for thing in scene.things for corner in thing.corners()), np.array(scene.camera.eye)]
        for point in inside:
            assert (np.array(scene.room.low) < point[:2]).all()
            assert (point[:2] < np.array(scene.room.high)).all()
            assert -1e-9 <= point[2] < scene.room.height
        for k, one in enumerate(scene.things):
            for other in scene.things[:k]:
                assert np.hypot(*np.subtract(one.place, other.place)) >= one.radius + other.radius


@pytest.mark.parametrize("shape", CLASSES)
def test_shapes_are_sound(shape):
    """They stand on z = 0 around the axis, about one unit large; triangles face where their normals point."""
    mesh = shapes.mesh(shape)
    low, high = mesh.positions.min(0), mesh.positions.max(0)
    a, b, c = (mesh.positions[mesh.faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)

    assert low[2] == pytest.approx(0)
    assert 0.8 < (high - low).max() < 1.3
    assert np.abs(low + high)[:2].max() < 0.4, "near the axis"
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1)
    assert (np.linalg.norm(across, axis=1) > 1e-9).all(), "no triangle is a line"
    assert ((across * mesh.normals[mesh.faces].mean(axis=1)).sum(axis=1) > 0).all()


# What a picture shows


def test_the_label_is_the_class_of_the_main_thing():
    """It covers more pixels than any other, and lies near the centre."""
    for index in range(16):
        scene = unshaded(describe(5, index, room=False))
        seen = [silhouette(scene, 32, thing) for thing in range(len(scene.things))]
        main = seen[0]

        assert scene.label == CLASSES.index(scene.things[0].shape)
        assert all(main.sum() > other.sum() for other in seen[1:]), index
        assert np.abs(np.argwhere(main).mean(axis=0) / 32 - 0.5).max() < 0.25, f"scene {index}: far from the centre"


def test_the_main_thing_is_not_hidden():
    """Next to nothing of it, though three others stand around."""
    crowded = [scene for index in range(100) if len((scene := describe(5, index, room=False)).things) == 4]
    assert len(crowded) > 10
    for scene in map(unshaded, crowded):
        alone = dataclasses.replace(scene, things=scene.things[:1])

        assert silhouette(scene, 24, 0).sum() >= 0.9 * silhouette(alone, 24, 0).sum(), scene.index


def test_the_camera_of_the_description_is_the_one_that_draws():
    """Projected corners meet drawn ones to a pixel: depth, boxes and normals can be computed from the description."""
    for index in range(6):
        scene = unshaded(describe(8, index, room=False))
        scene = dataclasses.replace(scene, things=scene.things[:1])
        thing = scene.things[0]
        rows, columns = np.nonzero(silhouette(scene, 128, 0))

        left, top, right, bottom = scene.camera.box(thing.placed(shapes.mesh(thing.shape).positions))

        drawn = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        np.testing.assert_allclose(drawn, np.array([left, top, right, bottom]) * 128, atol=1.3)


def test_pictures_are_right_side_up():
    """On a light ground, a thing's shadow touches its foot, never its top; the floor is below the walls."""
    scene = describe(8, 0)
    assert scene.room is not None
    black, white = (dataclasses.replace(scene.room.floor, color=(v, v, v), pattern=0) for v in (0.0, 1.0))
    room = dataclasses.replace(scene.room, floor=black, walls=(white, white))
    shown = picture(dataclasses.replace(scene, room=room, things=()), 32)

    assert shown[-1].max() == 0
    assert shown[0].min() > 100


@pytest.mark.parametrize("size", [32, 36, 64, 100, 224])
def test_sizes(size):
    """A larger picture shows the same, finer; sides need not be powers of two."""
    scene = describe(2, 1)
    (drawn,), (finer,) = render([scene], size), render([scene], 256)

    assert drawn.shape == (size, size, 3)
    assert drawn.dtype == np.uint8
    coarse, reference = (
        shown.repeat(8, 0).repeat(8, 1).reshape(8, len(shown), 8, len(shown), 3).mean(axis=(1, 3))
        for shown in (drawn, finer)
    )
    assert np.abs(coarse - reference).mean() < 2.5  # turned or shifted by a pixel it is more than 3.5


def test_edges_are_antialiased(monkeypatch):
    """Each pixel is the mean of the 4 x 4 that a picture four times as large has there."""
    scene = unshaded(describe(1, 4, room=False))
    black = dataclasses.replace(scene.things[0].body, color=(0.0, 0.0, 0.0), pattern=0)
    thing = dataclasses.replace(scene.things[0], body=black, accent=(0.0, 0.0, 0.0), gloss=0.0)
    scene = dataclasses.replace(scene, things=(thing,), ground=(1.0, 1.0, 1.0))
    smooth = picture(scene, 32)

    monkeypatch.setattr(renderer, "OVERSAMPLING", 1)
    jagged = picture(scene, 128)

    assert set(np.unique(jagged)) == {0, 255}, "black on white, nothing between"
    np.testing.assert_array_equal(smooth, (jagged.reshape(32, 4, 32, 4, 3).astype(int).sum(axis=(1, 3)) + 8) // 16)
    assert ((smooth > 20) & (smooth < 235)).all(axis=2).sum() > 30, "edge pixels take values between"


def test_ground_and_shadow_have_the_colours_of_the_description():
    """Flat colours are met to one step; where parts of a shadow overlap, the ground is no darker than under one."""
    for index in (0, 3):
        scene = dataclasses.replace(describe(9, index, room=False), ground=(0.6, 0.5, 0.4))
        ground = ground_color(scene) * 255
        lit, shadowed = picture(unshaded(scene), 64), picture(scene, 64)
        bare = (np.abs(lit - ground) <= 1).all(axis=2)
        darker = bare & (np.abs(shadowed - ground) > 1).any(axis=2)
        core = (np.abs(shadowed - ground * (1 - scene.light.shadow)) <= 1).all(axis=2)

        assert bare.sum() > 1000
        assert (core & darker).sum() > 0.5 * darker.sum() > 20
        assert (shadowed[darker] >= ground * (1 - scene.light.shadow) - 1).all()
        assert (shadowed[~bare] - lit[~bare]).mean() > -8, "shadows fall on the ground, not on things"


def test_walls_hide_the_shadows_behind_them():
    """On a black floor shadows cannot be seen, so with and without them pictures are alike."""
    for index in range(5):
        scene = describe(4, index)
        room = dataclasses.replace(scene.room, floor=dataclasses.replace(scene.room.floor, color=(0.0, 0.0, 0.0)))
        low_sun = dataclasses.replace(scene.light, toward=(0.6, 0.78, 0.18))
        scene = dataclasses.replace(scene, room=room, light=low_sun)

        np.testing.assert_array_equal(picture(scene, 32), picture(unshaded(scene), 32))


def test_pictures_are_bright_and_not_washed_out():
    pictures = np.stack(list(render((describe(0, index) for index in range(40)), 32)))

    assert 110 < pictures.mean() < 175
    assert pictures.std(axis=(1, 2)).mean() > 25
    assert (pictures == 255).all(axis=3).mean() < 0.05


def test_raw_pixels_do_not_solve_it(tmp_path):
    """The nearest neighbour of 200 labelled scenes guesses little better than chance (10 %)."""
    pictures, labels = rendered(300, 16, 0, tmp_path)
    pixels = pictures.reshape(300, -1).astype(np.float64)
    bank, queries = pixels[:200], pixels[200:]

    distances = (queries**2).sum(1)[:, None] + (bank**2).sum(1) - 2 * queries @ bank.T
    correct = labels[:200][distances.argmin(axis=1)] == labels[200:]

    assert correct.mean() < 0.27


# What is kept on disk


def test_pictures_are_the_same_in_any_process_order_and_count(tmp_path, short_parts):
    two, labels = rendered(12, 32, 3, tmp_path / "two", workers=2)
    here, _ = rendered(6, 32, 3, tmp_path / "here", workers=0)
    backwards = np.stack(list(render((describe(3, index) for index in reversed(range(12))), 32)))[::-1]

    assert two.shape == (12, 3, 32, 32)
    assert labels.dtype == np.int64
    assert labels.tolist() == [describe(3, index).label for index in range(12)]
    assert hash_of(two) == hash_of(backwards.transpose(0, 3, 1, 2))
    assert hash_of(two[:6]) == hash_of(here)
    assert len({hash_of(one) for one in two}) == 12


def test_the_second_call_reads_the_first_ones_file(tmp_path, monkeypatch):
    first, labels = rendered(5, 32, 0, tmp_path, workers=0)
    monkeypatch.setattr(store, "_draw", None)
    watched = Watched()

    second, same_labels = rendered(5, 32, 0, tmp_path, workers=0, progress=watched)

    assert watched.calls == []
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(labels, same_labels)
    assert isinstance(second, np.memmap)
    assert not second.flags.writeable


def test_other_orders_have_other_files(tmp_path):
    for changed in ({}, {"size": 36}, {"seed": 1}, {"room": False}, {"count": 3}):
        settings = {"count": 2, "size": 32, "seed": 0, **changed}
        pixels, _ = rendered(**settings, cache=tmp_path, workers=0)
        assert pixels.shape == (settings["count"], 3, settings["size"], settings["size"])
    assert len(list(tmp_path.iterdir())) == 5


def test_changed_drawing_code_draws_anew(tmp_path, monkeypatch):
    rendered(2, 32, 0, tmp_path, workers=0)
    monkeypatch.setattr(store, "drawing_code", lambda: "changed")

    rendered(2, 32, 0, tmp_path, workers=0)

    assert len(list(tmp_path.iterdir())) == 2


def test_another_renderer_draws_anew(tmp_path, monkeypatch):
    """Pictures of one version of panda3d are not read as those of another."""
    before = store.drawing_code()
    assert before == store.drawing_code()

    monkeypatch.setattr(store, "version", lambda package: {"panda3d": "99.0"}[package])

    assert store.drawing_code() != before


@pytest.mark.parametrize("file", ["shapes", "textures", "scene", "description", "geometry", "renderer"])
def test_each_file_that_draws_is_part_of_the_name(file, monkeypatch):
    """A change in any of them makes other pictures."""
    before, read = store.drawing_code(), Path.read_bytes

    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * (path.stem == file))

    assert store.drawing_code() != before


def test_sources_by_name(tmp_path):
    """`scenes` draws rooms and `plain-scenes` the same things without; both have labels, and a size of their own."""
    one, other = (open_labelled(f"{name}:12:3", 28, cache=tmp_path) for name in ("scenes", "plain-scenes"))

    assert (other.images.rows(range(12)) == rendered(12, 32, 3, tmp_path, room=False)[0]).all()
    assert (one.images.rows(range(12)) == rendered(12, 32, 3, tmp_path)[0]).all()
    assert [one.classes[k] for k in one.labels] == [other.classes[k] for k in other.labels]
    assert other.images.source == "plain-scenes:12:3"
    assert natural_size("plain-scenes:12") == natural_size("scenes") == 64
    assert open_images("plain-scenes:16:3", 28, cache=tmp_path).source == "plain-scenes:16:3"
    with pytest.raises(InputError, match="given as plain-scenes, plain-scenes:COUNT or plain-scenes:COUNT:SEED"):
        open_images("plain-scenes:many", 28, cache=tmp_path)


@pytest.mark.parametrize("name", ["scenes", "plain-scenes:16", "plain-scenes:16:3", "moving-scenes:20"])
def test_the_command_line_looks_for_no_folder_of_that_name(tmp_path, monkeypatch, name):
    """As images, as labels, and as what a plan or a run folder is named after."""
    asked: list[object] = []
    for command in ("pretrain", "evaluate", "advise"):
        monkeypatch.setitem(vars(selfsup), command, lambda *given, **named: asked.append((given, named)))
    monkeypatch.setattr("selfsup.results.show", lambda *_: None)
    monkeypatch.chdir(tmp_path)

    assert cli.run(["pretrain", "rotation", name]) == 0
    assert cli.run(["evaluate", str(tmp_path), "--labels", name]) == 0
    assert cli.run(["advise", name]) == 0

    assert len(asked) == 3
    assert shown(name) == name


@pytest.mark.parametrize("name", ["pixels.npy", "labels.npy"])
def test_a_cut_or_missing_file_is_drawn_anew(tmp_path, name):
    whole = hash_of(rendered(3, 32, 0, tmp_path, workers=0)[0])
    (file,) = tmp_path.glob(f"*/{name}")
    for damage in (lambda: file.write_bytes(file.read_bytes()[:-7]), lambda: file.write_bytes(b""), file.unlink):
        damage()

        pixels, labels = rendered(3, 32, 0, tmp_path, workers=0)

        assert hash_of(pixels) == whole
        assert labels.tolist() == [describe(0, index).label for index in range(3)]


def test_an_interrupted_call_is_continued(tmp_path, short_parts, monkeypatch):
    """Finished parts are kept, a damaged one is drawn again, no process and no temporary file is left."""
    started = []
    monkeypatch.setattr(
        crew, "_started", lambda *rest, begin=crew._started: started.append(begin(*rest)) or started[-1]
    )
    with pytest.raises(KeyboardInterrupt) as interrupted:
        rendered(20, 32, 0, tmp_path, workers=2, progress=Watched(stop_at=8))
    assert interrupted.traceback, "held, and with it the frames that were left"
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)

    parts = sorted(tmp_path.glob("*/parts/*.npz"))
    assert 2 <= len(parts) <= 4
    parts[0].write_bytes(parts[0].read_bytes()[:-40])
    watched = Watched()
    pixels, _ = rendered(20, 32, 0, tmp_path, workers=0, progress=watched)

    done = [done for _, done, _ in watched.calls]
    assert done == list(range(4 * (len(parts) - 1), 21, 4))
    assert hash_of(pixels) == hash_of(rendered(20, 32, 0, tmp_path / "uninterrupted", workers=0)[0])
    assert sorted(file.name for file in tmp_path.glob("scenes*/*")) == ["labels.npy", "pixels.npy"]


def test_two_at_once_share_one_order(tmp_path, short_parts, monkeypatch):
    """Another process may finish and clear up while this one still draws."""

    def draw_and_be_overtaken(*rest, draw=store._draw):
        monkeypatch.setattr(store, "_draw", draw)
        draw(*rest)
        rendered(6, 32, 0, tmp_path, workers=0)

    monkeypatch.setattr(store, "_draw", draw_and_be_overtaken)

    assert len(rendered(6, 32, 0, tmp_path, workers=0)[0]) == 6


def test_ctrl_c_stops_everything_quietly(tmp_path):
    """A real interrupt to the whole process group: the worker goes with its parent, and nothing but the caller speaks.

    The script has no `__main__` guard, and does not need one.
    """
    script = (
        # where the tests run in the background, a shell has told all below it to ignore interrupts
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from selfsup.data.scenes import rendered\n"
        f"rendered(4000, 32, 0, Path({str(tmp_path)!r}), progress=lambda *said: print(*said, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert process.stdout.readline().startswith("drawing scenes 50 "), "the first part is done"
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=20)

    assert said.strip().endswith("KeyboardInterrupt")
    assert said.count("Traceback") == 1
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("a worker outlived its parent")
    assert len(list(tmp_path.glob("*/parts/*.npz"))) >= 1


def test_an_interrupt_the_caller_ignores_stops_no_worker(tmp_path, short_parts, monkeypatch):
    """Ctrl-C reaches the workers too, but it is the caller who decides."""
    started = []
    monkeypatch.setattr(
        crew, "_started", lambda *rest, begin=crew._started: started.append(begin(*rest)) or started[-1]
    )

    def interrupt(what: str, done: int, total: int) -> None:
        if done == 4:
            started[0].send_signal(signal.SIGINT)

    assert len(rendered(16, 32, 0, tmp_path, workers=1, progress=interrupt)[0]) == 16


def test_a_failing_worker_is_reported(tmp_path, monkeypatch):
    """With what it said, not with silence or half a set."""
    begin = crew._started
    monkeypatch.setattr(crew, "_started", lambda kind, order, _, said: begin(kind, order, [-9], said))

    with pytest.raises(RuntimeError, match=r"(?s)worker process.*ValueError"):
        rendered(2, 32, 0, tmp_path)


# What is imported, and what is refused


def test_describing_loads_no_engine_and_drawing_no_torch_and_no_noise():
    script = (
        "import sys\n"
        "import selfsup.data.scenes.worker\n"
        "from selfsup.data.scenes import describe, render\n"
        "scene = describe(0, 0)\n"
        "assert 'panda3d' not in sys.modules\n"
        "assert sum(1 for _ in render([scene], 32)) == 1\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(SOURCE)},
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("count", "size", "workers", "sentence"),
    [(0, 64, 2, "one scene"), (5, 8, 2, "got 8"), (5, 1000, 2, "got 1000"), (5, 64, -1, "got -1")],
)
def test_impossible_orders_are_refused(tmp_path, count, size, workers, sentence):
    with pytest.raises(InputError, match=sentence):
        rendered(count, size, 0, tmp_path, workers=workers)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_engine_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "panda3d", None)
    monkeypatch.setitem(sys.modules, "panda3d.core", None)

    with pytest.raises(InputError, match=r"need panda3d.*pip install panda3d"):
        rendered(2, 32, 0, tmp_path)
    with pytest.raises(InputError, match="need panda3d"):
        render([describe(0, 0)], 32)
    assert list(tmp_path.iterdir()) == []
