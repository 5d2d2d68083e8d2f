"""Scenes in which something moves, drawn from (seed, index) alone: what, how, and what else stands about."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from selfsup.data.scenes.description import camera_around, room_around, some_color, some_light
from selfsup.data.scenes.movements import MOTIONS, MOVEMENTS, some_flight, some_mover
from selfsup.data.scenes.paths import Flight, Way
from selfsup.data.scenes.scene import Camera, Scene, Thing
from selfsup.data.scenes.shapes import SHAPES, mesh
from selfsup.data.scenes.sight import Sight, sight

__all__ = ["FRAMES", "MOTIONS", "RATE", "MovingScene", "describe_moving"]

FRAMES, RATE = 24, 12.0
"""Frames of a clip, and frames a second: what a moving scene is made for, and looks best at."""
STREAM = 7
"""Keeps the draws of moving scenes apart from those of stills of the same seed and index."""
CROSSING = ("sliding", "rolling", "colliding")
"""Motions that cross the picture."""
SCREENED, SCREENED_SHARE = ("sliding", "rolling"), 0.3
"""Motions of which some go behind something on purpose, and how many of them do."""
CLEAR = 1.2
"""Times the depth from which on things are drawn that all keep to: between moments that are tried, they turn."""
BROAD = ("barrel", "house", "mug", "tree", "wheel")
"""Shapes behind which something can be."""


@dataclass(frozen=True)
class MovingScene:
    """A scene in time. Its first things move, one for each path; of motion `camera` it is the camera that does."""

    motion: str  # one of MOTIONS
    start: Scene
    paths: tuple[Way, ...]
    flight: Flight | None

    @property
    def label(self) -> int:
        """The class of motion, a place in MOTIONS."""
        return MOTIONS.index(self.motion)

    def at(self, seconds: float) -> Scene:
        """Give the scene as it is at a moment, 0 or later; all of it comes to rest in the end."""
        moving = [path.at(thing, seconds) for path, thing in zip(self.paths, self.start.things, strict=False)]
        camera = self.flight.at(self.start.camera, seconds) if self.flight else self.start.camera
        return replace(self.start, things=(*moving, *self.start.things[len(moving) :]), camera=camera)


def describe_moving(seed: int, index: int) -> MovingScene:
    """Draw moving scene number `index` of a seed: a class of motion, and a scene in which it can be seen.

    In the first two seconds what moves is in the picture most of the time and in sight most of the time; at no time,
    until all is at rest, does it touch what stands about, or a wall, and nothing comes beside or behind the camera.
    """
    draws = np.random.default_rng([seed, index, STREAM])
    motion = MOTIONS[draws.integers(len(MOTIONS))]
    screened = motion in SCREENED and draws.uniform() < SCREENED_SHARE
    while (drawn := _tried(draws, motion, screened)) is None:
        pass
    things, paths, camera, flight = drawn
    light, ground = some_light(draws), some_color(draws, (0.05, 0.5), (0.7, 0.97))
    scene = MovingScene(motion, Scene(seed, index, tuple(things), camera, light, None, ground), paths, flight)
    whole = [scene.at(seconds) for seconds in _moments(to_rest=True)]
    within = [*things, *(thing for each in whole for thing in each.things[: len(paths)])]
    eyes = [each.camera.eye for each in whole]
    room = room_around(draws, eyes, within)
    room = replace(room, height=max(room.height, 0.5 + max(z for _, _, z in eyes)))
    return replace(scene, start=replace(scene.start, room=room))


_Drawn = tuple[list[Thing], tuple[Way, ...], Camera, Flight | None]


def _tried(draws: np.random.Generator, motion: str, screened: bool) -> _Drawn | None:
    """Draw things that move, a camera and things that stand about; None if what matters would not be seen."""
    movers, paths = MOVEMENTS[motion](draws)
    ways = _ways(movers, paths, _moments())
    seen = [thing for way in ways for thing in way]
    x, y = np.mean([thing.place for thing in seen], axis=0)
    middle = replace(seen[0], place=(float(x), float(y)), height=float(np.mean([thing.height for thing in seen])))
    camera = camera_around(draws, middle, (0.22, 0.36) if paths else (0.3, 0.46))
    if screened and camera.axes()[2, 2] < -0.4:  # from above, one sees over anything
        return None
    flight = None if paths else some_flight(draws, middle)
    cameras = [flight.at(camera, seconds) if flight else camera for seconds in _moments()]
    if not _crosses(motion, cameras, ways):
        return None
    sights = [sight(cameras, way) for way in ways]
    if any((each.inside > 0.6).mean() < 0.75 or each.nearest.min() < 4 * camera.near for each in sights):
        return None
    long = _ways(movers, paths, _moments(to_rest=True))
    later = [flight.at(camera, seconds) for seconds in _moments(to_rest=True)] if flight else [camera]
    if not all(_before(later if flight else later * len(way), way) for way in long):
        return None
    taken = [(np.array([thing.place for thing in way]), _reach(way[0])) for way in long]
    stand = _Stand(cameras if flight else [camera], later, taken, sights)
    things = list(movers)
    if screened:
        if (screen := _screen(draws, stand, ways[0])) is None:
            return None
        things.append(screen)
    for _ in range(int(draws.integers(1, 5)) if flight else int(draws.integers(0, 4))):
        if (other := _bystander(draws, stand, things[len(movers) :])) is not None:
            things.append(other)
    return things, paths, camera, flight


def _ways(things: Sequence[Thing], paths: Sequence[Way], moments: Float[np.ndarray, " T"]) -> list[list[Thing]]:
    """Give each thing as it is at all moments; without paths it is where it was."""
    if not paths:
        return [[thing] * len(moments) for thing in things]
    return [[path.at(thing, seconds) for seconds in moments] for thing, path in zip(things, paths, strict=True)]


def _moments(to_rest: bool = False) -> Float[np.ndarray, " T"]:
    """Give the moments of the frames, or those at which a way is tried for room, until all that moves has stopped."""
    if to_rest:
        return np.concatenate([np.arange(0, 4, 0.1), np.arange(4, 12, 0.2)])  # what bounces well takes up to eleven
    return np.arange(FRAMES) / RATE


def _before(cameras: Sequence[Camera], way: Sequence[Thing]) -> bool:
    """Whether a thing stays where the camera draws it, in the picture or beside it."""
    nearest = sight(cameras, way).nearest
    return bool((nearest >= CLEAR * cameras[0].near).all())


def _crosses(motion: str, cameras: Sequence[Camera], ways: Sequence[Sequence[Thing]]) -> bool:
    """Whether what glides or meets crosses some of the picture; the other motions show wherever they are seen from."""
    if motion not in CROSSING:
        return True
    first, last = sight(cameras[:: FRAMES - 1], ways[0][:: FRAMES - 1]).middle
    return bool(np.hypot(*(last - first)) > 0.3)


@dataclass(frozen=True)
class _Stand:
    """Where things that stand about must not be."""

    cameras: Sequence[Camera]
    later: Sequence[Camera]
    """Until all is at rest."""
    ways: Sequence[tuple[Float[np.ndarray, "T 2"], float]]
    """Places of what moves, and the radius it takes."""
    sights: Sequence[Sight]

    def has_room(self, thing: Thing, standing: Sequence[Thing]) -> bool:
        """Whether a thing touches nothing that stands or comes by."""
        return all(
            (np.hypot(*(places - thing.place).T) > _reach(thing) + reach + 0.05).all()
            for places, reach in [*self.ways, *((np.array([each.place]), _reach(each)) for each in standing)]
        )

    def seen(self, thing: Thing, largest: float) -> Sight | None:
        """Look at a thing that stands; None if it is too near, too large, out of the picture or hides too much."""
        found = sight(self.cameras, [thing] * len(self.cameras))
        if found.nearest.min() < 4 * self.cameras[0].near or found.inside[0] < 0.6 or found.area[0] > largest:
            return None
        if any(each.behind(found, 0.5).mean() > 1 / 3 for each in self.sights):
            return None
        return found if _before(self.later, [thing] * len(self.later)) else None


def _screen(draws: np.random.Generator, stand: _Stand, way: Sequence[Thing]) -> Thing | None:
    """Put something in front, behind which what moves is hidden for a moment."""
    thing = _resized(some_mover(draws, BROAD), draws.uniform(1.0, 1.3))
    eye = np.array(stand.cameras[0].eye[:2])
    for _ in range(12):
        hidden = np.array(way[int(draws.integers(3, len(way) - 3))].place)
        gap = _reach(thing) + _reach(way[0]) + draws.uniform(0.1, 0.8)
        screen = _at(thing, hidden + gap * (eye - hidden) / np.hypot(*(eye - hidden)))
        if not stand.has_room(screen, ()):
            continue
        found = stand.seen(screen, 0.35)
        if found is not None and stand.sights[0].behind(found, 0.9).any():
            return screen
    return None


def _bystander(draws: np.random.Generator, stand: _Stand, standing: Sequence[Thing]) -> Thing | None:
    """Find room for one more thing, anywhere in the picture."""
    thing = _resized(some_mover(draws, SHAPES), draws.uniform(0.6, 1.0))
    right, _, forward = stand.cameras[0].axes()
    level = forward[:2] / np.linalg.norm(forward[:2])
    middle = np.concatenate([places for places, _ in stand.ways]).mean(0)
    for _ in range(24):
        other = _at(thing, middle + draws.uniform(-1.6, 3.5) * level + draws.uniform(-2.4, 2.4) * right[:2])
        if stand.has_room(other, standing) and stand.seen(other, 0.25) is not None:
            return other
    return None


def _at(thing: Thing, place: Float[np.ndarray, " 2"]) -> Thing:
    return replace(thing, place=(float(place[0]), float(place[1])))


def _resized(thing: Thing, times: float) -> Thing:
    width, depth, height = (float(side * times) for side in thing.scale)
    return replace(thing, scale=(width, depth, height))


def _reach(thing: Thing) -> float:
    """Give the radius on the floor of what it takes, however it turns."""
    return float(np.hypot(*(mesh(thing.shape).positions[:, :2] * thing.scale[:2]).T).max())
