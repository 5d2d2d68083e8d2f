"""How much of what moves can be seen: counted in pixels, against those it would cover with nothing in the way."""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from selfsup.data.scenes.renderer import numbered
from selfsup.data.scenes.scene import WHOLE_IMAGE, Box, Scene, common
from selfsup.data.scenes.truth import instances_of


def visible(
    scene: Scene, size: int, count: int, instances: UInt8[np.ndarray, "S S"] | None = None
) -> tuple[float, ...]:
    """Give the share that is seen of each of the first things, 0 to 1: 0 is hidden, or out of the picture.

    The whole is what it would cover if nothing stood in front of it and the picture went on beyond its edges.

    Args:
        scene: at one moment.
        size: side of the picture in pixels.
        count: things asked for.
        instances: those of the scene's truth, if they are there already.
    """
    boxes = [scene.camera.box(thing.corners()) for thing in scene.things]
    shares = []
    for number, box in enumerate(boxes):
        if number == count:
            break
        near = any(_meet(box, other) for k, other in enumerate(boxes) if k != number)
        if not _meet(box, WHOLE_IMAGE):
            shares.append(0.0)
        elif not near and common(box, WHOLE_IMAGE) == box:
            shares.append(1.0)
        else:
            if instances is None:
                instances = instances_of(scene, numbered(scene, size))
            seen, whole = int((instances == number + 1).sum()), _covered(scene, number, size, box)
            shares.append(seen / whole if whole else 0.0)
    return tuple(shares)


def _covered(scene: Scene, number: int, size: int, box: Box) -> int:
    """Count the pixels of a thing alone, in this picture and in those that would join it."""
    alone = replace(scene, things=(scene.things[number],), room=None)
    left, top, right, bottom = (math.floor(edge) for edge in box)
    tiles = [(across, down) for across in range(left, right + 1) for down in range(top, bottom + 1)]
    return sum(int((numbered(alone, size, tile) >= 0).sum()) for tile in tiles)


def _meet(one: Box, other: Box) -> bool:
    left, top, right, bottom = common(one, other)
    return left < right and top < bottom
