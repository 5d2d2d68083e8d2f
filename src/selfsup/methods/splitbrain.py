"""Split-brain autoencoder: half a network says the colours from the lightness, the other the lightness from them."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts, Method, Objective
from selfsup.networks.dense import DenseHead
from selfsup.networks.encoders import Encoder, behind_last_map
from selfsup.networks.names import BUILT_IN
from selfsup.recipe import Recipe
from selfsup.views import bins, crops, lab, sheets
from selfsup.views.precision import in_full
from selfsup.views.quality import pooled_gain

UNITS = (25.0, 15.0, 15.0)
"""Of L, a and b in the squared error: about their deviations in photographs."""
LOOKED_AT = 8_000_000
"""Pixels of the training images from which the mean and the frequencies of colours are taken."""


class SplitBrain(Method):
    """Predict a and b of CIE Lab from L in one half of the encoder, and L from a and b in the other.

    Args:
        encoder: network to train; two halves without any connection.
        loss: `classes`, the cross-entropy of bins of (a, b) and of L, or `squared` error.
        bin_step: distance of neighbouring bins in a and b. None: 10 as in the paper from 64 pixels on, 20 below.
        lightness_bins: bins of L between 0 and 100, of equal width.
        label_stride: side in pixels of a cell of the grid on which both are predicted. None: a sixteenth of the
            image, rounded down, from 64 pixels on, 2 below.
        flip: mirror half of the images.

    Source: Zhang, Isola and Efros, 2017, https://arxiv.org/abs/1611.09842
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="adam",
        lr=3e-3,
        momentum=0.9,
        weight_decay=0.0,
        schedule="cosine",
        batch_size=128,
        epochs=100.0,
    )
    headline: ClassVar[str] = "psnr_gain"
    headline_chance: ClassVar[float | None] = 0.0  # the mean of the images everywhere
    sees: ClassVar[str] = "halves"

    bins: Tensor
    """[Q, 2], a and b of each bin."""
    near: Tensor
    """[A, A, M] int64, candidates for the nearest bin of each square of the plane."""
    mean: Tensor
    """[3], mean L, a and b of the images."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        loss: Literal["classes", "squared"] = "classes",
        bin_step: float | None = None,
        lightness_bins: int = 50,
        label_stride: int | None = None,
        flip: bool = True,
    ) -> None:
        super().__init__()
        size = encoder.image_size
        self.step = float((10 if size >= 64 else 20) if bin_step is None else bin_step)
        self.label_stride = (size // 16 if size >= 64 else 2) if label_stride is None else label_stride
        _check(encoder, self.step, lightness_bins, self.label_stride)
        self.encoder = encoder
        if encoder.name not in BUILT_IN:
            self.remarks = (
                f"Split-brain trains two whole networks {encoder.name}, one for each half: twice the weights and "
                "features of the other tasks.",
            )
        self.register_buffer("bins", bins.in_gamut(self.step).clone())
        self.register_buffer("near", bins.candidates(self.step, 1).clone(), persistent=False)
        self.register_buffer("mean", torch.zeros(3))
        behind = encoder.vector_width // 2 if behind_last_map(encoder) else 0
        cells = size // self.label_stride
        outs = (2, 1) if loss == "squared" else (len(self.bins), lightness_bins)
        heads = [DenseHead(encoder.width // 2, encoder.side, cells, out, behind) for out in outs]
        self.to_colour, self.to_lightness = heads
        self.loss, self.lightness_bins, self.flip = loss, lightness_bins, flip
        self.chance: float | None = None

    @torch.no_grad()
    def start(self, data: DataFacts) -> None:
        """Take the mean of the images, and the loss of a guess that does not look at them."""
        images = data.sample(max(64, LOOKED_AT // data.image_size**2))
        truth = self.labels(crops.center(images, data.image_size))
        if not (truth[:, 1:].abs() > lab.GRAY).any():
            raise InputError("The images are gray, so there is no colour to predict; use another method.")
        flat = truth.double().transpose(0, 1).flatten(1)  # [3, N]
        self.mean.copy_(flat.mean(1))
        if self.loss == "squared":
            self.chance = float((flat.var(1, correction=0) / flat.new_tensor(UNITS).square()).sum() / 2)
        else:
            self.chance = sum(_entropy(index) for index in self.classes(truth))

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the sum of what both halves get wrong."""
        # no black border: it would say where in the image a crop was taken
        views = crops.random_crop(batch.images, self.encoder.image_size, pad=0, flip=self.flip)
        truth = self.labels(views)
        to_colour, to_lightness = self.predict(views)
        if self.loss == "squared":
            errors = (torch.cat([to_lightness, to_colour], dim=1) - truth / _units(truth)).square() / 2
            loss = errors.sum(1).mean()
        else:
            colour, light = self.classes(truth)
            loss = F.cross_entropy(to_colour, colour) + F.cross_entropy(to_lightness, light)
        light, colours = self.decoded(to_colour.detach(), to_lightness.detach())
        mean = self.mean.to(truth).view(1, 3, 1, 1)
        gains = {
            "colour_gain": pooled_gain(colours, mean[:, 1:], truth[:, 1:]),
            "lightness_gain": pooled_gain(light, mean[:, :1], truth[:, :1]),
        }
        gain = (gains["colour_gain"] + gains["lightness_gain"]) / 2
        yield Objective(loss, metrics={"psnr_gain": gain, **gains}, chance=self.chance)

    def labels(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 h w"]:
        """Give mean L, a and b of each cell."""
        return F.avg_pool2d(lab.from_rgb(images), self.label_stride)

    def classes(self, truth: Float[Tensor, "B 3 h w"]) -> tuple[Int[Tensor, "B h w"], Int[Tensor, "B h w"]]:
        """Give the bin of (a, b) and the bin of L of each cell."""
        light, colours = truth[:, 0], truth[:, 1:].movedim(1, -1)
        index, _ = bins.soft_codes(colours.flatten(0, 2), self.bins, self.near, self.step, 1, self.step / 2)
        level = (light * (self.lightness_bins / 100)).long().clamp_(0, self.lightness_bins - 1)
        return index.view(light.shape), level

    def predict(self, images: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B Q h w"], Float[Tensor, "B K h w"]]:
        """Give what the half of lightness says of (a, b), then what that of colour says of L: values or logits."""
        maps, vectors = (given.chunk(2, dim=1) for given in self.encoder.map_and_vector(images))
        outputs = (self.to_colour(maps[0], vectors[0]), self.to_lightness(maps[1], vectors[1]))
        first, second = (in_full(x).contiguous() for x in outputs)
        return first, second

    def decoded(
        self, to_colour: Float[Tensor, "B Q h w"], to_lightness: Float[Tensor, "B K h w"]
    ) -> tuple[Float[Tensor, "B 1 h w"], Float[Tensor, "B 2 h w"]]:
        """Give the mean L and the mean a and b that are predicted."""
        if self.loss == "squared":
            return to_lightness * UNITS[0], to_colour * UNITS[1]
        width = 100 / self.lightness_bins
        levels = (torch.arange(self.lightness_bins, device=to_lightness.device) + 0.5).mul_(width)[:, None]
        return bins.decoded(to_lightness, levels, 1.0), bins.decoded(to_colour, self.bins, 1.0)

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw what each half sees and predicts, and the images themselves."""
        images = crops.center(batch.images, self.encoder.image_size)[:8]
        truth = lab.from_rgb(images)
        light, colours = truth.split([1, 2], dim=1)
        said = self.decoded(*self.predict(images))
        guessed, coloured = (F.interpolate(one, images.shape[2:], mode="bilinear").to(truth) for one in said)
        medium, gray = torch.full_like(light, 60.0), torch.zeros_like(colours)
        pairs = [(light, gray), (light, coloured), (medium, colours), (guessed, gray)]
        drawn = [lab.to_rgb(torch.cat(pair, dim=1)) for pair in pairs]
        title = "lightness, the colours said from it, colours, the lightness said from them, original"
        return {title: sheets.rows([*drawn, images])}


def _units(like: Tensor) -> Float[Tensor, "3 1 1"]:
    return like.new_tensor(UNITS).view(3, 1, 1)


def _entropy(index: Int[Tensor, "B h w"]) -> float:
    """Give the cross-entropy of always answering with how often each class comes."""
    share = index.flatten().bincount().double() / index.numel()
    return float(-torch.xlogy(share, share).sum())


def _check(encoder: Encoder, step: float, lightness_bins: int, label_stride: int) -> None:
    if encoder.sees != "halves":
        raise InputError(
            f"Split-brain needs an encoder in two halves, got one that sees {encoder.sees}; build it with "
            "sees='halves'."
        )
    if not 4 <= step <= 40:
        raise InputError(f"bin_step is a distance in a and b of 4 to 40, got {step:g}; 10 gives 313 bins.")
    if not 2 <= lightness_bins <= 1000:
        raise InputError(f"lightness_bins is a number from 2 to 1000, got {lightness_bins}.")
    if not 1 <= label_stride <= encoder.image_size // 4:
        raise InputError(
            f"label_stride is 1 to {encoder.image_size // 4} pixels for images of {encoder.image_size}, "
            f"got {label_stride}."
        )
