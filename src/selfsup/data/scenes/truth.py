"""What is true of every pixel of a scene: depth, normals, things and their contours, computed from its geometry.

Which triangle is seen in the middle of a pixel is asked of the renderer; all else is geometry in float64, so depth and
normals have no error of drawing. Distances are in world units (a thing is about one unit large).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from selfsup.data.scenes.description import Camera, Scene
from selfsup.data.scenes.geometry import ROOM, solid_ground
from selfsup.data.scenes.renderer import check_size, numbered, require_panda3d
from selfsup.data.scenes.shapes import CLASSES

STEP = 0.03
"""Share of one over the depth by which two planes are apart where they do not belong to one surface."""


class Truth(NamedTuple):
    """Maps of one scene, S pixels square, taken in the middle of each pixel."""

    depth: Float32[np.ndarray, "S S"]
    """Along the view axis, in world units; 0 where nothing is seen."""
    normals: Float32[np.ndarray, "S S 3"]
    """Unit vectors in the camera's frame (right, down, forward), so what faces the camera has a negative last number;
    0 where nothing is seen."""
    instances: UInt8[np.ndarray, "S S"]
    """0 for room and ground, n + 1 for `scene.things[n]`."""
    contours: Bool[np.ndarray, "S S"]
    """Edges of things against what is behind them, one pixel wide and on the nearer side."""

    @property
    def seen(self) -> Bool[np.ndarray, "S S"]:
        """Where there is a surface at all."""
        seen: np.ndarray = self.depth > 0
        return seen

    def classes(self, scene: Scene) -> UInt8[np.ndarray, "S S"]:
        """Give 0 for room and ground, and 1 + the place in CLASSES for things."""
        of_things = [0] + [1 + CLASSES.index(thing.shape) for thing in scene.things]
        classes: np.ndarray = np.array(of_things, np.uint8)[self.instances]
        return classes

    def boxes(self, count: int) -> Int[np.ndarray, "T 4"]:
        """Give left, top, right and bottom (the last two exclusive) of what is seen of each thing; zeros if nothing.

        Args:
            count: things of the scene.
        """
        found = np.zeros((count, 4), np.int64)
        for number in range(count):
            rows, columns = np.nonzero(self.instances == number + 1)
            if len(rows):
                found[number] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        return found


def truth(scene: Scene, size: int) -> Truth:
    """Compute the maps of a scene.

    Raises:
        InputError: if the size is out of range or panda3d is missing.
    """
    check_size(size)
    require_panda3d()
    layers = solid_ground(scene)
    corners = np.concatenate([np.zeros((0, 3, 3)), *(layer.positions[layer.faces] for layer in layers)])
    bends = np.concatenate([np.zeros((0, 3, 3)), *(layer.normals[layer.faces] for layer in layers)])
    things = np.concatenate([np.zeros(0, int), *(np.full(len(layer.faces), layer.thing) for layer in layers)])
    number = numbered(scene, size)
    rays = rays_of(scene.camera, size)
    depth, normals = np.zeros((size, size)), np.zeros((size, size, 3))
    instances = np.zeros((size, size), np.uint8)
    hit = number >= 0
    if hit.any():
        triangle = number[hit]
        shares, depth[hit] = _met(corners[triangle] - np.array(scene.camera.eye), rays[hit] @ scene.camera.axes())
        normals[hit] = (shares[:, :, None] * bends[triangle]).sum(1) @ scene.camera.axes().T
        instances[hit] = np.where(things[triangle] == ROOM, 0, things[triangle] + 1)
    if scene.room is None:
        _lay_ground(scene, rays, ~hit, depth, normals)
    lengths = np.linalg.norm(normals, axis=2, keepdims=True)
    normals = np.divide(normals, lengths, out=normals, where=lengths > 0)
    return Truth(
        depth.astype(np.float32), normals.astype(np.float32), instances, contours_of(depth, normals, instances, rays)
    )


def rays_of(camera: Camera, size: int) -> Float[np.ndarray, "S S 3"]:
    """Give the way to the middle of each pixel in the camera's frame, one unit along the view axis."""
    reach = np.tan(np.radians(camera.field_degrees) / 2)
    axis = (2 * (np.arange(size) + 0.5) / size - 1) * reach
    x, y = np.meshgrid(axis, axis)
    return np.stack([x, y, np.ones_like(x)], axis=2)


