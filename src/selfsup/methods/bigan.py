"""BiGAN: a generator turns codes into images, the encoder images into codes, and a discriminator judges the pairs."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from selfsup import draws
from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks import adversarial
from selfsup.networks.codes import FILE, CodeHead, CodeSpace, explained
from selfsup.networks.discriminators import Discriminator
from selfsup.networks.ema import MovingAverage
from selfsup.networks.encoders import Encoder
from selfsup.networks.generators import Generator
from selfsup.networks.norm import by_batch
from selfsup.recipe import Recipe
from selfsup.views import crops, sheets
from selfsup.views.differentiable import augment as changed
from selfsup.views.differentiable import check_policy

COMPARED = 32
"""Images of a batch whose reconstructions are compared with one another."""


class BiGAN(Method):
    """Make pairs of image and code that a discriminator cannot tell from pairs of generated image and drawn code.

    Args:
        encoder: network to train.
        latent: numbers in a code, drawn uniformly from -1 to 1. None: 200 from 64 pixels on, 50 below.
        width: channels of the generator's maps in front of its last doubling, and of the discriminators' first maps.
        loss: of both games: `logistic` or `hinge`.
        norm: of the discriminator of pairs: `spectral`, `batch` or `none`.
        r1: weight of the penalty on the gradient of the discriminator of pairs at real images; 0: none.
        ema: share of the averaged generator, which draws pictures and plays no part in the game, kept by each step.
        unary: weight of the game of a second discriminator, with spectral norm, which judges images without codes; 0:
            none, as in the paper.
        discriminator_rate: rate of the discriminators in units of the others'; 1 in the paper.
        augment: what real and generated images pass through before they are judged: `none`, or some of
            `color,translation,cutout`.
        regressor: weight of the squared error with which the encoder finds the codes of generated images; 0.25 in
            the paper's code.
        flip: mirror half of the images.

    Source: Donahue, Krähenbühl and Darrell, 2017, https://arxiv.org/abs/1605.09782; judging images without
        codes too: Donahue and Simonyan, 2019, https://arxiv.org/abs/1907.02544
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="adam",
        lr=2e-4,
        momentum=0.5,
        weight_decay=0.0,
        schedule="cosine",
        batch_size=64,
        epochs=100.0,
    )
    headline: ClassVar[str] = "own_nearer"
    headline_chance: ClassVar[float | None] = 0.5

    def __init__(
        self,
        encoder: Encoder,
        *,
        latent: int | None = None,
        width: int = 32,
        loss: Literal["logistic", "hinge"] = "logistic",
        norm: Literal["spectral", "batch", "none"] = "batch",
        r1: float = 0.0,
        ema: float = 0.999,
        unary: float = 1.0,
        discriminator_rate: float = 4.0,
        augment: str = "none",
        regressor: float = 0.0,
        flip: bool = True,
    ) -> None:
        super().__init__()
        self.latent = (200 if encoder.image_size >= 64 else 50) if latent is None else latent
        check_policy(augment)
        adversarial.check(
            latent=self.latent, width=width, r1=r1, ema=ema, unary=unary, discriminator_rate=discriminator_rate,
            regressor=regressor,
        )  # fmt: skip
        self.encoder = encoder
        self.code = CodeHead(encoder, self.latent)
        self.generator = Generator(self.latent, encoder.image_size, width=width)
        self.average = MovingAverage(self.generator, ema)
        self.discriminator = Discriminator(encoder.image_size, width=width, norm=norm, code_width=self.latent)
        self.image_discriminator = Discriminator(encoder.image_size, width=width, pooled=True) if unary else None
        self.kind, self.r1, self.unary, self.regressor = loss, r1, unary, regressor
        self.discriminator_rate, self.augment, self.flip = discriminator_rate, augment, flip

    def optimizers(self, recipe: Recipe) -> dict[str, Optimizer]:
        """Give one to the encoder and the generator, who play together, and one to the discriminators."""
        together = [*self.encoder.parameters(), *self.code.parameters(), *self.generator.parameters()]
        judges = [judge for judge in (self.discriminator, self.image_discriminator) if judge is not None]
        judging = [parameter for judge in judges for parameter in judge.parameters()]
        return {
            "encoder": recipe.build(together),
            "discriminator": recipe.build(judging, lr_factor=self.discriminator_rate),
        }

    def losses(self, batch: Batch) -> Iterator[list[Objective]]:
        """Yield the losses of both sides, from one pass: all networks are stepped at once."""
        images = crops.random_crop(batch.images, self.encoder.image_size, pad=0, flip=self.flip)
        if self.training and len(images) < 2:
            raise InputError("bigan spreads the codes of a batch, got a batch of 1; use --batch-size 8 or more.")
        drawn = draws.uniform(images, self.latent, low=-1.0, high=1.0).to(images.dtype)
        codes = self.encode(images)
        generated = self.generator(drawn)
        real = 2 * images - 1
        seen, shown = changed(real, self.augment), changed(generated, self.augment)
        with parametrize.cached():  # one step of the power iteration, one set of weights for both passes
            real_logits, fake_logits, penalty = self._judge((seen, codes), (shown, drawn))
            image_logits = [self.image_discriminator(x) for x in (seen, shown)] if self.image_discriminator else None
        d_loss = adversarial.discriminator_loss(real_logits, fake_logits, self.kind) / 2
        # both labels flipped: pairs of real images are to pass for generated ones, and the other way round
        pairs = adversarial.generator_loss(fake_logits, self.kind) + adversarial.generator_loss(-real_logits, self.kind)
        judging, making = d_loss + penalty, pairs / 2
        metrics = {
            "own_nearer": self._own_nearer(images, codes.detach()),
            "d_accuracy": adversarial.accuracy(real_logits, fake_logits),
            "d_loss": d_loss.detach(),
            "diversity": adversarial.diversity(generated, real),
        }
        if image_logits is not None:
            real_alone, fake_alone = image_logits
            judging = judging + self.unary * adversarial.discriminator_loss(real_alone, fake_alone, self.kind) / 2
            making = making + self.unary * adversarial.generator_loss(fake_alone, self.kind) / 2
            metrics["unary_accuracy"] = adversarial.accuracy(real_alone, fake_alone)
        if self.regressor > 0 or not self.training:
            # running statistics are those of real images and their codes
            with by_batch(self) if self.training else nullcontext():
                found = self.encode(generated / 2 + 0.5)
            metrics["code_r2"] = explained(found.detach(), drawn)
            making = making + self.regressor * (found - drawn).square().mean()
        yield [Objective(judging, "discriminator"), Objective(making, "encoder", metrics)]

    def encode(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B Z"]:
        """Give codes in (-1, 1), the range of those that are drawn."""
        return torch.tanh(self.code(self.encoder, images).to(images.dtype) / 2)

    def kept(self) -> Mapping[str, bytes]:
        """Give the way from images to codes and back, by the averaged generator; `aetgan` changes images with it."""
        generator = self.average.average
        assert isinstance(generator, Generator)
        return {FILE: CodeSpace(self.encoder, self.code, generator).content()}

    def after_step(self, progress: float) -> None:
        """Move the averaged generator."""
        self.average.update(self.generator)

    @torch.no_grad()
    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw images, what the generator makes of their codes, and what it makes of codes drawn at random."""
        images = crops.center(batch.images, self.encoder.image_size)[:8]
        drawn = draws.uniform(images, self.latent, low=-1.0, high=1.0).to(images.dtype)
        shown = [images, self._drawn(self.encode(images)), self._drawn(drawn)]
        return {"real, reconstructed, sampled": sheets.rows(shown)}

    def _judge(
        self, real: tuple[Tensor, Tensor], made: tuple[Tensor, Tensor]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, ""]]:
        """Give the logits of real and of made pairs of image and code, and the penalty on the gradient of the former.

        The penalty is 0 where none is asked for or possible. Where there is one, both passes are done in float32: pairs
        judged in different precisions could be told apart by it.
        """
        (seen, codes), (shown, drawn) = real, made
        if self.r1 == 0 or not torch.is_grad_enabled():
            return self.discriminator(seen, codes), self.discriminator(shown, drawn), seen.new_zeros(())
        with torch.autocast(seen.device.type, enabled=False):
            cut_off = adversarial.penalized(seen)
            logits = self.discriminator(cut_off, codes)
            others = self.discriminator(shown.to(cut_off.dtype), drawn)
            return logits, others, adversarial.r1_penalty(logits, cut_off, self.r1)

    def _drawn(self, codes: Float[Tensor, "B Z"]) -> Float[Tensor, "B 3 S S"]:
        """Draw pictures in [0, 1] with the averaged generator."""
        pictures: Tensor = self.average.eval()(codes)
        return pictures.to(codes.dtype) / 2 + 0.5

    @torch.no_grad()
    def _own_nearer(self, images: Float[Tensor, "B 3 S S"], codes: Float[Tensor, "B Z"]) -> Float[Tensor, ""]:
        """Give the share of other images whose reconstruction lies farther from an image than its own; 1/2 is blind."""
        few = images[:COMPARED]
        distances = torch.cdist(few.flatten(1), self._drawn(codes[:COMPARED]).flatten(1))  # [n, n]
        own = distances.diagonal()[:, None]
        wins = (distances > own).float() + 0.5 * (distances == own)
        return (wins.sum() - 0.5 * len(few)) / max(1, len(few) * (len(few) - 1))
