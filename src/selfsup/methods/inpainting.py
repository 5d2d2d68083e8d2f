"""Inpainting (context encoder): fill in a part that was cut out of an image."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks import adversarial as game
from selfsup.networks.behind import context_of, map_in_context
from selfsup.networks.bottlenecks import Bottleneck
from selfsup.networks.decoders import Decoder
from selfsup.networks.discriminators import Discriminator
from selfsup.networks.encoders import Encoder
from selfsup.recipe import Recipe
from selfsup.views import crops, masks, sheets

BAND_WEIGHT = 10.0
"""Of errors in the overlap, where the truth is in sight (paper and code)."""

LEVEL = 1 / 255**2
"""Square of one level of 8 bits: errors below it count as none."""


class Inpainting(Method):
    """Cut a hole into an image and generate what was there from the encoder's last map.

    Args:
        encoder: network to train.
        mask: the hole: `centre` (a square in the middle), `block` (random squares) or `region` (random polygons),
            the last two up to a quarter of the image and new for each image and step.
        overlap: pixels around the hole that are predicted too, with errors that count tenfold; by default 2 and one
            more for every 48 px of the side for `centre`, 0 for the others.
        adversarial: weight of a discriminator's verdict against that of the squared error, which gets the rest; the
            paper takes 0.001 for looks, 0 for features.
        adversary: loss of the two sides, `logistic` or `hinge`.
        discriminator_rate: learning rate of the discriminator as a share of the other networks'.
        flip: mirror half of the images.

    Source: Pathak, Krähenbühl, Donahue, Darrell and Efros, 2016, https://arxiv.org/abs/1604.07379
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="adam",
        lr=2e-3,
        momentum=0.5,
        weight_decay=0.0,
        schedule="cosine",
        batch_size=64,
        epochs=100.0,
    )
    headline: ClassVar[str] = "psnr_gain"
    headline_chance: ClassVar[float | None] = 0.0  # the mean colour of what is left of the image

    def __init__(
        self,
        encoder: Encoder,
        *,
        mask: Literal["centre", "block", "region"] = "block",
        overlap: int | None = None,
        adversarial: float = 0.0,
        adversary: Literal["logistic", "hinge"] = "logistic",
        discriminator_rate: float = 0.1,
        flip: bool = True,
    ) -> None:
        super().__init__()
        size = encoder.image_size
        _check(overlap, adversarial, discriminator_rate, size)
        self.encoder = encoder
        self.mask = mask
        self.overlap = overlap if overlap is not None else 2 + size // 48 if mask == "centre" else 0
        self.generated = size // 2 if mask == "centre" else size  # side of what the decoder gives
        self.context = context_of(encoder)
        self.bottleneck = Bottleneck(encoder.width, encoder.side)
        self.decoder = Decoder(encoder.width, self.bottleneck.side, self.generated)
        self.adversarial = adversarial
        self.adversary: game.Loss = adversary
        self.discriminator = Discriminator(self.generated) if adversarial else None
        self.discriminator_rate = discriminator_rate
        self.flip = flip

    def optimizers(self, recipe: Recipe) -> dict[str, Optimizer]:
        """Give one optimizer, or one each for what generates and for the discriminator."""
        if self.discriminator is None:
            return super().optimizers(recipe)
        judging = list(self.discriminator.parameters())
        others = [p for name, p in self.named_parameters() if not name.startswith("discriminator.")]
        return {
            "encoder": recipe.build(others),
            "discriminator": recipe.build(judging, lr_factor=self.discriminator_rate),
        }

    def losses(self, batch: Batch) -> Iterator[Objective | list[Objective]]:
        """Yield the error in the hole, and with a discriminator both sides' losses, for a step at the same time."""
        images = crops.random_crop(batch.images, self.encoder.image_size, pad=0, flip=self.flip)  # no border to draw
        hole = self.hole(images)
        truth, generated = self.encoder.normalize(images), self.generate(images, hole)
        errors = (generated - truth).square()
        left = share_of(errors.detach(), hole)  # [B, 3]
        blind = (mean_outside(truth, hole) - truth).square()
        variances = self.encoder.std.square()
        metrics = {
            "psnr_gain": decibels((share_of(blind, hole) * variances).mean(1), (left * variances).mean(1)),
            "mse": left.mean(),
        }
        rebuilding = self.weighted(errors, hole)
        if self.discriminator is None:
            yield Objective(rebuilding, metrics=metrics, chance=self.weighted(blind, hole).item())
            return
        real = self.discriminator(self.judged(truth, truth, hole))
        fake = self.discriminator(self.judged(generated, truth, hole))
        fooling = game.generator_loss(fake, self.adversary)
        judging = game.discriminator_loss(real, fake, self.adversary)
        # one verdict for both sides, from before either moves, as in the released code
        yield [
            Objective(judging, "discriminator", {"d_accuracy": game.accuracy(real, fake), "d_loss": judging.detach()}),
            Objective((1 - self.adversarial) * rebuilding + self.adversarial * fooling, "encoder", metrics),
        ]

    def hole(self, images: Float[Tensor, "B 3 S S"]) -> Bool[Tensor, "B 1 S S"]:
        """Draw what is cut out of each image."""
        if self.mask == "centre":
            return masks.centre(images, self.generated - 2 * self.overlap)
        return masks.blocks(images) if self.mask == "block" else masks.region(images)

    def cut_out(self, images: Float[Tensor, "B 3 S S"], hole: Bool[Tensor, "B 1 S S"]) -> Float[Tensor, "B 3 S S"]:
        """Fill holes with the mean colour, which is 0 for the network."""
        return torch.where(hole, self.encoder.mean.to(images.dtype).view(3, 1, 1), images)

    def generate(self, images: Float[Tensor, "B 3 S S"], hole: Bool[Tensor, "B 1 S S"]) -> Float[Tensor, "B 3 S S"]:
        """Give normalized values from what is left of the images; 0 where the decoder gives none (centre)."""
        seen = self.cut_out(images, hole)
        last_map = map_in_context(self.encoder, self.context, seen)
        values: Tensor = self.decoder(self.bottleneck(last_map))
        first = (images.shape[-1] - self.generated) // 2
        last = images.shape[-1] - self.generated - first
        # the views' layout: sums of unlike layouts are several times slower
        return F.pad(values.to(images.dtype), (first, last, first, last)).contiguous()

    def weighted(self, errors: Float[Tensor, "B 3 S S"], hole: Bool[Tensor, "B 1 S S"]) -> Float[Tensor, ""]:
        """Average errors over hole and overlap of each image, tenfold in the overlap, then over the images."""
        whole = masks.grown(hole, self.overlap)
        weights = whole * torch.where(hole, 1.0, BAND_WEIGHT)
        return ((errors * weights).mean(1, keepdim=True).sum((1, 2, 3)) / whole.sum((1, 2, 3))).mean()

    def judged(
        self, values: Float[Tensor, "B 3 S S"], truth: Float[Tensor, "B 3 S S"], hole: Bool[Tensor, "B 1 S S"]
    ) -> Float[Tensor, "B 3 T T"]:
        """Give what the discriminator sees: the generated square alone (centre), or the image with its hole filled."""
        if self.mask == "centre":
            return crops.center(values, self.generated)
        return compose(truth, hole, values)

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw images with a hole, with the hole filled in, and as they were."""
        images = crops.center(batch.images, self.encoder.image_size)[:8]
        hole = self.hole(images)
        filled = compose(images, hole, self.encoder.denormalize(self.generate(images, hole)))
        return {"with a hole, filled in, original": sheets.rows([self.cut_out(images, hole), filled, images])}


def compose(
    images: Float[Tensor, "B C S S"], hole: Bool[Tensor, "B 1 S S"], values: Float[Tensor, "B C S S"]
) -> Float[Tensor, "B C S S"]:
    """Put values into the holes of images."""
    return torch.where(hole, values, images)


def share_of(errors: Float[Tensor, "B C S S"], hole: Bool[Tensor, "B 1 S S"]) -> Float[Tensor, "B C"]:
    """Average each image's errors over its hole."""
    return (errors * hole).sum((2, 3)) / hole.sum((2, 3))


def mean_outside(images: Float[Tensor, "B C S S"], hole: Bool[Tensor, "B 1 S S"]) -> Float[Tensor, "B C 1 1"]:
    """Give each image's mean colour over what is left of it."""
    kept = ~hole
    return (images * kept).sum((2, 3), keepdim=True) / kept.sum((2, 3), keepdim=True)


def decibels(before: Float[Tensor, " B"], after: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Say by how many decibels squared errors [0, 1] units fell, mean over images."""
    return 10 * torch.log10(before.clamp(min=LEVEL) / after.clamp(min=LEVEL)).mean()


def _check(overlap: int | None, adversarial: float, discriminator_rate: float, image_size: int) -> None:
    most = image_size // 4 - 1
    if overlap is not None and not 0 <= overlap <= most:
        raise InputError(f"overlap must be 0 to {most} pixels at {image_size} pixels, got {overlap}; 0 is without.")
    if not 0 <= adversarial < 1:
        raise InputError(f"adversarial is a weight in [0, 1), got {adversarial}; the paper takes 0.001, 0 is without.")
    if not 0 < discriminator_rate < math.inf:
        raise InputError(f"discriminator_rate must be above 0, finite, got {discriminator_rate}; the paper takes 0.1.")
