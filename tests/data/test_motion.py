"""What moves in moving scenes: exactly by the laws it claims, in view, and clear of all that stands."""

import dataclasses
import itertools

import numpy as np
import pytest

from selfsup.data.scenes import FRAMES, MOTIONS, RATE, Camera, MovingScene, Scene, Thing, describe_moving
from selfsup.data.scenes.geometry import SHADOW, layers
from selfsup.data.scenes.movements import _mass, touching
from selfsup.data.scenes.paths import GRAVITY, Bouncing, Meeting, after_impact, coasted
from selfsup.data.scenes.scene import area

CLIPS = [describe_moving(2, index) for index in range(60)]
MOMENTS = np.arange(FRAMES) / RATE


def of(motion: str) -> list[MovingScene]:
    """Give the clips of a class of motion."""
    return [clip for clip in CLIPS if clip.motion == motion]


def material_point(thing: Thing, place: np.ndarray) -> np.ndarray:
    """Find the point of the shape that is at a place in the world."""
    origin, *ends = thing.placed(np.concatenate([np.zeros((1, 3)), np.eye(3)]))
    found: np.ndarray = np.linalg.solve((np.array(ends) - origin).T, place - origin)
    return found


def test_a_clip_is_a_function_of_seed_and_index() -> None:
    """In any order; other seeds and indices move otherwise; all classes come about equally often."""
    assert [describe_moving(2, index) for index in (5, 3)] == [CLIPS[5], CLIPS[3]]
    assert describe_moving(3, 5) != CLIPS[5]
    assert len(set(CLIPS)) == len(CLIPS)
    counts = np.bincount([clip.label for clip in CLIPS], minlength=len(MOTIONS))
    assert counts.min() >= 4
    assert counts.sum() == len(CLIPS)
    assert [MOTIONS[clip.label] for clip in CLIPS] == [clip.motion for clip in CLIPS]


def test_what_moves_are_the_first_things_or_the_camera() -> None:
    """Two in collisions, none where the camera moves; all others stand, and so does the camera."""
    for clip in CLIPS:
        first, last = clip.at(0.0), clip.at(1.5)
        moving = {"colliding": 2, "camera": 0}.get(clip.motion, 1)
        assert [one != other for one, other in zip(first.things, last.things, strict=True)] == [
            place < moving for place in range(len(first.things))
        ]
        assert (first.camera != last.camera) == (clip.motion == "camera")
        assert (first.room, first.light) == (last.room, last.light)


def test_what_rolls_does_not_slip() -> None:
    """The point of it that touches the floor stands still for a moment, though its middle moves on."""
    dt = 1e-4
    rolling = [(clip, 0.4) for clip in of("rolling")]
    balls = [clip for clip in of("colliding") if clip.start.things[0].shape == "ball"]
    rolling += [(clip, seconds) for clip in balls for seconds in (0.3, 1.3)]
    assert {clip.at(seconds).things[0].shape for clip, seconds in rolling} == {"ball", "wheel"}
    assert len(balls) > 1
    for clip, seconds in rolling:
        thing = clip.at(seconds).things[0]
        touch = np.array([*thing.place, 0.0])
        later = clip.at(seconds + dt).things[0]
        moved = later.placed(material_point(thing, touch)[None])[0] - touch
        way = np.hypot(*np.subtract(later.place, thing.place))
        assert np.abs(moved).max() < 1e-3 * way + 1e-9
        top = np.array([*thing.place, 2 * thing.half_height])
        over = later.placed(material_point(thing, top)[None])[0] - top
        np.testing.assert_allclose(over[:2], 2 * np.subtract(later.place, thing.place), atol=1e-3 * way + 1e-9)


