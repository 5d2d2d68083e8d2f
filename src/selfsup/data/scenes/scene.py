"""What a scene is: things, camera, light and room, and where its points are in the world and in the picture."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from selfsup.data.scenes.shapes import SHAPES, Triple, corners

Pair = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in shares of the image."""
WHOLE_IMAGE: Box = (0.0, 0.0, 1.0, 1.0)
NO_IMAGE: Box = (1.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Surface:
    """A grey pattern times a colour."""

    color: Triple  # red, green, blue in [0, 1]
    pattern: int  # a place in textures.bank()
    repeats: float  # pattern tiles per world unit
    turn_degrees: float = 0.0


@dataclass(frozen=True)
class Thing:
    """One object: a shape of SHAPES, scaled, turned about the vertical and stood on the floor, or moved from there."""

    shape: str
    place: Pair
    yaw_degrees: float
    scale: Triple
    body: Surface
    accent: Triple
    gloss: float
    height: float = 0.0  # of its foot above the floor
    turn_degrees: float = 0.0  # about a level axis through its middle
    toward_degrees: float = 0.0  # where its top goes when it turns, from x towards y

    def corners(self) -> Float[np.ndarray, "8 3"]:
        """Give the corners of its bounding box in the world."""
        return self.placed(corners(self.shape))

    def placed(self, points: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
        """Take points of the shape to the world."""
        upright = points * np.array(self.scale) @ _yaw(self.yaw_degrees).T
        if self.turn_degrees:
            middle = np.array([0.0, 0.0, self.half_height])
            upright = (upright - middle) @ self._turn().T + middle
        placed: np.ndarray = upright + np.array([*self.place, self.height])
        return placed

    def turned(self, normals: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
        """Take normals of the shape to the world, unit length again."""
        turned: np.ndarray = normals / np.array(self.scale) @ _yaw(self.yaw_degrees).T
        if self.turn_degrees:
            turned = turned @ self._turn().T
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        return turned

    @property
    def radius(self) -> float:
        """Radius on the floor of the circle around its place that holds it."""
        return float(np.linalg.norm(self.corners()[:, :2] - np.array(self.place), axis=1).max())

    @property
    def half_height(self) -> float:
        """Height of its middle above its foot when it stands upright; the radius of what rolls."""
        return float(corners(self.shape)[:, 2].max() / 2 * self.scale[2])

    def _turn(self) -> Float[np.ndarray, "3 3"]:
        toward = _yaw(self.toward_degrees)
        c, s = np.cos(np.radians(self.turn_degrees)), np.sin(np.radians(self.turn_degrees))
        over: np.ndarray = toward @ np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]) @ toward.T
        return over


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
        """Give the box in the image, which may reach beyond it, around what lies between points.

        What is nearer than `near` is not drawn and does not count; the box is inside out where nothing is left.
        """
        depth = (points - np.array(self.eye)) @ self.axes()[2]
        behind, points, before = points[depth < self.near], points[depth >= self.near], depth[depth >= self.near]
        if len(points) == 0:
            return NO_IMAGE
        if len(behind):  # the edges of what is left are among the lines from each point before to each behind
            share = (before[:, None] - self.near) / (before[:, None] - depth[depth < self.near])
            met = points[:, None] + share[:, :, None] * (behind - points[:, None])
            points = np.concatenate([points, met.reshape(-1, 3)])
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
        """The shape of the main thing, a place in SHAPES (and in CLASSES, for a still)."""
        return SHAPES.index(self.things[0].shape)


def area(box: Box) -> float:
    """Give the area of a box; 0 if it is inside out."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def common(one: Box, other: Box) -> Box:
    """Give what two boxes share, inside out if nothing."""
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _yaw(degrees: float) -> Float[np.ndarray, "3 3"]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
