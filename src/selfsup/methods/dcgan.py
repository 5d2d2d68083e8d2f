"""DCGAN: the encoder tells real images from those of a generator that learns to deceive it."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from selfsup import draws
from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks import adversarial
from selfsup.networks.ema import MovingAverage
from selfsup.networks.encoders import Encoder
from selfsup.networks.generators import Generator
from selfsup.networks.norm import by_batch
from selfsup.recipe import Recipe
from selfsup.views import crops, sheets
from selfsup.views.differentiable import augment as changed
from selfsup.views.differentiable import check_policy


class DCGAN(Method):
    """Tell real images from generated ones; the encoder is the discriminator.

    Args:
        encoder: network to train.
        latent: numbers in a code, drawn uniformly from -1 to 1.
        width: channels of the generator's maps in front of its last doubling.
        loss: of the game: `logistic` or `hinge`.
        r1: weight of the penalty on the discriminator's gradient at real images; 0: none.
        smoothing: real images are to be called real with 1 minus this; logistic only.
        ema: share of the averaged generator, which draws pictures and plays no part in the game, kept by each step.
        discriminator_rate: rate of the discriminator in units of the generator's.
        augment: what real and generated images pass through before they are judged: `none`, or some of
            `color,translation,cutout`.
        flip: mirror half of the images.

    Source: Radford, Metz and Chintala, 2016, https://arxiv.org/abs/1511.06434
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="adam",
        lr=5e-4,
        momentum=0.5,
        weight_decay=0.0,
        schedule="cosine",
        batch_size=64,
        epochs=100.0,
    )
    headline: ClassVar[str] = "d_accuracy"
    headline_chance: ClassVar[float | None] = 0.5

    def __init__(
        self,
        encoder: Encoder,
        *,
        latent: int = 100,
        width: int = 32,
        loss: Literal["logistic", "hinge"] = "hinge",
        r1: float = 0.0,
        smoothing: float = 0.0,
        ema: float = 0.999,
        discriminator_rate: float = 1.0,
        augment: str = "none",
        flip: bool = True,
    ) -> None:
        super().__init__()
        check_policy(augment)
        adversarial.check(latent=latent, width=width, r1=r1, ema=ema, discriminator_rate=discriminator_rate)
        if (smoothing and loss == "hinge") or not 0 <= smoothing < 0.5:
            raise InputError(
                f"smoothing is a share in [0, 0.5) and for the logistic loss, got {smoothing} with {loss}."
            )
        self.latent = latent
        self.encoder = encoder
        self.logit = nn.Linear(encoder.vector_width, 1)
        self.generator = Generator(latent, encoder.image_size, width=width)
        self.average = MovingAverage(self.generator, ema)
        self.kind = loss
        self.r1, self.smoothing, self.discriminator_rate, self.augment = r1, smoothing, discriminator_rate, augment
        self.flip = flip

    def optimizers(self, recipe: Recipe) -> dict[str, Optimizer]:
        """Give one to the encoder with its logit, and one to the generator."""
        discriminator = [*self.encoder.parameters(), *self.logit.parameters()]
        return {
            "encoder": recipe.build(discriminator, lr_factor=self.discriminator_rate),
            "generator": recipe.build(self.generator.parameters()),
        }

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the discriminator's loss, then the generator's against the discriminator as it then is."""
        images = 2 * crops.random_crop(batch.images, self.encoder.image_size, pad=0, flip=self.flip) - 1
        with torch.no_grad():
            generated = self.generate(images)
        # two passes: batch norm over a mixed batch would tell which is which
        real_logits, fake_logits, penalty = self._judge_both(images, generated)
        d_loss = adversarial.discriminator_loss(real_logits, fake_logits, self.kind, self.smoothing)
        metrics = {
            "d_accuracy": adversarial.accuracy(real_logits, fake_logits),
            "d_loss": d_loss.detach(),
            "diversity": adversarial.diversity(generated, images),
        }
        yield Objective(d_loss + penalty, "encoder", metrics)
        logits = self.judge(self.generate(images))
        yield Objective(adversarial.generator_loss(logits, self.kind), "generator")

    def generate(self, like: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
        """Make an image in [-1, 1] of a fresh code for each row of `like`."""
        codes = draws.uniform(like, self.latent, low=-1.0, high=1.0).to(like.dtype)
        images: Tensor = self.generator(codes)
        return images

    def judge(self, images: Float[Tensor, "B 3 S S"], real: bool = False) -> Float[Tensor, " B"]:
        """Give a logit for each image in [-1, 1]; positive says real.

        Batch norm goes by the batch in eval mode too: kept statistics are those of real images, by which generated ones
        were never judged.
        """
        seen = changed(images, self.augment) / 2 + 0.5
        with nullcontext() if real and self.training else by_batch(self.encoder):
            logits: Tensor = self.logit(self.encoder.vector(seen))
        return logits.squeeze(1)

    def after_step(self, progress: float) -> None:
        """Move the averaged generator."""
        self.average.update(self.generator)

    @torch.no_grad()
    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw real images above generated ones, each in a frame that says what it is taken for."""
        real = 2 * crops.center(batch.images, self.encoder.image_size) - 1
        codes = draws.uniform(real, self.latent, low=-1.0, high=1.0).to(real.dtype)
        made: Tensor = self.average.eval()(codes).to(real.dtype)
        rows = [framed(row / 2 + 0.5, self.judge(row).sigmoid())[:8] for row in (real, made)]
        return {"real and generated, in green if taken for real": sheets.rows(rows)}

    def _judge_both(
        self, images: Float[Tensor, "B 3 S S"], generated: Float[Tensor, "B 3 S S"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, ""]]:
        """Give the logits of real and of generated images, and the penalty on the gradient of the former.

        The penalty is 0 where none is asked for or possible. Where there is one, all of it is done in float32: images
        judged in different precisions could be told apart by it.
        """
        if self.r1 == 0 or not torch.is_grad_enabled():
            return self.judge(images, real=True), self.judge(generated), images.new_zeros(())
        with torch.autocast(images.device.type, enabled=False):
            seen = adversarial.penalized(images)
            logits = self.judge(seen, real=True)
            return logits, self.judge(generated.to(seen.dtype)), adversarial.r1_penalty(logits, seen, self.r1)


def framed(images: Float[Tensor, "B 3 S S"], share: Float[Tensor, " B"]) -> Float[Tensor, "B 3 T T"]:
    """Put a frame around images in [0, 1]: red where the share is 0, green where it is 1, mixtures between."""
    width = max(2, images.shape[-1] // 16)
    share = share.to(images.dtype)
    colours = torch.stack([1 - share, share, torch.zeros_like(share)], dim=1)[:, :, None, None]
    inside = F.pad(torch.ones_like(images[:, :1]), [width] * 4)
    return torch.where(inside > 0, F.pad(images, [width] * 4), colours)
