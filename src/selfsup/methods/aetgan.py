"""AET with a generator (GAN-induced AET): say by which code a generator changed an image."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from selfsup import draws
from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks.codes import VARIANCE, explained, load_code_space
from selfsup.networks.encoders import Encoder
from selfsup.networks.given import let_in
from selfsup.networks.pairs import PairDecoder
from selfsup.recipe import Recipe
from selfsup.views import crops, sheets
from selfsup.views.precision import in_full


class GeneratedAET(Method):
    """Estimate the code by which a trained generator changed an image, from the image before and after.

    Args:
        encoder: network to train; it sees both images.
        generator: folder of a finished run of bigan on images of the same size; its encoder finds the code of an
            image, and its generator draws the changed code. Neither is trained further.
        amount: share of the drawn code in the changed one, above 0 and at most 1; the rest is the image's own.
        hidden: width of a hidden layer in the decoder, which can then compare the two images; 0: a linear decoder.
        flip: mirror half of the images.

    Source: Zhang, Qi, Wang and Luo, 2019, https://arxiv.org/abs/1901.04596, section on GAN-induced transformations.
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="adam",
        lr=1e-3,
        momentum=0.9,
        weight_decay=0.0,
        schedule="cosine",
        batch_size=256,
        epochs=200.0,
    )
    headline: ClassVar[str] = "r2"
    headline_chance: ClassVar[float | None] = 0.0  # the best constant

    def __init__(
        self,
        encoder: Encoder,
        *,
        generator: Path | None = None,
        amount: float = 0.5,
        hidden: int = 0,
        flip: bool = True,
    ) -> None:
        super().__init__()
        if generator is None:
            raise InputError(
                "aetgan changes images by a trained generator, and none was given; train one with `selfsup pretrain "
                "bigan`, then give --generator and the folder of that run."
            )
        if not 0 < amount <= 1:
            raise InputError(f"amount is a share above 0 and at most 1, got {amount}; 0.5 is a good start.")
        if hidden < 0:
            raise InputError(f"hidden is a width, got {hidden}; use 0 for a linear decoder or 256 for a hidden layer.")
        self.space = load_code_space(Path(generator))
        drawn = self.space.encoder.image_size
        if drawn != encoder.image_size:
            raise InputError(
                f"The generator at {generator} draws images of {drawn} pixels, and the encoder sees "
                f"{encoder.image_size}; use --image-size {drawn}, or another generator."
            )
        self.encoder = encoder
        self.remarks = let_in(encoder, self.space.encoder.labels, f"the generator at {generator}")
        self.amount = amount
        self.flip = flip
        self.decoder = PairDecoder(encoder.vector_width, self.space.width, hidden)
        self.chance = 0.5 * VARIANCE * self.space.width

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield half the squared error of the estimated codes."""
        images = crops.random_crop(batch.images, self.encoder.image_size, pad=0, flip=self.flip)
        drawn, transformed = self.transform(images)
        estimated = self.estimate(images, transformed)
        loss = 0.5 * (estimated - drawn).square().sum(1).mean()
        yield Objective(loss, metrics={"r2": explained(estimated.detach(), drawn)}, chance=self.chance)

    @torch.no_grad()
    def transform(self, images: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B Z"], Float[Tensor, "B 3 S S"]]:
        """Draw a code for each image; give the codes, and what the generator makes of image and code."""
        drawn = draws.uniform(images, self.space.width, low=-1.0, high=1.0).to(images.dtype)
        return drawn, self.space.pictures(self.mixed(self.space.codes(images), drawn))

    def mixed(self, own: Float[Tensor, "B Z"], drawn: Float[Tensor, "B Z"]) -> Float[Tensor, "B Z"]:
        """Move an image's code towards the drawn one, which keeps it in the range the generator knows."""
        return own.lerp(drawn, self.amount)

    def unmixed(self, mixed: Float[Tensor, "B Z"], drawn: Float[Tensor, "B Z"]) -> Float[Tensor, "B Z"]:
        """Undo `mixed` with a drawn code or an estimate of it, within the range of codes."""
        own = (mixed - self.amount * drawn) / max(1 - self.amount, 1e-6)
        return own.clamp(-1, 1)

    def estimate(self, images: Float[Tensor, "B 3 S S"], transformed: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B Z"]:
        """Estimate the code from both images, each set in a pass of its own with its own batch statistics."""
        numbers = self.decoder(self.encoder.vector(images), self.encoder.vector(transformed))
        return in_full(numbers)

    @torch.no_grad()
    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw images, transformed ones, and these with the estimated and with the true code taken out again."""
        images = crops.center(batch.images, self.encoder.image_size)[:8]
        drawn, transformed = self.transform(images)
        mixed = self.mixed(self.space.codes(images), drawn)
        undone = [self.space.pictures(self.unmixed(mixed, z)) for z in (self.estimate(images, transformed), drawn)]
        title = "image, transformed, undone as estimated, undone as it was"
        return {title: sheets.rows([images, transformed, *undone])}
