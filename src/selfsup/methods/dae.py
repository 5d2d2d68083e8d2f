"""Denoising autoencoder (DAE): undo noise that was added to an image or a signal."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks.behind import context_of, map_in_context
from selfsup.networks.built_in import Stack
from selfsup.networks.decoders import Decoder
from selfsup.networks.encoders import Encoder
from selfsup.networks.signals import SignalDecoder
from selfsup.networks.tied import TiedDecoder
from selfsup.recipe import Recipe
from selfsup.views import crops, excerpts, noise, plots, sheets

AMOUNTS = {"gaussian": 0.5, "masking": 0.25, "salt_and_pepper": 0.25}
"""Top of the 2010 paper's grid for the deviation of Gaussian noise; its good default for the shares."""

EMPHASES = {"none": (1.0, 1.0), "double": (1.0, 0.5), "full": (1.0, 0.0)}
"""Weights of the errors at corrupted and at kept pixels."""


class DenoisingAutoencoder(Method):
    """Corrupt an image or a signal and reconstruct the clean one from the encoder's last map.

    Args:
        encoder: network to train.
        noise: `gaussian` (added to every value), `masking` (the mean colour), or `salt_and_pepper` (white, black;
            of signals the greatest and the least value).
        amount: deviation of Gaussian noise in units of the encoder's std, or the share of pixels that is
            corrupted; by default 0.5 for gaussian and 0.25 for the others.
        block: side in pixels of the squares that masking erases, length in samples of the spans of signals; 1 erases
            single pixels or samples.
        emphasis: weights of the errors at corrupted and kept pixels: `none` (1 and 1), `double` (1 and 0.5)
            or `full` (1 and 0); for masking and salt and pepper.
        loss: `squared` error of normalized values, or `cross_entropy` of values in [0, 1] (images only).
        tied: let the decoder use the encoder's own weights, transposed; for encoders of plain convolutions: `small`,
            `alexnet`, `nin`, `small1d`.
        flip: mirror half of the images; signals are never turned round.

    Source: Vincent, Larochelle, Lajoie, Bengio and Manzagol, JMLR 11:3371-3408, 2010.
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="adam",
        lr=1e-3,
        momentum=0.9,
        weight_decay=0.0,
        schedule="cosine",
        batch_size=128,
        epochs=100.0,
    )
    headline: ClassVar[str] = "psnr_gain"
    headline_chance: ClassVar[float | None] = 0.0  # giving the corrupted image back
    reads: ClassVar[str] = "images and signals"

    def __init__(
        self,
        encoder: Encoder,
        *,
        noise: Literal["gaussian", "masking", "salt_and_pepper"] = "gaussian",
        amount: float | None = None,
        block: int = 1,
        emphasis: Literal["none", "double", "full"] = "none",
        loss: Literal["squared", "cross_entropy"] = "squared",
        tied: bool = False,
        flip: bool = True,
    ) -> None:
        super().__init__()
        _check(noise, amount, block, emphasis, encoder.image_size)
        self.of_signals = len(encoder.shape) == 2
        if self.of_signals and loss == "cross_entropy":
            raise InputError("cross_entropy is for values in [0, 1], which signals do not have; use --loss squared.")
        self.encoder = encoder
        self.decoder = _decoder(encoder, tied)
        self.context = context_of(encoder)
        self.noise = noise
        self.amount = AMOUNTS[noise] if amount is None else amount
        self.block = block
        self.emphasis = EMPHASES[emphasis]
        self.loss = loss
        self.flip = flip

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the error of the reconstruction against the clean view."""
        clean = self.view(batch.images)
        corrupted, changed = self.corrupt(clean)
        output = self.reconstruct(corrupted)
        if self.loss == "cross_entropy":
            errors = F.binary_cross_entropy_with_logits(output, clean, reduction="none")
            off = (self.pixels(output.detach()) - clean).div_(self.encoder.std.view(3, 1, 1)).square_()
            chance = None
        else:
            errors = (output - self.encoder.normalize(clean)).square()
            off = errors.detach()
            chance = self.loss_of_copying(corrupted, clean, changed)
        left = off.flatten(2).mean(2)  # [B, C], in units of the data's variance
        if self.of_signals:  # whose units may be of any size
            gain = psnr_gain(left, self.encoder.normalize(corrupted), self.encoder.normalize(clean))
        else:
            gain = psnr_gain(left * self.encoder.std.square(), corrupted, clean)
        metrics = {"psnr_gain": gain, "mse": left.mean()}
        yield Objective(emphasized(errors, changed, *self.emphasis), metrics=metrics, chance=chance)

    def view(self, images: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *s"]:
        """Give what the encoder shall see, clean: a crop of each image, or an excerpt of each signal."""
        if self.of_signals:
            return excerpts.random_excerpt(images, self.encoder.image_size)
        return crops.random_crop(
            images, self.encoder.image_size, pad=0, flip=self.flip
        )  # a black border is easily cleaned

    def corrupt(self, clean: Float[Tensor, "B C *S"]) -> tuple[Float[Tensor, "B C *S"], Bool[Tensor, "B 1 *S"] | None]:
        """Give corrupted copies in the units of the data (not clipped), and which pixels changed (None: all)."""
        if self.noise == "gaussian":
            return noise.gaussian(clean, self.amount, self.encoder.std), None
        if self.noise == "masking":
            corrupted, kept = noise.masking(clean, self.amount, self.block, mean=self.encoder.mean)
            return corrupted, ~kept
        return noise.salt_and_pepper(clean, self.amount)

    def reconstruct(self, images: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        """Give normalized values for the squared error, logits for the cross-entropy."""
        last_map = map_in_context(self.encoder, self.context, images)
        own = (self.encoder.inner,) if isinstance(self.decoder, TiedDecoder) else ()
        # the views' layout: sums of unlike layouts are several times slower
        output: Tensor = self.decoder(last_map, *own).float().contiguous()
        return output

    def pixels(self, output: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        """Turn the output into images in [0, 1], or signals in their units."""
        if self.loss == "cross_entropy":
            return output.sigmoid()
        return self.encoder.denormalize(output)

    def loss_of_copying(
        self,
        corrupted: Float[Tensor, "B C *S"],
        clean: Float[Tensor, "B C *S"],
        changed: Bool[Tensor, "B 1 *S"] | None,
    ) -> float:
        """Give the squared error of returning the input: sigma^2, or the share times E[x^2] for masking."""
        if self.noise == "gaussian":
            return self.amount**2
        error = (self.encoder.normalize(corrupted) - self.encoder.normalize(clean)).square()
        return emphasized(error, changed, *self.emphasis).item()

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw clean images or signals, their corrupted copies and what the network makes of those."""
        clean = crops.center(batch.images, self.encoder.image_size)[: 3 if self.of_signals else 8]
        corrupted, _ = self.corrupt(clean)
        cleaned = self.pixels(self.reconstruct(corrupted))
        rows = [clean, corrupted, cleaned]
        if self.of_signals:
            picture = plots.rows([self.encoder.normalize(row) for row in rows], behind=0)
        else:
            picture = sheets.rows(rows)
        return {"clean, corrupted, cleaned": picture}


def emphasized(
    errors: Float[Tensor, "B C *S"], changed: Bool[Tensor, "B 1 *S"] | None, at_changed: float, at_kept: float
) -> Float[Tensor, ""]:
    """Average errors over all values of all images, weighted by whether the pixel was corrupted."""
    if changed is None or at_changed == at_kept == 1:
        return errors.mean()
    return (torch.where(changed, at_changed, at_kept) * errors).mean()


def psnr_gain(
    left: Float[Tensor, "B C"], corrupted: Float[Tensor, "B C *S"], clean: Float[Tensor, "B C *S"]
) -> Float[Tensor, ""]:
    """Say by how many decibels cleaned images are closer to the clean ones than their inputs were, mean over images.

    Args:
        left: mean squared error of each channel of the cleaned images, in squares of the images' units.
        corrupted: what the network was given.
        clean: what it should have given back.
    """
    before = (corrupted - clean).square_().flatten(1).mean(1)
    return 10 * torch.log10(before.clamp(min=1e-10) / left.mean(1).clamp(min=1e-10)).mean()


def _decoder(encoder: Encoder, tied: bool) -> Decoder | SignalDecoder | TiedDecoder:
    """Give a decoder for the encoder's last map, with the encoder's own weights if it shall be tied."""
    if tied:
        if not isinstance(encoder.inner, Stack):
            raise InputError(
                "Tied weights need an encoder of plain convolutions (small, alexnet, nin or small1d), got"
                f" {encoder.name}; leave --tied out."
            )
        return TiedDecoder(encoder.inner, encoder.shape)
    if len(encoder.shape) == 2:
        return SignalDecoder(encoder.width, encoder.side, encoder.image_size, encoder.shape[0])
    return Decoder(encoder.width, encoder.side, encoder.image_size)


def _check(noise: str, amount: float | None, block: int, emphasis: str, image_size: int) -> None:
    if amount is not None and not 0 <= amount <= (1e6 if noise == "gaussian" else 1):
        allowed = "0 or above in units of the std" if noise == "gaussian" else "a share in [0, 1]"
        raise InputError(f"amount of {noise} noise must be {allowed}, got {amount}; 0.25 is a good start.")
    if not 1 <= block <= image_size:
        raise InputError(f"block must be 1 to {image_size} pixels, got {block}.")
    if block > 1 and noise != "masking":
        raise InputError(f"block {block} is for masking, got {noise} noise; use --noise masking or leave block out.")
    if emphasis != "none" and noise == "gaussian":
        raise InputError(f"Gaussian noise corrupts every pixel, so emphasis {emphasis} has nothing to weigh; use none.")
