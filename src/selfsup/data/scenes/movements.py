"""The classes of motion: for each, what moves and how, drawn by chance, at the origin of a scene yet to be made."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from selfsup.data.scenes.description import some_color, some_thing
from selfsup.data.scenes.paths import Bouncing, Flight, Gliding, Meeting, Spinning, Way, after_impact
from selfsup.data.scenes.scene import Pair, Thing
from selfsup.data.scenes.shapes import CLASSES, SHAPES, mesh

UNEVEN = ("chair", "house", "mug", "ring", "table", "ball", "wheel")
"""Shapes that look otherwise when they turn about the vertical."""


def _sliding(draws: np.random.Generator) -> tuple[list[Thing], tuple[Way, ...]]:
    return _gliding(draws, (*CLASSES, "barrel"), rolls=False)


def _rolling(draws: np.random.Generator) -> tuple[list[Thing], tuple[Way, ...]]:
    return _gliding(draws, ("ball", "wheel"), rolls=True)


def _gliding(draws: np.random.Generator, shapes: Sequence[str], rolls: bool) -> tuple[list[Thing], tuple[Way, ...]]:
    thing, toward, speed = some_mover(draws, shapes), float(draws.uniform(0, 360)), draws.uniform(1.5, 3.0)
    rest = draws.uniform(2.0, 4.0) if rolls else draws.uniform(1.4, 2.4)
    if rolls:
        thing = replace(thing, yaw_degrees=toward)
    return [thing], (Gliding((0.0, 0.0), toward, float(speed), float(speed / rest), rolls),)


def _bouncing(draws: np.random.Generator) -> tuple[list[Thing], tuple[Way, ...]]:
    thing = some_mover(draws, ("ball",) if draws.uniform() < 0.6 else (*CLASSES, "barrel"))
    rolls = thing.shape == "ball"
    path = Bouncing(
        start=(0.0, 0.0),
        toward_degrees=float(draws.uniform(0, 360)),
        speed=float(draws.uniform(0.3, 1.3) if rolls else draws.uniform(0, 0.3)),
        slowing=0.7,
        height=float(draws.uniform(0.5, 1.4)),
        rise=float(draws.uniform(0, 2)),
        keeps=float(draws.uniform(0.72, 0.88)),
        rolls=rolls,
    )
    return [thing], (path,)


def _spinning(draws: np.random.Generator) -> tuple[list[Thing], tuple[Way, ...]]:
    speed = float(draws.uniform(140, 330) * draws.choice((-1, 1)))
    return [some_mover(draws, UNEVEN)], (Spinning(speed, abs(speed) / float(draws.uniform(2.0, 5.0))),)


def _colliding(draws: np.random.Generator) -> tuple[list[Thing], tuple[Way, ...]]:
    """Let two meet: balls head on, or bottles and barrels in any way."""
    balls = draws.uniform() < 0.5
    shapes = ("ball",) if balls else ("bottle", "barrel")
    one, other = (_round(some_mover(draws, shapes)) for _ in range(2))
    toward = float(draws.uniform(0, 360))
    aside = 0.0 if balls else float(draws.uniform(-40, 40))
    normal = np.array([math.cos(math.radians(toward + aside)), math.sin(math.radians(toward + aside))])
    going = np.array([math.cos(math.radians(toward)), math.sin(math.radians(toward))])
    fast, against = draws.uniform(1.3, 2.4), draws.uniform(0.4, 1.2) if draws.uniform() < 0.3 else 0.0
    before = fast * going, -against * going
    after = after_impact(*before, (_mass(one), _mass(other)), normal, float(draws.uniform(0.8, 0.95)))
    apart = touching(one, other)
    meets, slowing = float(draws.uniform(0.5, 1.0)), float(draws.uniform(0.4, 0.9))
    places = -normal * apart / 2, normal * apart / 2
    paths = tuple(
        Meeting(_pair(place), meets, _pair(first), _pair(then), slowing, toward if balls else None)
        for place, first, then in zip(places, before, after, strict=True)
    )
    return [one, other], paths


def _camera(draws: np.random.Generator) -> tuple[list[Thing], tuple[Way, ...]]:
    return [some_mover(draws, SHAPES)], ()


MOVEMENTS: dict[str, Callable[[np.random.Generator], tuple[list[Thing], tuple[Way, ...]]]] = {
    "sliding": _sliding, "bouncing": _bouncing, "rolling": _rolling,
    "spinning": _spinning, "colliding": _colliding, "camera": _camera,
}  # fmt: skip
MOTIONS: tuple[str, ...] = tuple(MOVEMENTS)


def touching(one: Thing, other: Thing) -> float:
    """Give how far apart the places of two are that touch: two balls, or two that stand and have upright sides."""
    if one.shape == other.shape == "ball":  # the line between their middles rises from the smaller to the larger
        return 2 * math.sqrt(one.half_height * other.half_height)
    return _girth(one) + _girth(other)


def some_flight(draws: np.random.Generator, main: Thing) -> Flight:
    """Let the camera go round the thing, towards it or away, or turn its eye; each by much or little."""
    x, y, z = main.corners().mean(0)
    way = draws.uniform(-0.5, 0.5, 2)
    return Flight(
        around=(float(x), float(y), float(z)),
        orbit_degrees=float(draws.choice((-1, 1)) * draws.uniform(20, 65)),
        farther=float(draws.uniform(0.75, 1.35)),
        looks_away=(float(way[0]), float(way[1]), 0.0),
        seconds=float(draws.uniform(2.0, 3.5)),
    )


def some_mover(draws: np.random.Generator, shapes: Sequence[str]) -> Thing:
    """Draw a thing whose turns show, if it is round."""
    thing = some_thing(draws, draws.uniform(0.75, 1.1), shapes)
    if thing.shape not in ("ball", "barrel", "wheel"):
        return thing
    accent = thing.accent
    while math.dist(accent, thing.body.color) < 0.5:  # or no turn of it would show
        accent = some_color(draws, (0.0, 0.9), (0.3, 1.0))
    return _round(replace(thing, accent=accent))


def _round(thing: Thing) -> Thing:
    """Make circles of what would be ellipses."""
    width, depth, height = thing.scale
    scale = {"ball": (width, width, width), "wheel": (width, depth, width)}.get(thing.shape, (width, width, height))
    return replace(thing, scale=scale)


def _girth(thing: Thing) -> float:
    return float(mesh(thing.shape).positions[:, 0].max() * thing.scale[0])


def _mass(thing: Thing) -> float:
    return _girth(thing) ** 2 * thing.half_height


def _pair(values: Float[np.ndarray, " 2"]) -> Pair:
    return float(values[0]), float(values[1])