def test_bounces_lose_height_as_they_say() -> None:
    """Peaks fall by the square of the share of speed that is kept; between bounces there is gravity alone."""
    assert len(of("bouncing")) > 4
    for clip in of("bouncing")[:5]:
        (path,) = clip.paths
        assert isinstance(path, Bouncing)
        times = np.arange(0, 2.5, 1e-3)
        heights = np.array([clip.at(t).things[0].height for t in times])
        assert heights.min() >= 0
        inner = heights[1:-1]
        peaks = inner[(inner >= heights[:-2]) & (inner > heights[2:]) & (inner > 0.02)]
        first = path.height + path.rise**2 / 2 / GRAVITY
        assert heights.max() == pytest.approx(first, rel=1e-3)
        after = peaks[1:3] if path.rise > 0.05 else peaks[:2]
        np.testing.assert_allclose(after, [first * path.keeps**2, first * path.keeps**4], rtol=1e-3)
        bends = np.diff(heights, 2) / 1e-6
        assert np.median(bends) == pytest.approx(-GRAVITY, rel=1e-3)


def test_what_bounces_comes_to_rest_on_the_floor() -> None:
    """And passes into gliding without a jump."""
    path = Bouncing((0.0, 0.0), 30.0, 0.8, 0.7, 1.0, 0.5, 0.6, rolls=True)
    ball = next(thing for clip in CLIPS for thing in clip.start.things if thing.shape == "ball")
    things = [path.at(ball, t) for t in np.arange(0, 8, 0.01)]
    places = np.array([[*thing.place, thing.height] for thing in things])

    assert np.abs(np.diff(places[:, :2], axis=0)).max() <= 0.8 * 0.01 + 1e-9
    assert np.abs(np.diff(places[:, 2])).max() < 0.06
    np.testing.assert_array_equal(places[-1], places[-100])
    assert places[-1, 2] == 0


def test_all_is_at_rest_in_the_end() -> None:
    """After twelve seconds, for which ways were tried for room."""
    for clip in CLIPS:
        for then, later in zip(clip.at(12.0).things, clip.at(99.0).things, strict=True):
            np.testing.assert_allclose(then.corners(), later.corners(), atol=1e-9)
        assert clip.at(12.0).camera == clip.at(99.0).camera


def test_what_glides_slows_down_evenly_and_stops() -> None:
    """Time has a direction: no clip of it looks the same backwards."""
    assert coasted(2.0, 1.0, 1.0) == pytest.approx(1.5)
    assert coasted(-2.0, 1.0, 99.0) == pytest.approx(-2.0)
    for clip in of("sliding"):
        places = np.array([clip.at(t).things[0].place for t in np.arange(0, 5, 0.1)])
        steps = np.hypot(*np.diff(places, axis=0).T)
        assert (np.diff(steps) < 1e-9).all()
        assert steps[0] > 0.1
        assert steps[-1] == 0


def test_impacts_keep_momentum() -> None:
    """Known cases: equal masses swap velocities; against a wall one comes back; nothing changes across the normal."""
    one, other, normal = np.array([2.0, 1.0]), np.zeros(2), np.array([1.0, 0.0])
    np.testing.assert_allclose(after_impact(one, other, (1.0, 1.0), normal, 1.0), [[0.0, 1.0], [2.0, 0.0]])
    np.testing.assert_allclose(after_impact(one, other, (1.0, 1e9), normal, 0.5)[0], [-1.0, 1.0], atol=1e-6)


def test_collisions_keep_momentum_and_touch_when_they_happen() -> None:
    """Measured from where things are; energy is lost, and neither goes through the other."""
    dt = 1e-5
    assert {clip.start.things[0].shape for clip in of("colliding")} > {"ball"}
    for clip in of("colliding"):
        path = clip.paths[0]
        assert isinstance(path, Meeting)
        places = [np.array([each.place for each in clip.at(path.seconds + k * dt).things[:2]]) for k in (-2, -1, 1, 2)]
        before, after = (places[1] - places[0]) / dt, (places[3] - places[2]) / dt
        masses = np.array([_mass(thing) for thing in clip.start.things[:2]])
        np.testing.assert_allclose(masses @ before, masses @ after, atol=1e-3)
        assert masses @ (after**2).sum(1) < masses @ (before**2).sum(1)
        assert np.abs(after - before).max() > 0.3
        one, other = clip.at(path.seconds).things[:2]
        gap = np.hypot(*np.subtract(one.place, other.place))
        assert gap == pytest.approx(touching(one, other))
        if one.shape == "ball":  # their middles are at two heights
            assert np.hypot(gap, one.half_height - other.half_height) == pytest.approx(
                one.half_height + other.half_height
            )
        gaps = [np.hypot(*np.subtract(*(each.place for each in clip.at(t).things[:2]))) for t in np.arange(0, 6, 0.02)]
        assert min(gaps) > gap - 1e-6


