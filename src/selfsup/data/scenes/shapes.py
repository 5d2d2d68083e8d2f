"""Shapes as triangle meshes, each standing on z = 0 in its own upright pose, about one unit large."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Triple = tuple[float, float, float]
Curve = Sequence[tuple[float, float]]
"""(radius, height) along a profile, walked with the outside on the right."""


class Mesh(NamedTuple):
    """Triangles with a smooth normal, a texture place and a part (0 body, 1 accent) at each of V vertices."""

    positions: Float[np.ndarray, "V 3"]
    normals: Float[np.ndarray, "V 3"]
    places: Float[np.ndarray, "V 2"]
    parts: Int[np.ndarray, " V"]
    faces: Int[np.ndarray, "F 3"]


BODY, ACCENT = 0, 1
ROUND = 0.45
"""Radius of what rolls."""


@cache
def mesh(shape: str) -> Mesh:
    """Build the mesh of a shape of CLASSES; do not write into it."""
    return _BUILDERS[shape]()


@cache
def corners(shape: str) -> Float[np.ndarray, "8 3"]:
    """Give the corners of the box around a shape."""
    box = np.stack([mesh(shape).positions.min(0), mesh(shape).positions.max(0)])
    return np.array([[box[i, 0], box[j, 1], box[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])


def bottle() -> Mesh:
    """Body, shoulder and neck, with a cap."""
    body = [(0.24, 0.03), (0.25, 0.06), (0.25, 0.5), (0.24, 0.58)]
    neck = [(0.19, 0.67), (0.12, 0.75), (0.085, 0.82), (0.08, 0.98)]
    return joined(
        revolved([[(0.0, 0.0), (0.22, 0.0), (0.24, 0.03)], body + neck], BODY),
        revolved([[(0.08, 0.98), (0.11, 0.98)], [(0.11, 0.98), (0.11, 1.1)], [(0.11, 1.1), (0.0, 1.1)]], ACCENT),
    )


def chair() -> Mesh:
    """Seat, four legs and a slatted back."""
    legs = [block((x, y, 0.2), (0.07, 0.07, 0.4), ACCENT) for x in (-0.24, 0.24) for y in (-0.24, 0.24)]
    posts = [block((x, 0.25, 0.72), (0.07, 0.06, 0.56), ACCENT) for x in (-0.24, 0.24)]
    slats = [block((0.0, 0.25, z), (0.42, 0.04, 0.12), BODY) for z in (0.65, 0.83)]
    top = block((0.0, 0.25, 1.03), (0.58, 0.07, 0.1), BODY)
    return joined(*legs, *posts, *slats, top, block((0.0, 0.0, 0.43), (0.58, 0.58, 0.08), BODY))


def cone() -> Mesh:
    """A traffic cone on its square foot."""
    slope = np.linspace(0.0, 1, 5)
    side = [(0.36 * (1 - t) + 0.02 * t, 0.07 + 0.9 * t) for t in slope]
    return joined(
        revolved([side, [side[-1], (0.0, 0.97)]], BODY),
        block((0.0, 0.0, 0.035), (0.84, 0.84, 0.07), ACCENT),
    )


def house() -> Mesh:
    """Four walls, a gable roof, a chimney and a door."""
    ridge, eaves, side, length = 1.0, 0.55, 0.42, 0.5
    a, b, c, d = (np.array([x, y, eaves]) for y in (-length, length) for x in (-side, side))
    front, back = (np.array([0.0, y, ridge]) for y in (-length, length))
    return joined(
        block((0.0, 0.0, 0.275), (0.72, 0.86, 0.55), BODY),
        polygon([a, front, back, c], ACCENT),
        polygon([b, d, back, front], ACCENT),
        polygon([a, b, front], BODY),
        polygon([d, c, back], BODY),
        polygon([a, c, d, b], ACCENT),
        block((0.2, 0.12, 0.86), (0.14, 0.14, 0.4), ACCENT),
        block((0.0, -0.435, 0.17), (0.2, 0.02, 0.34), ACCENT),
    )


def lamp() -> Mesh:
    """Foot, pole and an open shade."""
    shade = [[(0.36, 0.78), (0.2, 1.22)], [(0.2, 1.22), (0.18, 1.22)]]
    lining = [[(0.18, 1.22), (0.34, 0.78)], [(0.34, 0.78), (0.36, 0.78)]]
    return joined(
        revolved([[(0.25, 0.0), (0.25, 0.05)], [(0.25, 0.05), (0.05, 0.09)], [(0.04, 0.09), (0.04, 1.1)]], ACCENT),
        revolved(shade + lining, BODY),
    )


def mug() -> Mesh:
    """A hollow cup with a handle."""
    outside = [[(0.0, 0.0), (0.36, 0.0)], [(0.36, 0.0), (0.38, 0.03), (0.38, 0.78)], [(0.38, 0.78), (0.33, 0.78)]]
    inside = [[(0.33, 0.78), (0.33, 0.08)], [(0.33, 0.08), (0.0, 0.08)]]
    turn = np.radians(np.linspace(-90, 90, 13))
    path = np.stack([0.36 + 0.27 * np.cos(turn), np.zeros(13), 0.4 + 0.25 * np.sin(turn)], axis=1)
    return joined(revolved(outside, BODY), revolved(inside, ACCENT), tube(path, 0.055, BODY))


def mushroom() -> Mesh:
    """A stem under a dome."""
    turn = np.radians(np.linspace(0.0, 90, 8))
    dome = [(0.48 * np.cos(t), 0.5 + 0.42 * np.sin(t)) for t in turn]
    return joined(
        revolved([[(0.2, 0.0), (0.15, 0.15), (0.13, 0.35), (0.15, 0.52)]], ACCENT),
        revolved([[(0.13, 0.53), (0.36, 0.48), (0.48, 0.5)], dome], BODY),
    )


def ring() -> Mesh:
    """A torus upright on a pedestal."""
    turn = np.radians(np.linspace(0.0, 360, 33))
    path = np.stack([0.38 * np.cos(turn), np.zeros(33), 0.62 + 0.38 * np.sin(turn)], axis=1)
    return joined(
        tube(path, 0.115, BODY),
        block((0.0, 0.0, 0.05), (0.5, 0.36, 0.1), ACCENT),
        block((0.0, 0.0, 0.14), (0.22, 0.2, 0.1), ACCENT),
    )


def table() -> Mesh:
    """A slab on four legs."""
    legs = [block((x, y, 0.29), (0.08, 0.08, 0.58), ACCENT) for x in (-0.48, 0.48) for y in (-0.3, 0.3)]
    return joined(
        *legs, block((0.0, 0.0, 0.61), (1.16, 0.8, 0.08), BODY), block((0.0, 0.0, 0.54), (0.92, 0.56, 0.08), ACCENT)
    )


def tree() -> Mesh:
    """A trunk under three tiers."""
    tiers = [(0.42, 0.26, 0.66), (0.34, 0.52, 0.92), (0.25, 0.78, 1.2)]
    crown = [
        revolved([[(0.0, low), (radius, low)], [(radius, low), (0.02, high)]], BODY) for radius, low, high in tiers
    ]
    return joined(*crown, revolved([[(0.1, 0.0), (0.08, 0.3)]], ACCENT))


def ball() -> Mesh:
    """A beach ball of six wedges, so that every turn shows."""
    turn = np.radians(np.linspace(-90, 90, 13))
    return _in_wedges([[(ROUND * np.cos(t), ROUND + ROUND * np.sin(t)) for t in turn]], 6)


def barrel() -> Mesh:
    """An upright drum with two hoops."""
    radius = 0.36
    sides = [[(radius, low), (radius, high)] for low, high in ((0.0, 0.16), (0.26, 0.6), (0.7, 0.86))]
    hoops = [[(radius, low), (radius, high)] for low, high in ((0.16, 0.26), (0.6, 0.7))]
    ends = [[(0.0, 0.0), (radius, 0.0)], [(radius, 0.86), (0.0, 0.86)]]
    return joined(revolved([*sides, ends[0]], BODY), revolved([*hoops, ends[1]], ACCENT))


def wheel() -> Mesh:
    """A drum on its side, its axis along y, in wedges that go on over the rim."""
    half = 0.27
    rim = [[(0.0, -half), (ROUND, -half)], [(ROUND, -half), (ROUND, half)], [(ROUND, half), (0.0, half)]]
    upright = _in_wedges(rim, 6)
    lying = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    return upright._replace(
        positions=upright.positions @ lying + np.array([0.0, 0.0, ROUND]), normals=upright.normals @ lying
    )


def _in_wedges(curves: Sequence[Curve], count: int) -> Mesh:
    """Turn profiles about the z axis, body and accent by turns."""
    bounds = np.linspace(0, 360, count + 1)
    return joined(*(revolved(curves, k % 2, 4, (bounds[k], bounds[k + 1])) for k in range(count)))


def revolved(
    curves: Sequence[Curve], part: int, segments: int = 28, degrees: tuple[float, float] = (0.0, 360.0)
) -> Mesh:
    """Turn profiles about the z axis; normals are smooth along each curve and break between curves."""
    angles = np.linspace(math.radians(degrees[0]), math.radians(degrees[1]), segments + 1)
    sheets = []
    for curve in curves:
        points = np.array(curve, dtype=np.float64)
        steps = np.diff(points, axis=0)
        lengths = np.linalg.norm(steps, axis=1)
        steps /= lengths[:, None]
        tangents = np.concatenate([steps[:1], steps]) + np.concatenate([steps, steps[-1:]])
        tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
        along = points[0, 1] + np.concatenate([[0.0], np.cumsum(lengths)])
        places = np.stack(np.meshgrid(angles / np.pi, along), axis=2)
        outward_and_up = np.stack([tangents[:, 1], -tangents[:, 0]], axis=1)
        sheets.append(_sheet(_spun(points, angles), _spun(outward_and_up, angles), places, part))
    return joined(*sheets)


def _spun(profile: Float[np.ndarray, "R 2"], angles: Float[np.ndarray, " A"]) -> Float[np.ndarray, "R A 3"]:
    x, y = np.outer(profile[:, 0], np.cos(angles)), np.outer(profile[:, 0], np.sin(angles))
    return np.stack([x, y, np.broadcast_to(profile[:, 1:], x.shape)], axis=2)


def tube(path: Float[np.ndarray, "P 3"], radius: float, part: int, segments: int = 12) -> Mesh:
    """Sweep a circle along a path in the plane y = 0."""
    tangents = np.gradient(path, axis=0)
    if np.allclose(path[0], path[-1]):  # a closed path turns the same way where its ends meet
        tangents[0] = tangents[-1] = path[1] - path[-2]
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    across = np.stack([tangents[:, 2], np.zeros(len(path)), -tangents[:, 0]], axis=1)
    angles = np.linspace(0, 2 * np.pi, segments + 1)
    normals = across[:, None] * np.cos(angles)[:, None] + np.array([0.0, 1.0, 0.0]) * np.sin(angles)[:, None]
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    places = np.stack(np.meshgrid(angles * radius * 2, along), axis=2)
    return _sheet(path[:, None] + radius * normals, normals, places, part)


def block(center: Triple, size: Triple, part: int) -> Mesh:
    """Build a box with flat sides, all six of them."""
    sides = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            u, v = (axis + 1) % 3, (axis + 2) % 3
            square = np.zeros((4, 3))
            square[:, axis] = sign
            square[:, u], square[:, v] = (-1, 1, 1, -1), (-1, -1, 1, 1)
            outside = square if sign > 0 else square[::-1]  # counter-clockwise from outside
            sides.append(polygon(outside * np.array(size) / 2 + np.array(center), part))
    return joined(*sides)


def polygon(outline: Sequence[np.ndarray] | np.ndarray, part: int) -> Mesh:
    """Build one flat convex polygon, its corners counter-clockwise when seen from outside."""
    points = np.array(outline, dtype=np.float64)
    edge, other = points[1] - points[0], points[2] - points[0]
    normal = np.cross(edge, other)
    normal /= np.linalg.norm(normal)
    along = edge / np.linalg.norm(edge)
    places = np.stack([(points - points[0]) @ along, (points - points[0]) @ np.cross(normal, along)], axis=1)
    fan = np.array([(0, k, k + 1) for k in range(1, len(points) - 1)])
    return Mesh(points, np.tile(normal, (len(points), 1)), places, np.full(len(points), part), fan)


def joined(*meshes: Mesh) -> Mesh:
    """Put meshes into one."""
    offsets = np.cumsum([0] + [len(each.positions) for each in meshes[:-1]])
    faces = [each.faces + offset for each, offset in zip(meshes, offsets, strict=True)]
    columns = [np.concatenate([each[column] for each in meshes]) for column in range(4)]
    return Mesh(columns[0], columns[1], columns[2], columns[3], np.concatenate(faces))


def rectangle(corner: Triple, across: Triple, up: Triple, cells: int = 14) -> Mesh:
    """Build a flat rectangle of cells x cells squares; places are measured in world units from the corner."""
    unit = _unit_square(cells)
    (ux, uy, uz), (vx, vy, vz) = across, up
    normal = np.array((uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx))
    return unit._replace(
        positions=np.array(corner) + unit.places @ np.array((across, up)),
        normals=np.broadcast_to(normal / math.hypot(*normal), unit.normals.shape),
        places=unit.places * (math.hypot(*across), math.hypot(*up)),
    )


@cache
def _unit_square(cells: int) -> Mesh:
    x, y = np.meshgrid(np.linspace(0, 1, cells + 1), np.linspace(0, 1, cells + 1))
    points = np.stack([x, y, np.zeros_like(x)], axis=2)
    return _sheet(points, np.broadcast_to([0.0, 0.0, 1.0], points.shape), points[:, :, :2], BODY)


def _sheet(points: np.ndarray, normals: np.ndarray, places: np.ndarray, part: int) -> Mesh:
    """Join neighbouring points of a grid [R, C, 3]; triangles face those who see rows go up, columns to the right."""
    rows, columns = points.shape[:2]
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.stack([first, first + 1, first + columns + 1], axis=1)
    upper = np.stack([first, first + columns + 1, first + columns], axis=1)
    faces = np.concatenate([lower, upper])
    flat, normal = points.reshape(-1, 3), normals.reshape(-1, 3)
    a, b, c = (flat[faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    whole = np.linalg.norm(across, axis=1) > 1e-12  # where a profile meets the axis, one of two triangles is a line
    faces = faces[whole]
    return Mesh(flat, normal.copy(), places.reshape(-1, 2), np.full(len(flat), part), faces)


_BUILDERS: dict[str, Callable[[], Mesh]] = {
    "bottle": bottle, "chair": chair, "cone": cone, "house": house, "lamp": lamp,
    "mug": mug, "mushroom": mushroom, "ring": ring, "table": table, "tree": tree,
}  # fmt: skip
CLASSES: tuple[str, ...] = tuple(_BUILDERS)
"""Shapes of stills, which are their classes."""
_BUILDERS |= {"ball": ball, "barrel": barrel, "wheel": wheel}
SHAPES: tuple[str, ...] = tuple(_BUILDERS)
"""All shapes: those of stills, and three that are there for moving only."""