def contours_of(
    depth: Float[np.ndarray, "S S"],
    normals: Float[np.ndarray, "S S 3"],
    instances: UInt8[np.ndarray, "S S"],
    rays: Float[np.ndarray, "S S 3"],
) -> Bool[np.ndarray, "S S"]:
    """Find where a pixel and the one to its right or below lie on different surfaces; the nearer one is the contour.

    They do if they belong to different things, or if the plane of one stays in front of the plane of the other from
    pixel to pixel, by more than `STEP`: where surfaces meet in between (a wall on the floor) there is no contour, and
    neither on a floor that runs away steeply.
    """
    found = np.zeros(depth.shape, bool)
    away = np.where(depth > 0, depth, np.inf)
    for axis in (0, 1):
        first, second = _neighbours(axis)
        here, there = (_Side(depth[cut], normals[cut], rays[cut]) for cut in (first, second))
        steps = _apart(here, there)
        edge = (instances[first] != instances[second]) | steps
        nearer = away[first] <= away[second]
        found[first] |= edge & nearer
        found[second] |= edge & ~nearer
    return found


class _Side(NamedTuple):
    depth: np.ndarray
    normals: np.ndarray
    rays: np.ndarray


def _neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    every, front, back = slice(None), slice(None, -1), slice(1, None)
    return ((front, every), (back, every)) if axis == 0 else ((every, front), (every, back))


def _apart(here: _Side, there: _Side) -> Bool[np.ndarray, "..."]:
    """Say whether one of two planes is clearly in front of the other at both pixels."""
    # over the image, one over the depth of a plane is a linear function: nothing overflows at the horizon
    with np.errstate(divide="ignore", invalid="ignore"):
        at_here = 1 / here.depth - _closeness(there, here.rays)
        at_there = _closeness(here, there.rays) - 1 / there.depth
        least = STEP / np.minimum(here.depth, there.depth)
        apart: np.ndarray = np.minimum(np.abs(at_here), np.abs(at_there)) > least
        same_way = at_here * at_there > 0
    apart &= same_way & (here.depth > 0) & (there.depth > 0)
    return apart


def _closeness(side: _Side, rays: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "..."]:
    """Give one over the depth at which rays meet the plane of each pixel."""
    closeness: np.ndarray = (side.normals * rays).sum(2) / ((side.normals * side.rays).sum(2) * side.depth)
    return closeness


def _met(
    corners: Float[np.ndarray, "P 3 3"], ways: Float[np.ndarray, "P 3"]
) -> tuple[Float[np.ndarray, "P 3"], Float[np.ndarray, " P"]]:
    """Meet the planes of triangles, seen from the origin: shares of the corners, and how many times the way is gone."""
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(ab, ac)
    far = (normal * a).sum(1) / (normal * ways).sum(1)
    inside = far[:, None] * ways - a
    double_area = (normal * normal).sum(1)
    of_b = (np.cross(inside, ac) * normal).sum(1) / double_area
    of_c = (np.cross(ab, inside) * normal).sum(1) / double_area
    return np.stack([1 - of_b - of_c, of_b, of_c], axis=1), far


def _lay_ground(
    scene: Scene,
    rays: Float[np.ndarray, "S S 3"],
    free: Bool[np.ndarray, "S S"],
    depth: Float[np.ndarray, "S S"],
    normals: Float[np.ndarray, "S S 3"],
) -> None:
    """Fill in the plain ground, up to where the camera no longer looks."""
    axes = scene.camera.axes()
    falling = (rays @ axes)[:, :, 2]
    with np.errstate(divide="ignore"):
        far = -scene.camera.eye[2] / falling
    ground = free & (falling < 0) & (far <= scene.camera.far)
    depth[ground] = far[ground]
    normals[ground] = axes @ np.array([0.0, 0.0, 1.0])
