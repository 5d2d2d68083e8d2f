"""Scenes, the embedded synthetic data: rooms with upright objects, still or in motion, drawn from (seed, index) alone.

    pixels, labels = rendered(3000, 64, seed=0, cache=Path("cache"))    # from disk the second time
    scene = describe(seed=0, index=7)                                   # what is in picture 7, exactly
    pixels, labels = moving(300, 64, seed=0, cache=Path("cache"))       # clips of 24 frames, classes of MOTIONS
    scene = describe_moving(seed=0, index=7).at(0.5)                    # what is in clip 7 after half a second

Neither torch nor panda3d is imported before pictures are asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfsup.data.scenes.description import describe
    from selfsup.data.scenes.motion import FRAMES, MOTIONS, RATE, MovingScene, describe_moving
    from selfsup.data.scenes.renderer import render
    from selfsup.data.scenes.scene import Camera, Light, Room, Scene, Surface, Thing
    from selfsup.data.scenes.shapes import CLASSES, SHAPES
    from selfsup.data.scenes.store import moving, rendered

__all__ = [
    "CLASSES",
    "FRAMES",
    "MOTIONS",
    "RATE",
    "SHAPES",
    "Camera",
    "Light",
    "MovingScene",
    "Room",
    "Scene",
    "Surface",
    "Thing",
    "describe",
    "describe_moving",
    "moving",
    "render",
    "rendered",
]

_HOME = {
    "CLASSES": "shapes", "SHAPES": "shapes", "render": "renderer", "rendered": "store", "moving": "store",
    "describe": "description", "describe_moving": "motion", "MovingScene": "motion", "MOTIONS": "motion",
    "FRAMES": "motion", "RATE": "motion",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'scene')}"), name)
