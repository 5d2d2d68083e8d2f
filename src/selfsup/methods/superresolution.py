"""Super-resolution (SRGAN): give back the fine detail of an image that was made small."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from selfsup import draws, processes
from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks.adversarial import accuracy, discriminator_loss, generator_loss
from selfsup.networks.behind import context_of, map_in_context
from selfsup.networks.content import load_features, unlikeness
from selfsup.networks.decoders import Decoder
from selfsup.networks.discriminators import Discriminator
from selfsup.networks.encoders import Encoder
from selfsup.networks.given import let_in
from selfsup.networks.srgan import WIDTH, Placed, SRDiscriminator, SRResNet
from selfsup.recipe import Recipe
from selfsup.views import bicubic, crops, quality, sheets

JUDGE_WIDTH = 32
"""Of the discriminator's first layer: half of the usual, which would cost several times what a small encoder does."""

SHARPENING = 5
"""Side of the linear filter of the enlargement: what needs no network shall not be asked of it."""


class SuperResolution(Method):
    """Enlarge an image that was made small: first by the squared error, then also against a discriminator.

    Args:
        encoder: network to train; it sees the small image enlarged bicubically to its usual size.
        factor: how many times smaller the image is made, 2 or 4.
        network: what stands behind the encoder, and what judges: `decoder` (transposed convolutions; spectral norm) or
            `srgan` (the paper's residual body and pixel shuffles; the paper's discriminator).
        blocks: residual blocks of `srgan`, 16 in the paper.
        adversarial_from: share of training after which the discriminator joins in; 1: never.
        adversarial_weight: of the discriminator's verdict, against the content loss; 0.001 in the paper.
        adversary: the game's loss, `hinge` or `logistic` (the paper's).
        discriminator_rate: learning rate of the discriminator, in units of the encoder's.
        content: features that are compared once the discriminator has joined in: its own maps (`discriminator`), those
            of a frozen network in a file (`RUN/encoder.safetensors`, or VGG-19, with which labels come in), or `none`.
        content_maps: how many of the discriminator's own maps are compared, from the first. Deep ones say how real an
            image is rather than what it shows: they are met by grids.
        content_share: weight of the content loss; the squared error keeps the rest. The paper drops it (1).
        flip: mirror half of the images.

    Source: Ledig et al., 2017, https://arxiv.org/abs/1609.04802
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="adam",
        lr=1e-3,
        momentum=0.9,
        weight_decay=0.0,
        schedule="cosine",
        batch_size=64,
        epochs=100.0,
    )
    headline: ClassVar[str] = "psnr_gain"
    headline_chance: ClassVar[float | None] = 0.0  # the bicubic enlargement

    joined: Tensor
    content_scale: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        factor: int = 4,
        network: Literal["decoder", "srgan"] = "decoder",
        blocks: int = 16,
        adversarial_from: float = 0.7,
        adversarial_weight: float = 1e-3,
        adversary: Literal["hinge", "logistic"] = "hinge",
        discriminator_rate: float = 1.0,
        content: str = "discriminator",
        content_maps: int = 1,
        content_share: float = 0.2,
        flip: bool = True,
    ) -> None:
        super().__init__()
        size = encoder.image_size
        _check(factor, size, blocks, adversarial_weight, discriminator_rate)
        _check_shares(adversarial_from, content_share)
        self.encoder = encoder
        self.factor = factor
        self.decoder = _decoder(encoder, network, factor, blocks)
        nn.init.zeros_(self.decoder.colour.weight)  # training starts at the bicubic enlargement
        if self.decoder.colour.bias is not None:
            nn.init.zeros_(self.decoder.colour.bias)
        self.sharpen = nn.Conv2d(3, 3, SHARPENING, groups=3, bias=False)
        nn.init.zeros_(self.sharpen.weight)
        self.context = context_of(encoder)
        alone = adversarial_from >= 1
        if alone and content not in ("none", "discriminator"):
            raise InputError(
                f"Content features are compared once the discriminator plays, and adversarial_from is "
                f"{adversarial_from:g}; give a share below 1, or leave content {content!r} out."
            )
        self.discriminator = None if alone else _discriminator(network, size)
        self.changes_at = (adversarial_from,)
        if self.discriminator is not None and not 1 <= content_maps <= self.discriminator.depth:
            raise InputError(
                f"content_maps must be from 1 to {self.discriminator.depth}, as many maps as the discriminator has, "
                f"got {content_maps}."
            )
        self.features = None if alone or content in ("none", "discriminator") else load_features(Path(content), size)
        if self.features is not None:
            what = f"the network in {content}, through which the content loss looks"
            self.remarks = let_in(encoder, self.features.labels, what)
        self.adversarial_from, self.adversarial_weight = adversarial_from, adversarial_weight
        self.adversary, self.discriminator_rate = adversary, discriminator_rate
        self.content_maps = content_maps
        self.content_share = 0.0 if content == "none" else content_share
        self.flip = flip
        self.register_buffer("joined", torch.zeros((), dtype=torch.bool))
        self.register_buffer("content_scale", torch.zeros(()))

    def optimizers(self, recipe: Recipe) -> dict[str, Optimizer]:
        """Give one optimizer, or one for each player."""
        if self.discriminator is None:
            return {"all": recipe.build(self.parameters())}
        judges = list(self.discriminator.parameters())
        players = [p for p in self.parameters() if all(p is not own for own in judges)]
        return {
            "encoder": recipe.build(players),
            "discriminator": recipe.build(judges, lr_factor=self.discriminator_rate),
        }

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the squared error; once the discriminator has joined in, its loss and the content loss in turn."""
        # no padding: half of the error would be the edge of a black border, which is easy to draw
        clean = crops.random_crop(batch.images, self.encoder.image_size, pad=0, flip=self.flip)
        given = self.blurred(clean)
        truth, made = self.encoder.normalize(clean), self.enlarge(given)
        squared = (made - truth).square().mean()
        metrics = self.measured(made.detach(), given, clean)
        if self.discriminator is None:
            yield Objective(squared, metrics=metrics, chance=self.loss_of_bicubic(given, truth))
            return
        if not self.has_joined(batch.progress):
            yield Objective(squared, "encoder", metrics, self.loss_of_bicubic(given, truth))
            return
        # both get the same noise of one level: else real images would be known by their 256 levels
        noise = (draws.uniform(truth, *truth.shape[1:]).to(truth.dtype) - 0.5) / (255 * self.encoder.std.view(3, 1, 1))
        real, fake = truth + noise, made + noise
        told = self.discriminator(real), self.discriminator(fake.detach())  # apart: batch norm would mix them
        verdict = discriminator_loss(*told, self.adversary)
        yield Objective(verdict, "discriminator", {"d_accuracy": accuracy(*told), "d_loss": verdict})
        logits, maps = self.discriminator.judged(fake)  # afresh: its weights have just moved
        loss = (1 - self.content_share) * squared + self.adversarial_weight * generator_loss(logits, self.adversary)
        if self.content_share > 0:
            content = self.unlike(real, fake, maps[: self.content_maps])
            loss = loss + self.content_share * self.scale_of(content, squared) * content
        yield Objective(loss, "encoder", metrics)

    def blurred(self, clean: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
        """Make images small and enlarge them bicubically again."""
        return bicubic.enlarged(bicubic.shrunk(clean, self.factor), self.factor)

    def enlarge(self, given: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
        """Add the detail that the network sees to bicubic enlargements in [0, 1]; in normalized units."""
        last_map = map_in_context(self.encoder, self.context, given)
        detail: Tensor = self.decoder(last_map)
        base = self.encoder.normalize(given)
        edge = F.pad(base, [SHARPENING // 2] * 4, mode="replicate")
        around = F.pad(F.avg_pool2d(edge, SHARPENING, 1), [SHARPENING // 2] * 4, mode="replicate")
        # what is alike all around is taken out: its weights would all move together, and far at every step
        sharper = self.sharpen(edge - around)
        # the views' layout: sums of unlike layouts are several times slower
        enlarged: Tensor = base + sharper.to(base.dtype).contiguous() + detail.to(base.dtype).contiguous()
        return enlarged

    def measured(
        self, made: Float[Tensor, "B 3 S S"], given: Float[Tensor, "B 3 S S"], clean: Float[Tensor, "B 3 S S"]
    ) -> dict[str, Tensor]:
        """Measure quality as papers do: on the luma, without a border of as many pixels as the factor."""
        made = self.encoder.denormalize(made).clamp(0, 1)
        shown, before, truth = (quality.trimmed(quality.luma(x), self.factor) for x in (made, given, clean))
        found = {
            "psnr_gain": quality.psnr_gain(shown, before, truth).mean(),
            "psnr": quality.psnr(shown, truth).clamp(max=100).mean(),
        }
        if self.training:  # ten blurs of every image are for the held-out ones
            return found
        similar, similar_before = quality.ssim(shown, truth), quality.ssim(before, truth)
        return {**found, "ssim_gain": (similar - similar_before).mean(), "ssim": similar.mean()}

    def loss_of_bicubic(self, given: Float[Tensor, "B 3 S S"], truth: Float[Tensor, "B 3 S S"]) -> float:
        """Give the squared error of the bicubic enlargement."""
        return (self.encoder.normalize(given) - truth).square().mean().item()

    def has_joined(self, progress: float) -> bool:
        """Say whether the discriminator plays; in eval mode, whether it did in the last step of training."""
        if self.training:
            self.joined.fill_(progress >= self.adversarial_from)
        return bool(self.joined)

    def unlike(
        self, real: Float[Tensor, "B 3 S S"], fake: Float[Tensor, "B 3 S S"], fake_maps: list[Tensor]
    ) -> Float[Tensor, ""]:
        """Compare the features of real and enlarged images: the discriminator's, or a frozen network's."""
        if self.features is not None:
            with torch.no_grad():
                seen = self.features(self.encoder.denormalize(real))
            return unlikeness(self.features(self.encoder.denormalize(fake)), seen)
        assert self.discriminator is not None
        with torch.no_grad():
            seen = self.discriminator.maps(real, count=len(fake_maps))
        return unlikeness(fake_maps, seen)

    def scale_of(self, content: Float[Tensor, ""], squared: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Give the factor that makes the content loss equal the squared error at the discriminator's first step."""
        if self.training and self.content_scale == 0:
            at_first = processes.average(squared.detach()) / processes.average(content.detach()).clamp_min(1e-12)
            self.content_scale.copy_(at_first)
        return self.content_scale

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw bicubic enlargements, those of the network, and the images that were made small."""
        clean = crops.center(batch.images, self.encoder.image_size)[:8]
        given = self.blurred(clean)
        return {
            "bicubic, enlarged, original": sheets.rows([given, self.encoder.denormalize(self.enlarge(given)), clean])
        }


def _decoder(encoder: Encoder, network: str, factor: int, blocks: int) -> Decoder | SRResNet:
    """Give what makes detail of the last map; in `srgan` the encoder takes the place of the first convolution."""
    if network == "decoder":
        return Decoder(encoder.width, encoder.side, encoder.image_size)
    first = Placed(encoder.width, encoder.side, WIDTH, encoder.image_size // factor)
    return SRResNet(factor, blocks=blocks, first=first)


def _discriminator(network: str, image_size: int) -> Discriminator | SRDiscriminator:
    return SRDiscriminator(image_size) if network == "srgan" else Discriminator(image_size, width=JUDGE_WIDTH)


def _check(factor: int, size: int, blocks: int, weight: float, rate: float) -> None:
    if factor not in (2, 4):
        raise InputError(f"superresolution takes a factor of 2 or 4, got {factor}.")
    if size % factor:
        fitting = size // factor * factor
        raise InputError(f"superresolution needs a side that {factor} divides, got {size}; try --image-size {fitting}.")
    if blocks < 0:
        raise InputError(f"superresolution takes 0 blocks or more, got {blocks}; the paper has 16.")
    if not (0 <= weight < math.inf and 0 < rate < math.inf):
        raise InputError(
            f"adversarial_weight must be 0 or above and discriminator_rate above 0, both finite, got {weight:g} and "
            f"{rate:g}."
        )


def _check_shares(start: float, content: float) -> None:
    if not 0 <= start <= 1:
        raise InputError(f"adversarial_from is a share of training in [0, 1], got {start:g}; 1 leaves it out.")
    if not 0 <= content <= 1:
        raise InputError(f"content_share is a share of the loss in [0, 1], got {content:g}; 0.2 is a good start.")
