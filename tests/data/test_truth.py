"""Truth of scenes: depth and normals against geometry that is known without them, contours against things."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("panda3d.core", reason="scenes are drawn by panda3d, which is not installed")

from selfsup.data.scenes import CLASSES, Camera, Scene, describe, render, shapes
from selfsup.data.scenes.truth import Truth, contours_of, rays_of, truth
from selfsup.errors import InputError

SIZE = 48
RADIUS = 0.5


@pytest.fixture
def ball(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A scene without room that holds one ball on the ground, finely meshed."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 65)
    profile = [(RADIUS * np.cos(t), RADIUS + RADIUS * np.sin(t)) for t in turn]
    monkeypatch.setitem(shapes._BUILDERS, "fine ball", lambda: shapes.revolved([profile], shapes.BODY, segments=128))
    scene = describe(0, 0, room=False)
    thing = dataclasses.replace(scene.things[0], shape="fine ball", scale=(1.0, 1.0, 1.0), place=(0.2, -0.1))
    camera = Camera(eye=(2.1, -1.9, 1.6), target=(0.2, -0.1, 0.4), field_degrees=40.0)
    return dataclasses.replace(scene, things=(thing,), camera=camera)


def grown(mask: np.ndarray) -> np.ndarray:
    """Add all eight neighbours of each pixel."""
    padded = np.pad(mask, 1)
    rows, columns = mask.shape
    return np.any([padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=0)


def points_of(found: Truth, camera: Camera) -> np.ndarray:
    """Give where in the world each pixel's surface lies."""
    rays = rays_of(camera, len(found.depth))
    points: np.ndarray = found.depth[:, :, None] * rays @ camera.axes() + np.array(camera.eye)
    return points


@pytest.mark.parametrize(("height", "turn"), [(0.0, 0.0), (0.25, 115.0)])
def test_a_ball_is_where_geometry_says(ball: Scene, height: float, turn: float) -> None:
    """Depth to the nearer crossing of each ray with the sphere, normals along its radius, in the camera's frame.

    In the air and turned about a level axis it is the same, higher up.
    """
    thing = dataclasses.replace(ball.things[0], height=height, turn_degrees=turn, toward_degrees=20.0)
    ball = dataclasses.replace(ball, things=(thing,))
    found = truth(ball, SIZE)
    middle = np.array([*ball.things[0].place, RADIUS + height])
    rays = rays_of(ball.camera, SIZE) @ ball.camera.axes()
    toward = np.array(ball.camera.eye) - middle
    a, b, c = (rays**2).sum(2), 2 * rays @ toward, toward @ toward - RADIUS**2
    inside = b**2 - 4 * a * c
    expected = (-b - np.sqrt(np.maximum(inside, 0))) / (2 * a)  # rays are one unit long along the axis: this is depth

    on_ball = found.instances == 1
    assert (on_ball != (inside > 0)).sum() <= 13  # of 451, at the rim; a third of a pixel off it would be 15 to 21
    well_inside = on_ball & (inside > 0.2)
    assert well_inside.sum() > 300
    assert np.abs(found.depth - expected)[well_inside].max() < 2e-3
    columns, rows, along = (ball.camera.seen(points_of(found, ball.camera)[on_ball]) * (SIZE, SIZE, 1)).T
    np.testing.assert_allclose(along, found.depth[on_ball], atol=1e-5)  # along the axis, not along the ray
    np.testing.assert_allclose(np.stack([rows, columns], 1), np.argwhere(on_ball) + 0.5, atol=1e-4)
    radial = (points_of(found, ball.camera) - middle) @ ball.camera.axes().T
    radial /= np.linalg.norm(radial, axis=2, keepdims=True)
    cosines = (found.normals * radial).sum(2)[well_inside]
    assert np.degrees(np.arccos(np.clip(cosines, -1, 1))).max() < 1.0


@pytest.mark.parametrize("room", [True, False])
def test_the_floor_is_a_plane(room: bool) -> None:
    """Points of the floor have height 0 and normals that point up, whether it is drawn or implied."""
    scene = dataclasses.replace(describe(3, 1, room), things=())
    found = truth(scene, SIZE)
    points = points_of(found, scene.camera)
    floor = found.seen & (np.abs(points[:, :, 2]) < 1e-4)
    assert floor.sum() > 500
    up = scene.camera.axes() @ np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(found.normals[floor], np.broadcast_to(up, (floor.sum(), 3)), atol=1e-6)
    above = found.seen & ~floor
    assert above.any() == room  # walls
    assert (points[above][:, 2] > -0.03).all()  # a tenth of a pixel below the floor


@pytest.mark.parametrize("turn", [10.0, -25.0])
def test_a_turn_of_the_camera_turns_the_normals(ball: Scene, turn: float) -> None:
    """Seen by a camera turned on the spot, every place has the old normal, turned the other way."""
    before = truth(ball, SIZE)
    eye, target = np.array(ball.camera.eye), np.array(ball.camera.target)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    level = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    camera = dataclasses.replace(ball.camera, target=tuple((level @ (target - eye) + eye).tolist()))
    after = truth(dataclasses.replace(ball, camera=camera), SIZE)

    points = points_of(before, ball.camera)[before.instances == 1]
    columns, rows, _ = (camera.seen(points) * (SIZE, SIZE, 1)).T
    shown = (columns >= 1) & (columns < SIZE - 1) & (rows >= 1) & (rows < SIZE - 1)
    assert shown.sum() > 60
    rows, columns = rows[shown].astype(int), columns[shown].astype(int)
    both = after.instances[rows, columns] == 1
    expected = before.normals[before.instances == 1][shown][both] @ ball.camera.axes() @ camera.axes().T
    met = after.normals[rows, columns][both]
    degrees = np.degrees(np.arccos(np.clip((met * expected).sum(1), -1, 1)))
    assert np.median(degrees) < 3  # half a pixel of a ball of 25
    away = before.normals[before.instances == 1][shown][both]
    assert np.median(np.degrees(np.arccos(np.clip((met * away).sum(1), -1, 1)))) > 5


