"""What is true of every pixel of a scene: depth, normals, things and their contours, computed from its geometry.

Which triangle is seen in the middle of a pixel is asked of the renderer; all else is geometry in float64, so depth and
normals have no error of drawing. Distances are in world units (a thing is about one unit large).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from selfsup.data.scenes.geometry import ROOM, solid_ground
from selfsup.data.scenes.renderer import check_size, numbered, require_panda3d
from selfsup.data.scenes.scene import Camera, Scene
from selfsup.data.scenes.shapes import SHAPES

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
        """Give 0 for room and ground, and 1 + the place in SHAPES for things."""
        of_things = [0] + [1 + SHAPES.index(thing.shape) for thing in scene.things]
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
    number = numbered(scene, size)
    seen = _triangles(scene)
    rays = rays_of(scene.camera, size)
    depth, normals = np.zeros((size, size)), np.zeros((size, size, 3))
    hit = number >= 0
    if hit.any():
        corner = seen.corner[number[hit]].T  # [3, P]
        a, b, c = ((seen.positions[each] - np.array(scene.camera.eye)).T for each in corner)
        shares, depth[hit] = _met(a, b, c, (rays[hit] @ scene.camera.axes()).T)
        bent = sum(share[:, None] * seen.normals[each] for share, each in zip(shares, corner, strict=True))
        normals[hit] = bent @ scene.camera.axes().T
    if scene.room is None:
        _lay_ground(scene, rays, ~hit, depth, normals)
    lengths = np.sqrt(_inner(normals, normals))[:, :, None]
    normals = np.divide(normals, lengths, out=normals, where=lengths > 0)
    instances = instances_of(scene, number)
    return Truth(
        depth.astype(np.float32), normals.astype(np.float32), instances, contours_of(depth, normals, instances, rays)
    )


class _Triangles(NamedTuple):
    """All that a number of the renderer may stand for."""

    positions: Float[np.ndarray, "V 3"]
    normals: Float[np.ndarray, "V 3"]
    corner: Int[np.ndarray, "F 3"]


def _triangles(scene: Scene) -> _Triangles:
    layers = solid_ground(scene)
    first = np.cumsum([0, *(len(layer.positions) for layer in layers)])
    faces = [layer.faces + start for layer, start in zip(layers, first, strict=False)]
    return _Triangles(
        np.concatenate([np.zeros((0, 3)), *(layer.positions for layer in layers)]),
        np.concatenate([np.zeros((0, 3)), *(layer.normals for layer in layers)]),
        np.concatenate([np.zeros((0, 3), int), *faces]),
    )


def instances_of(scene: Scene, number: Int[np.ndarray, "S S"]) -> UInt8[np.ndarray, "S S"]:
    """Give 0 for room and ground, n + 1 for `scene.things[n]`.

    Args:
        scene: what is seen.
        number: of the triangle in each pixel, from `renderer.numbered`.
    """
    layers = solid_ground(scene)
    owners = [0 if layer.thing == ROOM else layer.thing + 1 for layer in layers]
    of_triangles = np.repeat(np.array([*owners, 0], np.uint8), [*(len(layer.faces) for layer in layers), 1])
    instances: np.ndarray = of_triangles[number]  # -1, the last, is the ground
    return instances


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
    closeness: np.ndarray = _inner(side.normals, rays) / (_inner(side.normals, side.rays) * side.depth)
    return closeness


def _inner(one: Float[np.ndarray, "... 3"], other: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "..."]:
    # numpy sums axes of three numbers at a tenth of this speed
    inner: np.ndarray = one[..., 0] * other[..., 0] + one[..., 1] * other[..., 1] + one[..., 2] * other[..., 2]
    return inner


def _met(
    a: Float[np.ndarray, "3 P"],
    b: Float[np.ndarray, "3 P"],
    c: Float[np.ndarray, "3 P"],
    ways: Float[np.ndarray, "3 P"],
) -> tuple[tuple[Float[np.ndarray, " P"], ...], Float[np.ndarray, " P"]]:
    """Meet the planes of triangles, seen from the origin: shares of the corners, and how many times the way is gone."""
    ab, ac = b - a, c - a
    normal = _cross(ab, ac)
    far = _inner(normal.T, a.T) / _inner(normal.T, ways.T)
    inside = far * ways - a
    double_area = _inner(normal.T, normal.T)
    of_b = _inner(_cross(inside, ac).T, normal.T) / double_area
    of_c = _inner(_cross(ab, inside).T, normal.T) / double_area
    return (1 - of_b - of_c, of_b, of_c), far


def _cross(one: Float[np.ndarray, "3 P"], other: Float[np.ndarray, "3 P"]) -> Float[np.ndarray, "3 P"]:
    (ux, uy, uz), (vx, vy, vz) = one, other
    return np.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx])


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
