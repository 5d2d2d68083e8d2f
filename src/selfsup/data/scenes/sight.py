"""What can be seen of things in a clip, roughly: by the boxes around them, before anything is drawn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from selfsup.data.scenes.scene import WHOLE_IMAGE, Camera, Thing


class Sight(NamedTuple):
    """Boxes of a thing in the pictures of T moments, or in one that stands for all."""

    boxes: Float[np.ndarray, "T 4"]
    """Left, top, right, bottom in shares of the picture."""
    depth: Float[np.ndarray, " T"]
    """Of its middle."""
    nearest: Float[np.ndarray, " T"]
    """Depth of its nearest corner."""

    @property
    def area(self) -> Float[np.ndarray, " T"]:
        """Shares of the picture."""
        area: np.ndarray = _area(self.boxes)
        return area

    @property
    def middle(self) -> Float[np.ndarray, "T 2"]:
        """Middle of the boxes."""
        middle: np.ndarray = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        return middle

    @property
    def inside(self) -> Float[np.ndarray, " T"]:
        """Share of each box that is inside the picture."""
        inside: np.ndarray = _area(_common(self.boxes, np.array([WHOLE_IMAGE]))) / self.area
        return inside

    def behind(self, other: "Sight", share: float) -> Bool[np.ndarray, " T"]:
        """Say when more than such a share of the box is behind the box of another."""
        covered = _area(_common(self.boxes, other.boxes)) / self.area
        behind: np.ndarray = (self.depth > other.depth) & (covered > share)
        return behind


def sight(cameras: Sequence[Camera], things: Sequence[Thing]) -> Sight:
    """Look at a thing at several moments."""
    seen = np.stack([camera.seen(thing.corners()) for camera, thing in zip(cameras, things, strict=True)])
    boxes = np.concatenate([seen[:, :, :2].min(1), seen[:, :, :2].max(1)], axis=1)
    return Sight(boxes, seen[:, :, 2].mean(1), seen[:, :, 2].min(1))


def _common(one: Float[np.ndarray, "T 4"], other: Float[np.ndarray, "U 4"]) -> Float[np.ndarray, "V 4"]:
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    return np.concatenate([low, high], axis=1)


def _area(boxes: Float[np.ndarray, "T 4"]) -> Float[np.ndarray, " T"]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    area: np.ndarray = sides[:, 0] * sides[:, 1]
    return area
