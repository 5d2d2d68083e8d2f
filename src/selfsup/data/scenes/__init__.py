"""Scenes, the embedded synthetic data: rooms with upright objects, drawn from (seed, index) alone.

    pixels, labels = rendered(3000, 64, seed=0, cache=Path("cache"))    # from disk the second time
    scene = describe(seed=0, index=7)                                   # what is in picture 7, exactly

Neither torch nor panda3d is imported before pictures are asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfsup.data.scenes.description import Camera, Light, Room, Scene, Surface, Thing, describe
    from selfsup.data.scenes.renderer import render
    from selfsup.data.scenes.shapes import CLASSES
    from selfsup.data.scenes.store import rendered

__all__ = ["CLASSES", "Camera", "Light", "Room", "Scene", "Surface", "Thing", "describe", "render", "rendered"]

_HOME = {"CLASSES": "shapes", "render": "renderer", "rendered": "store"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'description')}"), name)
