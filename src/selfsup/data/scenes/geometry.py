"""From a description to triangles in the world: what the renderer draws, and what truth is later computed from."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from selfsup.data.scenes.scene import Light, Room, Scene, Surface, Thing
from selfsup.data.scenes.shapes import ACCENT, Mesh, Triple, mesh, rectangle


class Layer(NamedTuple):
    """Lit triangles in world coordinates that share one pattern.

    Layers come in the order to paint them. Flat ones (ground, shadows, walls) are painted over each other; solid ones
    hide each other by depth. `thing` is the place in `scene.things`, or -1 for the room, -2 for a shadow (which has no
    surface of its own: it repaints the floor, opaque, so that overlapping parts do not darken it twice).
    """

    positions: Float[np.ndarray, "V 3"]
    normals: Float[np.ndarray, "V 3"]
    colors: Float[np.ndarray, "V 3"]
    places: Float[np.ndarray, "V 2"]
    faces: Int[np.ndarray, "F 3"]
    pattern: int
    thing: int

    @property
    def solid(self) -> bool:
        """Whether it hides by depth."""
        return self.thing >= 0


ROOM, SHADOW = -1, -2


def layers(scene: Scene) -> list[Layer]:
    """Build everything the camera may see; do not write into it."""
    surfaces = solid_ground(scene)
    if not scene.light.shadow:
        return surfaces
    floor = scene.room.floor if scene.room else Surface(scene.ground, 0, 1.0)
    shadows = [_shadow(thing, floor, scene) for thing in scene.things]
    first = 1 if scene.room else 0  # they fall on the floor, and walls hide them
    return [*surfaces[:first], *shadows, *surfaces[first:]]


def solid_ground(scene: Scene) -> list[Layer]:
    """Give the layers that are surfaces, in the order to paint them: all but shadows; do not write into them."""
    return list(_surfaces(scene))


@lru_cache(maxsize=2)  # a picture and its truth are asked for one after the other
def _surfaces(scene: Scene) -> tuple[Layer, ...]:
    around = _room(scene.room, scene.light) if scene.room else ()
    return (*around, *(_solid(thing, number, scene) for number, thing in enumerate(scene.things)))


@lru_cache(maxsize=2)  # all frames of a clip have the same room
def _room(room: Room, light: Light) -> tuple[Layer, ...]:
    return (_floor(room, light), *_walls(room, light))


def ground_color(scene: Scene) -> Float[np.ndarray, " 3"]:
    """Give the lit colour of a plain ground."""
    lit: np.ndarray = np.minimum(np.array(scene.ground) * _flat_light(scene.light), 1.0)
    return lit


def _solid(thing: Thing, number: int, scene: Scene) -> Layer:
    shape = mesh(thing.shape)
    positions, normals = thing.placed(shape.positions), thing.turned(shape.normals)
    color = np.where((shape.parts == ACCENT)[:, None], np.array(thing.accent), np.array(thing.body.color))
    light = scene.light
    to_eye = np.array(scene.camera.eye) - positions
    to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
    between = to_eye + np.array(light.toward)
    between /= np.linalg.norm(between, axis=1, keepdims=True)
    facing = np.maximum(normals @ np.array(light.toward), 0)[:, None]
    sky = 0.8 + 0.2 * normals[:, 2:]  # from below comes less
    near_floor = 0.82 + 0.18 * np.minimum(positions[:, 2:] / 0.3, 1)
    lamp_at_eye = 0.12 * np.maximum((normals * to_eye).sum(1, keepdims=True), 0)
    lit = color * (np.array(light.ambient) * sky * near_floor + np.array(light.sun) * facing + lamp_at_eye)
    shine = thing.gloss * np.maximum((normals * between).sum(1, keepdims=True), 0) ** 24 * (facing > 0)
    places = _turned(shape.places, thing.body)
    return Layer(positions, normals, np.minimum(lit + shine, 1), places, shape.faces, thing.body.pattern, number)


def _floor(room: Room, light: Light) -> Layer:
    (left, front), (right, back) = room.low, room.high
    sheet = rectangle((left, front, 0.0), (right - left, 0.0, 0.0), (0.0, back - front, 0.0))
    return _painted(sheet, sheet.positions[:, :2], room.floor, _floor_light(sheet.positions, room, light), ROOM)


def _shadow(thing: Thing, floor: Surface, scene: Scene) -> Layer:
    """Flatten a thing along the sun's rays and repaint the floor there, darker."""
    shape = mesh(thing.shape)
    x, y, z = scene.light.toward
    positions = thing.placed(shape.positions)
    positions = positions - positions[:, 2:] * np.array([x / z, y / z, 1.0])
    lit = _floor_light(positions, scene.room, scene.light) if scene.room else _flat_light(scene.light)
    flat = shape._replace(positions=positions)
    return _painted(flat, positions[:, :2], floor, lit * (1 - scene.light.shadow), SHADOW)


def _walls(room: Room, light: Light) -> list[Layer]:
    """Build the four walls, seen from inside, each with a skirting board."""
    (left, front), (right, back) = room.low, room.high
    wide, deep = right - left, back - front
    found = []
    for corner, across, surface in (
        ((left, back, 0.0), (wide, 0.0, 0.0), room.walls[0]),
        ((right, front, 0.0), (-wide, 0.0, 0.0), room.walls[0]),
        ((left, front, 0.0), (0.0, deep, 0.0), room.walls[1]),
        ((right, back, 0.0), (0.0, -deep, 0.0), room.walls[1]),
    ):
        sheet = rectangle(corner, across, (0.0, 0.0, room.height))
        normal = sheet.normals[0]
        rising = 0.85 + 0.15 * np.minimum(sheet.positions[:, 2:] / 1.5, 1)
        toward_sun = 0.45 + 0.22 * float(normal @ np.array(light.toward))
        lit = rising * (np.array(light.ambient) * 1.1 + np.array(light.sun) * toward_sun)
        found.append(_painted(sheet, sheet.places, surface, lit, ROOM))
        board = rectangle(corner, across, (0.0, 0.0, 0.16), cells=1)
        found.append(_painted(board, board.places, Surface(room.skirting, 0, 1.0), lit.mean(0), ROOM))
    return found


def _painted(sheet: Mesh, places: np.ndarray, surface: Surface, lit: np.ndarray, thing: int) -> Layer:
    colors = np.minimum(np.broadcast_to(np.array(surface.color) * lit, sheet.positions.shape), 1)
    return Layer(sheet.positions, sheet.normals, colors, _turned(places, surface), sheet.faces, surface.pattern, thing)


def _turned(places: Float[np.ndarray, "V 2"], surface: Surface) -> Float[np.ndarray, "V 2"]:
    """Turn and scale texture places as the surface says."""
    turn = np.radians(surface.turn_degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned: np.ndarray = places @ rotation.T * surface.repeats
    return turned


def _flat_light(light: Light) -> Float[np.ndarray, " 3"]:
    """Give the light that reaches a level place in the open."""
    return np.array(light.ambient) * 1.15 + np.array(light.sun) * max(0.75, light.toward[2])


def _floor_light(positions: np.ndarray, room: Room, light: Light) -> np.ndarray:
    """Give the light on the floor: brightest in the middle of the room, dimmer towards the walls."""
    middle, half = (np.array(room.low) + room.high) / 2, (np.array(room.high) - room.low) / 2
    away = ((positions[:, :2] - middle) / half) ** 2
    dimming: Triple | np.ndarray = 1 - 0.14 * np.minimum(away.sum(1, keepdims=True), 1.5)
    return _flat_light(light) * dimming
