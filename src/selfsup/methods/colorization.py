"""Colorization: say which colours a picture had, from its lightness alone."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from selfsup.errors import InputError
from selfsup.method import Batch, DataFacts, Method, Objective
from selfsup.networks.dense import DenseHead
from selfsup.networks.encoders import Encoder, behind_last_map
from selfsup.recipe import Recipe
from selfsup.views import bins, crops, lab, sheets
from selfsup.views.precision import in_full
from selfsup.views.quality import pooled_gain

SPREAD = 15.0
"""Unit of a and b in the squared error: about their deviation in photographs (code: 110)."""
LOOKED_AT = 8_000_000
"""Pixels of the training images among which colours are taken for bins, prior and mean..."""
COUNTED = 200_000
"""... and how many of these colours are."""


class Colorization(Method):
    """Predict a and b of CIE Lab at every place of a coarse grid from the lightness of an image.

    Args:
        encoder: network to train; it sees lightness.
        loss: `squared` error of a and b; `classes`, the cross-entropy of soft codes over bins of a and b;
            `rebalanced`, the same with rare colours weighing more.
        grid: which bins there are: those near colours of the `images`, or all of the `gamut` of sRGB as in the paper.
        bin_step: distance of neighbouring bins in a and b. None: 10 as in the paper from 64 pixels on, 20 below.
        neighbours: nearest bins that share a colour, with a Gaussian of half the distance of bins (paper: 5; code: 10).
        mixing: share of the uniform distribution in the rarity of a colour; 1 weighs all colours alike.
        temperature: of the annealed mean that turns distributions into the colours of the pictures.
        label_stride: side in pixels of a cell of the grid.
        flip: mirror half of the images.

    Source: Zhang, Isola and Efros, 2016, https://arxiv.org/abs/1603.08511
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
    headline_chance: ClassVar[float | None] = 0.0  # the mean colour of the images everywhere
    sees: ClassVar[str] = "lightness"

    bins: Tensor
    """[Q, 2], a and b of each bin."""
    near: Tensor
    """[A, A, M] int64, candidates for the nearest bins of each square of the plane."""
    stand_in: Tensor
    """[Q] int64: each bin itself, or the one that takes its colours where the images have none of its own."""
    prior: Tensor
    """[Q], share of the images' colours that are nearest to each bin."""
    weights: Tensor
    """[Q], of the loss by the nearest bin."""
    mean_colour: Tensor
    """[2], mean a and b of the images."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        loss: Literal["squared", "classes", "rebalanced"] = "rebalanced",
        grid: Literal["images", "gamut"] = "images",
        bin_step: float | None = None,
        neighbours: int = 5,
        mixing: float = 0.5,
        temperature: float = 0.38,
        label_stride: int = 4,
        flip: bool = True,
    ) -> None:
        super().__init__()
        size = encoder.image_size
        self.step = float((10 if size >= 64 else 20) if bin_step is None else bin_step)
        _check(encoder, self.step, neighbours, mixing, temperature, label_stride)
        self.encoder = encoder
        self.register_buffer("bins", bins.in_gamut(self.step).clone())
        self.register_buffer("near", bins.candidates(self.step, neighbours).clone(), persistent=False)
        count = len(self.bins)
        self.register_buffer("stand_in", torch.arange(count))
        self.register_buffer("prior", torch.full((count,), 1 / count))
        self.register_buffer("weights", torch.ones(count))
        self.register_buffer("mean_colour", torch.zeros(2))
        behind = encoder.vector_width if behind_last_map(encoder) else 0
        cells = len(range(label_stride // 2, size, label_stride))
        out = 2 if loss == "squared" else count
        self.head = DenseHead(encoder.width, encoder.side, cells, out, behind)
        self.loss, self.grid, self.neighbours, self.mixing = loss, grid, neighbours, mixing
        self.temperature, self.label_stride, self.flip = temperature, label_stride, flip
        self.chance: float | None = None

    @torch.no_grad()
    def start(self, data: DataFacts) -> None:
        """Take bins, prior and mean colour from the images, and the loss of a guess that does not look at them."""
        images = data.sample(max(64, LOOKED_AT // data.image_size**2))
        colours, coloured = self.labels(crops.center(images, data.image_size))
        if not coloured.any():
            raise InputError("The images are gray, so there is no colour to predict; use another method.")
        flat = colours[coloured].movedim(1, -1).flatten(0, 2)
        flat = flat[:: max(1, len(flat) // COUNTED)]  # [N, 2]
        self.mean_colour.copy_(flat.mean(0))
        nearest = bins.soft_codes(flat, self.bins, self.near, self.step, 1, self.step / 2)[0].flatten()
        self.prior.copy_(nearest.bincount(minlength=len(self.bins)) / len(nearest))
        if self.grid == "images":
            apart = torch.cdist(self.bins.double(), self.bins.double()).masked_fill_(self.prior == 0, math.inf)
            self.stand_in.copy_(apart.argmin(1))
        if self.loss == "rebalanced":
            open_bins = self.stand_in == torch.arange(len(self.bins), device=self.bins.device)
            share = bins.smoothed(self.prior, self.bins, self.step / 2)[open_bins]
            self.weights[open_bins] = bins.rarity(share / share.sum(), self.mixing)
        self.chance = coloured.double().mean().item() * self._blind(flat)

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the error of the colours; images without any weigh nothing."""
        # no black border: it would say where in the image a crop was taken
        views = crops.random_crop(batch.images, self.encoder.image_size, pad=0, flip=self.flip)
        colours, coloured = self.labels(views)
        output = self.predict(views)
        if self.loss == "squared":
            errors, metrics = (output - colours / SPREAD).square().sum(1) / 2, {}
            predicted = output.detach() * SPREAD
        else:
            index, shares = self.codes(colours)  # [B, k, h, w]
            chances = output.log_softmax(1)
            errors = -(shares * chances.gather(1, index)).sum(1)
            metrics = {"accuracy": _mean((output.argmax(1) == index[:, 0]).to(output.dtype), coloured)}
            errors = errors * self.weights[index[:, 0]]
            # rare colours are said too often by design; taken out again, the mean is the nearest guess
            predicted = bins.decoded(chances.detach() - self.weights.log().view(1, -1, 1, 1), self.bins, 1.0)
        mean = self.mean_colour.to(colours).view(1, 2, 1, 1)
        gain = pooled_gain(predicted, mean, colours, coloured.to(colours.dtype))
        yield Objective(_mean(errors, coloured), metrics={"psnr_gain": gain, **metrics}, chance=self.chance)

    def labels(self, images: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B 2 h w"], Bool[Tensor, " B"]]:
        """Give a and b in the middle of each cell, and which images have colour at all."""
        first = self.label_stride // 2
        colours = lab.from_rgb(images[..., first :: self.label_stride, first :: self.label_stride])[:, 1:]
        return colours, (colours.abs() > lab.GRAY).flatten(1).any(1)

    def codes(self, colours: Float[Tensor, "B 2 h w"]) -> tuple[Tensor, Float[Tensor, "B k h w"]]:
        """Give the bins that share each colour, the nearest first, and their shares; a bin may come twice."""
        flat = colours.movedim(1, -1).flatten(0, 2)
        index, shares = bins.soft_codes(flat, self.bins, self.near, self.step, self.neighbours, self.step / 2)
        grid = (len(colours), *colours.shape[2:])
        return self.stand_in[index].unflatten(0, grid).movedim(-1, 1), shares.unflatten(0, grid).movedim(-1, 1)

    def predict(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B K h w"]:
        """Give a and b in units of `SPREAD`, or logits of the bins; closed bins have -inf."""
        output: Tensor = self.head(*self.encoder.map_and_vector(images))
        output = in_full(output).contiguous()
        if self.loss == "squared":
            return output
        closed = self.stand_in != torch.arange(len(self.bins), device=self.bins.device)
        return output.masked_fill(closed.view(1, -1, 1, 1), -math.inf)

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw lightness, the colours predicted from it at three temperatures, and the images themselves."""
        images = crops.center(batch.images, self.encoder.image_size)[:8]
        light = lab.lightness(images)
        output = self.predict(images)
        if self.loss == "squared":
            title, found = "lightness, coloured, original", [output * SPREAD]
        else:
            warmth = (1.0, self.temperature, 0.0)
            title = f"lightness, coloured at temperatures 1 and {self.temperature:g} and 0, original"
            found = [bins.decoded(output, self.bins, one) for one in warmth]
        rows = [torch.zeros_like(images[:, :2]), *(enlarged(colours, images.shape[-1]) for colours in found)]
        drawn = [lab.to_rgb(torch.cat([light, colours.to(light)], dim=1)) for colours in rows]
        return {title: sheets.rows([*drawn, images])}

    def _blind(self, flat: Float[Tensor, "N 2"]) -> float:
        """Give the least loss that one answer for all pixels reaches on these colours."""
        if self.loss == "squared":
            return float(flat.double().var(0, correction=0).sum() / SPREAD**2 / 2)
        index, shares = self.codes(flat.T[None, :, :, None])
        weighed = (shares * self.weights[index[:, :1]]).double()
        total = torch.zeros(len(self.bins), dtype=torch.float64, device=flat.device)
        total.index_add_(0, index.flatten(), weighed.flatten()).div_(len(flat))  # [Q], of the best answer
        return float(-torch.xlogy(total, total / total.sum()).sum())


def enlarged(colours: Float[Tensor, "B C h w"], side: int) -> Float[Tensor, "B C {side} {side}"]:
    """Resize a grid of colours to the side of an image, smoothly."""
    return F.interpolate(colours, (side, side), mode="bilinear")


def _mean(values: Float[Tensor, "B h w"], chosen: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
    """Average over all images, of which those that are not chosen count as 0."""
    return (values.mean((1, 2)) * chosen.to(values.dtype)).mean()


def _check(
    encoder: Encoder, step: float, neighbours: int, mixing: float, temperature: float, label_stride: int
) -> None:
    if encoder.sees != "lightness":
        raise InputError(
            f"Colorization would see the colours it has to predict: its encoder sees lightness, got one that sees "
            f"{encoder.sees}; build it with sees='lightness'."
        )
    if not 4 <= step <= 40:
        raise InputError(f"bin_step is a distance in a and b of 4 to 40, got {step:g}; 10 gives 313 bins.")
    if not 1 <= neighbours <= 20:
        raise InputError(f"A colour is shared by 1 to 20 neighbours, got {neighbours}.")
    if not 0 <= mixing <= 1:
        raise InputError(f"mixing is a share in [0, 1], got {mixing}; 0.5 as in the paper is a good start.")
    if not 0 <= temperature <= 1:
        raise InputError(f"temperature is 0 (the likeliest colour) to 1 (the mean colour), got {temperature}.")
    if not 1 <= label_stride <= encoder.image_size // 4:
        raise InputError(
            f"label_stride is 1 to {encoder.image_size // 4} pixels for images of {encoder.image_size}, "
            f"got {label_stride}."
        )
