"""Encoders without parameters: their maps are a function of the image alone, and there is nothing to train."""

from abc import ABC, abstractmethod

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

PIXELS_SIDE = 16
"""Largest side of raw pixels: a linear model on more does no better on small sets, and costs more."""


class Fixed(nn.Module, ABC):
    """A network that nothing is learned in.

    Args:
        stage_names: of its maps, first to last.
    """

    def __init__(self, *stage_names: str) -> None:
        super().__init__()
        self.stage_names = stage_names

    @abstractmethod
    def maps(self, images: Float[Tensor, "B c S S"]) -> dict[str, Tensor]:
        """Give the map [B, C, h, w] of every stage, first to last."""

    def forward(self, images: Float[Tensor, "B c S S"]) -> Float[Tensor, "B C s s"]:
        """Give the last map."""
        return self.maps(images)[self.stage_names[-1]]

    def pooled(self, last_map: Float[Tensor, "B C s s"]) -> Float[Tensor, "B D"]:
        """Give the vector: the mean over all places."""
        return last_map.mean((2, 3))


class Pixels(Fixed):
    """The image itself, averaged down to 16 x 16 places where it has more: what every encoder has to beat."""

    def __init__(self) -> None:
        super().__init__("pixels")

    def maps(self, images: Float[Tensor, "B c S S"]) -> dict[str, Tensor]:
        """Give the one map [B, c, s, s]."""
        return {"pixels": F.adaptive_avg_pool2d(images, min(PIXELS_SIDE, images.shape[-1]))}

    def pooled(self, last_map: Float[Tensor, "B C s s"]) -> Float[Tensor, "B D"]:
        """Give the vector: every place, because a mean colour is no image."""
        return last_map.flatten(1)
