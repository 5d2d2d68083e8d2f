"""What a scene holds, drawn from (seed, index) alone: things, colours, camera, light, room. No pixels here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from selfsup.data.scenes import textures
from selfsup.data.scenes.shapes import CLASSES, Triple, corners, mesh

Pair = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in shares of the image."""
WHOLE_IMAGE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Surface:
    """A grey pattern times a colour."""

    color: Triple  # red, green, blue in [0, 1]
    pattern: int  # a place in textures.bank()
    repeats: float  # pattern tiles per world unit
    turn_degrees: float = 0.0


@dataclass(frozen=True)
class Thing:
    """One upright object: a shape of CLASSES, scaled, turned about the vertical and stood on the floor."""

    shape: str
    place: Pair
    yaw_degrees: float
    scale: Triple
    body: Surface
    accent: Triple
    gloss: float

    def corners(self) -> Float[np.ndarray, "8 3"]:
        """Give the corners of its bounding box in the world."""
        return self.placed(corners(self.shape))

    def placed(self, points: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
        """Take points of the shape to the world."""
        placed: np.ndarray = points * np.array(self.scale) @ _yaw(self.yaw_degrees).T + np.array([*self.place, 0.0])
        return placed

    def turned(self, normals: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
        """Take normals of the shape to the world, unit length again."""
        turned: np.ndarray = normals / np.array(self.scale) @ _yaw(self.yaw_degrees).T
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        return turned

    @property
    def radius(self) -> float:
        """Radius on the floor of the circle around its place that holds it."""
        return float(np.linalg.norm(self.corners()[:, :2] - np.array(self.place), axis=1).max())


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, never rolled; z is up in the world."""

    eye: Triple
    target: Triple
    field_degrees: float  # the whole angle, the same across and up: images are square
    near: float = 0.3
    far: float = 60.0

    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Give right, down and forward as rows: the rotation from world to camera."""
        x, y, z = (t - e for t, e in zip(self.target, self.eye, strict=True))
        level, length = math.hypot(x, y), math.hypot(x, y, z)
        x, y, z, level = x / length, y / length, z / length, level / length
        return np.array([[y / level, -x / level, 0.0], [x * z / level, y * z / level, -level], [x, y, z]])

    def seen(self, points: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
        """Give x and y in shares of the image (0, 0 its upper left corner) and the depth along the view axis."""
        local = (points - np.array(self.eye)) @ self.axes().T
        focal = 0.5 / np.tan(np.radians(self.field_degrees) / 2)
        depth = local[:, 2]
        return np.stack([0.5 + focal * local[:, 0] / depth, 0.5 + focal * local[:, 1] / depth, depth], axis=1)

    def box(self, points: Float[np.ndarray, "V 3"]) -> Box:
        """Give the box around points in the image, which may reach beyond it."""
        x, y, _ = self.seen(points).T
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())


@dataclass(frozen=True)
class Light:
    """One sun and light from everywhere."""

    toward: Triple  # unit vector to the sun
    sun: Triple
    ambient: Triple
    shadow: float  # share of light that a shadow takes from the floor; 0 draws none


@dataclass(frozen=True)
class Room:
    """Floor and walls around things and camera."""

    low: Pair
    high: Pair
    height: float
    floor: Surface
    walls: tuple[Surface, Surface]  # those across x, those across y
    skirting: Triple


@dataclass(frozen=True)
class Scene:
    """All there is to know of one picture. `things[0]` is the main one; without a room the ground is plain."""

    seed: int
    index: int
    things: tuple[Thing, ...]
    camera: Camera
    light: Light
    room: Room | None
    ground: Triple  # colour of a ground without room

    @property
    def label(self) -> int:
        """The class of the main thing, a place in CLASSES."""
        return CLASSES.index(self.things[0].shape)


def describe(seed: int, index: int, room: bool = True) -> Scene:
    """Draw scene number `index` of a seed; the main thing, its look and its light are alike with and without room."""
    draws = np.random.default_rng([seed, index])
    main = _thing(draws, draws.uniform(0.9, 1.15))
    camera = _camera(draws, main)
    light = _light(draws)
    things = [main]
    for _ in range(int(draws.choice(4, p=(0.12, 0.28, 0.34, 0.26)))):
        if (other := _other(draws, camera, things)) is not None:
            things.append(other)
    ground = _color(draws, (0.05, 0.5), (0.7, 0.97))
    return Scene(seed, index, tuple(things), camera, light, _room(draws, camera, things) if room else None, ground)


def _thing(draws: np.random.Generator, size: float) -> Thing:
    """Draw a thing of any shape, at the origin."""
    width, depth, height = size * draws.uniform(0.8, 1.25, 3)
    return Thing(
        shape=CLASSES[draws.integers(len(CLASSES))],
        place=(0.0, 0.0),
        yaw_degrees=float(draws.uniform(0, 360)),
        scale=(float(width), float(depth), float(height)),
        body=_surface(draws, (0.3, 0.9), (0.6, 1.0), (0.5, 1.5)),
        accent=_color(draws, (0.1, 0.9), (0.45, 1.0)),
        gloss=float(draws.uniform(0, 0.5)),
    )


def _camera(draws: np.random.Generator, main: Thing) -> Camera:
    """Look at the main thing from around and above, so that its larger side fills 34 to 60 % of the image."""
    azimuth, elevation = np.radians(draws.uniform(0, 360)), np.radians(draws.uniform(6, 46))
    field, share, shift = draws.uniform(32, 56), draws.uniform(0.34, 0.6), draws.uniform(-0.16, 0.16, 2)
    toward = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    middle = main.corners().mean(0)
    distance = 3.0
    for _ in range(4):  # the size in the image goes nearly as one over the distance
        camera = _looking(middle, toward, distance, field)
        left, top, right, bottom = camera.box(main.placed(mesh(main.shape).positions))
        distance *= max(right - left, bottom - top) / share
    across, down, _ = camera.axes()
    width = 2 * distance * np.tan(np.radians(field) / 2)
    return _looking(middle + width * (shift[0] * across + shift[1] * down), toward, distance, field)


def _looking(target: np.ndarray, toward: np.ndarray, distance: float, field: float) -> Camera:
    return Camera(_triple(target + distance * toward), _triple(target), float(field))


def _other(draws: np.random.Generator, camera: Camera, things: Sequence[Thing]) -> Thing | None:
    """Find room for one more thing that is smaller in the image than the main one and hides next to nothing of it."""
    main = things[0]
    main_box = camera.box(main.placed(mesh(main.shape).positions))
    main_depth = camera.seen(main.corners())[:, 2].mean()
    main_covered = _covered(camera, main)
    right, _, forward = camera.axes()
    level = forward[:2] / np.linalg.norm(forward[:2])
    thing = _thing(draws, draws.uniform(0.5, 1.0))
    for _ in range(24):
        x, y = draws.uniform(-1.4, 3.5) * level + draws.uniform(-2.2, 2.2) * right[:2]
        other = replace(thing, place=(float(x), float(y)))
        if any(math.dist(other.place, each.place) < other.radius + each.radius for each in things):
            continue
        depth = camera.seen(other.corners())[:, 2]
        if depth.min() < 3 * camera.near:
            continue
        box = camera.box(other.placed(mesh(other.shape).positions))
        if _area(box) > 0.8 * _area(main_box) or _area(_common(box, WHOLE_IMAGE)) < 0.6 * _area(box):
            continue
        if _covered(camera, other) > 0.5 * main_covered:
            continue
        hidden_share = 0.06 * _area(main_box) if depth.mean() < main_depth else 0.5 * _area(box)
        if _area(_common(box, main_box)) <= hidden_share:
            return other
    return None


def _covered(camera: Camera, thing: Thing) -> float:
    """Measure roughly what share of the image it covers: triangles that face the camera, hidden or not."""
    x, y, _ = camera.seen(thing.placed(mesh(thing.shape).positions)).T
    a, b, c = mesh(thing.shape).faces.T
    doubled = (x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a])
    return float(np.maximum(-doubled, 0).sum() / 2)  # y points down: what faces us turns the other way


def _light(draws: np.random.Generator) -> Light:
    azimuth, elevation = np.radians(draws.uniform(0, 360)), np.radians(draws.uniform(35, 70))
    warmth = draws.uniform(-0.06, 0.08)
    sun, ambient = draws.uniform(0.45, 0.7), draws.uniform(0.5, 0.62)
    return Light(
        toward=_triple([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]),
        sun=(sun * (1 + warmth), sun, sun * (1 - warmth)),
        ambient=(ambient * (1 - warmth / 2), ambient, ambient * (1 + warmth / 2)),
        shadow=0.45,
    )


def _room(draws: np.random.Generator, camera: Camera, things: Sequence[Thing]) -> Room:
    """Wrap floor and walls around all things and the camera, with some space left."""
    reach = np.array([each.radius for each in things])[:, None]
    places = np.array([each.place for each in things])
    low = np.minimum((places - reach).min(0), np.array(camera.eye[:2]) - 0.5) - draws.uniform(0.3, 2.5, 2)
    high = np.maximum((places + reach).max(0), np.array(camera.eye[:2]) + 0.5) + draws.uniform(0.3, 2.5, 2)
    paint = _surface(draws)
    return Room(
        low=(float(low[0]), float(low[1])),
        high=(float(high[0]), float(high[1])),
        height=float(draws.uniform(6, 8)),
        floor=_surface(draws),
        walls=(paint, paint if draws.uniform() < 0.7 else _surface(draws)),
        skirting=_color(draws, (0.0, 0.4), (0.35, 1.0)),
    )


def _surface(
    draws: np.random.Generator, saturation: Pair = (0.05, 0.55), value: Pair = (0.65, 1.0), repeats: Pair = (0.25, 0.8)
) -> Surface:
    straight = draws.uniform() < 0.6
    return Surface(
        color=_color(draws, saturation, value),
        pattern=int(draws.integers(textures.count())),
        repeats=float(draws.uniform(*repeats)),
        turn_degrees=90.0 * float(draws.integers(2)) if straight else float(draws.uniform(0, 90)),
    )


def _color(draws: np.random.Generator, saturation: Pair, value: Pair) -> Triple:
    """Draw a colour with any hue."""
    hue, s, v = draws.uniform((0, saturation[0], value[0]), (6, saturation[1], value[1]))
    wheel = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return _triple(v * (1 - s * (1 - wheel)))


def _yaw(degrees: float) -> Float[np.ndarray, "3 3"]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _common(one: Box, other: Box) -> Box:
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _triple(values: np.ndarray | Sequence[float]) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z
