"""Rotation prediction (RotNet): say by which quarter turn an image was turned."""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.method import Batch, Method, Objective
from selfsup.networks.encoders import Encoder
from selfsup.recipe import Recipe
from selfsup.views import crops, sheets
from selfsup.views.precision import in_full


class Rotation(Method):
    """Classify the turn of each image among 0, 90, 180 and 270 degrees.

    Args:
        encoder: network to train.
        flip: mirror half of the images, before they are turned.

    Source: Gidaris, Singh and Komodakis, 2018, https://arxiv.org/abs/1803.07728
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="sgd",
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="cosine",
        batch_size=128,
        epochs=100.0,
    )
    headline: ClassVar[str] = "accuracy"
    headline_chance: ClassVar[float | None] = 0.25

    def __init__(self, encoder: Encoder, *, flip: bool = True) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.vector_width, 4)
        self.flip = flip

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the cross-entropy of the four turns of every image."""
        images, turns = all_turns(crops.random_crop(batch.images, self.encoder.image_size, flip=self.flip))
        logits = self.head(self.encoder.vector(images))
        logits = in_full(logits)
        accuracy = (logits.argmax(1) == turns).float().mean()
        yield Objective(F.cross_entropy(logits, turns), metrics={"accuracy": accuracy}, chance=math.log(4))

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw images as they were turned, and turned back by the predicted turn: upright rows are right answers."""
        upright = crops.center(batch.images, self.encoder.image_size)[:8]
        shown = (
            torch.arange(len(upright), device=upright.device) * 4
            + torch.arange(len(upright), device=upright.device) % 4
        )
        turned = all_turns(upright)[0]
        predicted = self.head(self.encoder.vector(turned)).argmax(1)[shown]
        undone = torch.stack([image.rot90(-int(k), (1, 2)) for image, k in zip(turned[shown], predicted, strict=True)])
        return {"turned, and turned back as predicted": sheets.rows([turned[shown], undone])}


def all_turns(images: Float[Tensor, "B C S S"]) -> tuple[Float[Tensor, "4*B C S S"], Int[Tensor, "4*B"]]:
    """Turn every image all four ways counter-clockwise; also say by how many quarter turns.

    The copies of an image stand together: a process, or a batch norm group, never sees one turn only.
    """
    turned = torch.stack([images.rot90(k, dims=(2, 3)) for k in range(4)], dim=1).flatten(0, 1)
    return turned, torch.arange(4, device=images.device).repeat(len(images))