def test_normals_face_the_camera() -> None:
    """Unit vectors wherever there is a surface; next to none look away (bends at the rim of round things)."""
    for index in range(4):
        scene = describe(5, index)
        found = truth(scene, SIZE)
        np.testing.assert_allclose(np.linalg.norm(found.normals, axis=2)[found.seen], 1, atol=1e-6)
        assert not found.normals[~found.seen].any()
        facing = (found.normals * rays_of(scene.camera, SIZE)).sum(2) < 0
        assert facing[found.seen].mean() > 0.99


def test_contours_are_where_things_end() -> None:
    """Each pair of neighbours of unlike things has a contour on its nearer side, and an empty room has none."""
    for index in range(4):
        scene = describe(6, index)
        found = truth(scene, SIZE)
        for axis in (0, 1):
            here, there = (np.moveaxis(found.instances, axis, 0)[cut] for cut in (slice(-1), slice(1, None)))
            near, far = (np.moveaxis(found.depth, axis, 0)[cut] for cut in (slice(-1), slice(1, None)))
            first, second = (np.moveaxis(found.contours, axis, 0)[cut] for cut in (slice(-1), slice(1, None)))
            unlike = (here != there) & (near > 0) & (far > 0)
            assert np.where(near <= far, first, second)[unlike].all()
        assert found.contours[found.instances == 0].mean() < 0.02
        empty = truth(dataclasses.replace(scene, things=()), SIZE)
        assert not empty.contours[empty.seen].any()


def test_a_step_within_one_thing_is_a_contour() -> None:
    """Two squares of one thing at depths 2 and 3: the nearer one's edge, one pixel wide, and nothing else."""
    camera = describe(0, 0).camera
    depth = np.full((20, 20), 3.0)
    depth[5:15, 5:15] = 2.0
    normals = np.zeros((20, 20, 3))
    normals[:, :, 2] = -1
    found = contours_of(depth, normals, np.ones((20, 20), np.uint8), rays_of(camera, 20))
    ring = np.zeros((20, 20), bool)
    ring[5:15, 5:15] = True
    ring[6:14, 6:14] = False
    np.testing.assert_array_equal(found, ring)


def test_a_steep_floor_has_no_contour() -> None:
    """A plane that runs away to a hundred times its depth is one surface."""
    rays = rays_of(Camera((0.0, 0.0, 1.0), (1.0, 0.0, 1.0), 90.0), 40)
    down = rays[:, :, 1]
    depth = np.where(down > 0, 1 / np.maximum(down, 1e-3), 0)
    normals = np.where((down > 0)[:, :, None], np.array([0.0, -1.0, 0.0]), 0.0)
    assert depth.max() / depth[depth > 0].min() > 30
    assert not contours_of(depth, normals, np.zeros((40, 40), np.uint8), rays)[down > 0][:-40].any()


def test_things_are_seen_where_they_are_drawn() -> None:
    """Instances are the pixels that change when a thing goes; classes and boxes say the same."""
    for index in range(3):
        scene = describe(7, index, room=False)
        scene = dataclasses.replace(scene, light=dataclasses.replace(scene.light, shadow=0.0))
        found = truth(scene, SIZE)
        classes, boxes = found.classes(scene), found.boxes(len(scene.things))
        (whole,) = render([scene], SIZE)
        for number, thing in enumerate(scene.things):
            seen = found.instances == number + 1
            rest = dataclasses.replace(scene, things=scene.things[:number] + scene.things[number + 1 :])
            changed = (next(render([rest], SIZE)) != whole).any(axis=2)
            assert (seen & ~changed).sum() <= 0.03 * max(seen.sum(), 30)
            assert (changed & ~grown(seen)).sum() <= 3  # pixels partly covered lie beside it
            assert (classes[seen] == 1 + CLASSES.index(thing.shape)).all()
            left, top, right, bottom = boxes[number]
            rows, columns = np.nonzero(seen)
            assert (left, right) == (columns.min(), columns.max() + 1)
            assert (top, bottom) == (rows.min(), rows.max() + 1)
        assert (classes[found.instances == 0] == 0).all()


def test_depth_is_the_renderers_order() -> None:
    """Where two things overlap in the image, the one that is seen is the nearer one."""
    overlaps = 0
    for index in range(12):
        scene = describe(8, index, room=False)
        whole = truth(scene, SIZE)
        for number in range(len(scene.things)):
            alone = truth(dataclasses.replace(scene, things=(scene.things[number],)), SIZE)
            hidden = (alone.instances == 1) & (whole.instances != number + 1)
            overlaps += hidden.sum()
            assert (whole.depth[hidden] <= alone.depth[hidden] + 1e-3).all()
    assert overlaps > 20


def test_an_impossible_size_is_refused() -> None:
    """As when drawing."""
    with pytest.raises(InputError, match="16 to 512"):
        truth(describe(0, 0), 8)