def reach(thing: Thing) -> float:
    """Half the width of a round thing, or a little less than the least radius of another."""
    return float(np.abs(thing.corners()[:, :2] - thing.place).min()) if thing.turn_degrees == 0 else thing.half_height


def test_nothing_goes_through_things_or_walls() -> None:
    """At no time until all is at rest, and nothing sinks into the floor; the camera stays in the room too."""
    for clip in CLIPS:
        for seconds in np.arange(0, 12, 0.6):
            scene = clip.at(seconds)
            assert scene.room is not None
            inside = np.concatenate([[scene.camera.eye], *(thing.corners() for thing in scene.things)])
            assert (inside[:, :2] > scene.room.low).all()
            assert (inside[:, :2] < scene.room.high).all()
            assert 0 < scene.camera.eye[2] < scene.room.height
            assert min(thing.height for thing in scene.things) >= 0
            for one, other in itertools.combinations(scene.things, 2):
                assert np.hypot(*np.subtract(one.place, other.place)) > reach(one) + reach(other) - 1e-6


def test_what_moves_is_in_the_picture_most_of_the_time() -> None:
    """Its middle, in three frames of four; and what crosses the picture crosses some of it."""
    for clip in CLIPS:
        for number in range(max(1, len(clip.paths))):
            scenes = [clip.at(t) for t in MOMENTS]
            middles = np.array([each.camera.seen(each.things[number].corners()).mean(0) for each in scenes])
            inside = ((middles[:, :2] > 0) & (middles[:, :2] < 1)).all(1)
            assert inside.mean() >= 0.75
            assert middles[:, 2].min() > 1
        if clip.motion in ("sliding", "rolling"):
            assert np.hypot(*(middles[-1] - middles[0])[:2]) > 0.25


def test_nothing_comes_through_the_camera() -> None:
    """At any time until all is at rest, not in the first two seconds alone; here it did."""
    for clip in [*CLIPS[::4], *(describe_moving(0, index) for index in (86, 211, 217))]:
        for seconds in np.arange(0, 12, 0.15):
            scene = clip.at(seconds)
            for thing in scene.things:
                assert scene.camera.seen(thing.corners())[:, 2].min() > scene.camera.near


def test_boxes_end_where_nothing_is_drawn() -> None:
    """Of a thing that reaches behind the camera, the box around all that is before it; of one behind it, none."""
    camera = Camera((0.0, 0.0, 1.0), (0.0, 9.0, 1.0), 50.0)
    along = np.linspace(-2.0, 3.0, 50001)  # a rod that comes from behind, past the eye on its right
    rod = np.stack([0.4 + 0.1 * along, along, 0.9 + 0 * along], axis=1)
    drawn = rod[rod[:, 1] >= camera.near]
    assert len(drawn) < len(rod)
    x, y, _ = camera.seen(drawn).T
    np.testing.assert_allclose(camera.box(rod[[0, -1]]), (x.min(), y.min(), x.max(), y.max()), atol=1e-3)
    assert area(camera.box(rod[:100])) == 0


def test_shadows_move_along() -> None:
    """Lifted, a thing's shadow goes away from the sun by its height over the sun's slope."""

    def shadow(scene: Scene) -> np.ndarray:
        middle: np.ndarray = next(layer.positions for layer in layers(scene) if layer.thing == SHADOW).mean(0)
        return middle

    scene = CLIPS[0].at(0.0)
    lifted = dataclasses.replace(scene.things[0], height=scene.things[0].height + 0.5)
    x, y, z = scene.light.toward
    moved = shadow(dataclasses.replace(scene, things=(lifted, *scene.things[1:]))) - shadow(scene)
    np.testing.assert_allclose(moved, [-0.5 * x / z, -0.5 * y / z, 0.0], atol=1e-9)
