"""What a scene holds, drawn from (seed, index) alone: things, colours, camera, light, room. No pixels here."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from selfsup.data.scenes import textures
from selfsup.data.scenes.scene import (
    WHOLE_IMAGE,
    Camera,
    Light,
    Pair,
    Room,
    Scene,
    Surface,
    Thing,
    area,
    common,
)
from selfsup.data.scenes.shapes import CLASSES, Triple, mesh

__all__ = ["Camera", "Light", "Room", "Scene", "Surface", "Thing", "describe"]


def describe(seed: int, index: int, room: bool = True) -> Scene:
    """Draw scene number `index` of a seed; the main thing, its look and its light are alike with and without room."""
    draws = np.random.default_rng([seed, index])
    main = some_thing(draws, draws.uniform(0.9, 1.15))
    camera = camera_around(draws, main)
    light = some_light(draws)
    things = [main]
    for _ in range(int(draws.choice(4, p=(0.12, 0.28, 0.34, 0.26)))):
        if (other := _other(draws, camera, things)) is not None:
            things.append(other)
    ground = some_color(draws, (0.05, 0.5), (0.7, 0.97))
    return Scene(
        seed, index, tuple(things), camera, light, room_around(draws, [camera.eye], things) if room else None, ground
    )


def some_thing(draws: np.random.Generator, size: float, shapes: Sequence[str] = CLASSES) -> Thing:
    """Draw a thing of any of some shapes, at the origin."""
    width, depth, height = size * draws.uniform(0.8, 1.25, 3)
    return Thing(
        shape=shapes[int(draws.integers(len(shapes)))],
        place=(0.0, 0.0),
        yaw_degrees=float(draws.uniform(0, 360)),
        scale=(float(width), float(depth), float(height)),
        body=_surface(draws, (0.3, 0.9), (0.6, 1.0), (0.5, 1.5)),
        accent=some_color(draws, (0.1, 0.9), (0.45, 1.0)),
        gloss=float(draws.uniform(0, 0.5)),
    )


def camera_around(draws: np.random.Generator, main: Thing, shares: Pair = (0.34, 0.6)) -> Camera:
    """Look at a thing from around and above, so that its larger side fills a share of the image."""
    azimuth, elevation = np.radians(draws.uniform(0, 360)), np.radians(draws.uniform(6, 46))
    field, share, shift = draws.uniform(32, 56), draws.uniform(*shares), draws.uniform(-0.16, 0.16, 2)
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
    thing = some_thing(draws, draws.uniform(0.5, 1.0))
    for _ in range(24):
        x, y = draws.uniform(-1.4, 3.5) * level + draws.uniform(-2.2, 2.2) * right[:2]
        other = replace(thing, place=(float(x), float(y)))
        if any(math.dist(other.place, each.place) < other.radius + each.radius for each in things):
            continue
        depth = camera.seen(other.corners())[:, 2]
        if depth.min() < 3 * camera.near:
            continue
        box = camera.box(other.placed(mesh(other.shape).positions))
        if area(box) > 0.8 * area(main_box) or area(common(box, WHOLE_IMAGE)) < 0.6 * area(box):
            continue
        if _covered(camera, other) > 0.5 * main_covered:
            continue
        hidden_share = 0.06 * area(main_box) if depth.mean() < main_depth else 0.5 * area(box)
        if area(common(box, main_box)) <= hidden_share:
            return other
    return None


def _covered(camera: Camera, thing: Thing) -> float:
    """Measure roughly what share of the image it covers: triangles that face the camera, hidden or not."""
    x, y, _ = camera.seen(thing.placed(mesh(thing.shape).positions)).T
    a, b, c = mesh(thing.shape).faces.T
    doubled = (x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a])
    return float(np.maximum(-doubled, 0).sum() / 2)  # y points down: what faces us turns the other way


def some_light(draws: np.random.Generator) -> Light:
    """Draw a sun of any warmth, not too low, and the light of the sky."""
    azimuth, elevation = np.radians(draws.uniform(0, 360)), np.radians(draws.uniform(35, 70))
    warmth = draws.uniform(-0.06, 0.08)
    sun, ambient = draws.uniform(0.45, 0.7), draws.uniform(0.5, 0.62)
    return Light(
        toward=_triple([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]),
        sun=(sun * (1 + warmth), sun, sun * (1 - warmth)),
        ambient=(ambient * (1 - warmth / 2), ambient, ambient * (1 + warmth / 2)),
        shadow=0.45,
    )


def room_around(draws: np.random.Generator, eyes: Sequence[Triple], things: Sequence[Thing]) -> Room:
    """Wrap floor and walls around all things and all places of the camera, with some space left."""
    level = np.array(eyes)[:, :2]
    reach = np.array([each.radius for each in things])[:, None]
    places = np.array([each.place for each in things])
    low = np.minimum((places - reach).min(0), level.min(0) - 0.5) - draws.uniform(0.3, 2.5, 2)
    high = np.maximum((places + reach).max(0), level.max(0) + 0.5) + draws.uniform(0.3, 2.5, 2)
    paint = _surface(draws)
    return Room(
        low=(float(low[0]), float(low[1])),
        high=(float(high[0]), float(high[1])),
        height=float(draws.uniform(6, 8)),
        floor=_surface(draws),
        walls=(paint, paint if draws.uniform() < 0.7 else _surface(draws)),
        skirting=some_color(draws, (0.0, 0.4), (0.35, 1.0)),
    )


def _surface(
    draws: np.random.Generator, saturation: Pair = (0.05, 0.55), value: Pair = (0.65, 1.0), repeats: Pair = (0.25, 0.8)
) -> Surface:
    straight = draws.uniform() < 0.6
    return Surface(
        color=some_color(draws, saturation, value),
        pattern=int(draws.integers(textures.count())),
        repeats=float(draws.uniform(*repeats)),
        turn_degrees=90.0 * float(draws.integers(2)) if straight else float(draws.uniform(0, 90)),
    )


def some_color(draws: np.random.Generator, saturation: Pair, value: Pair) -> Triple:
    """Draw a colour with any hue."""
    hue, s, v = draws.uniform((0, saturation[0], value[0]), (6, saturation[1], value[1]))
    wheel = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return _triple(v * (1 - s * (1 - wheel)))


def _triple(values: np.ndarray | Sequence[float]) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z
