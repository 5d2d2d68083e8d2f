"""Auto-encoding transformations (AET): say how an image was warped, from the image before and after."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from selfsup import draws
from selfsup.errors import InputError
from selfsup.method import Batch, Method, Objective
from selfsup.networks.encoders import Encoder
from selfsup.networks.pairs import PairDecoder
from selfsup.recipe import Recipe
from selfsup.views import crops, homographies, sheets, warps
from selfsup.views.pieces import in_pieces
from selfsup.views.precision import in_full

GRAY = 128 / 255
"""Colour of what lies outside the image, as in the released code."""

SAMPLES = 1 << 13
"""Transformations from which spreads are computed: quasi-random, so they are the same everywhere and good to 0.1 %."""

RELEASED = {
    32: ((0, 0, 16, 0, 0, 16, 0, 0), (1, 1, 20, 1, 1, 20, 0.015, 0.015)),
    224: ((0, 0, 112, 0, 0, 112, 6.4e-5, 6.4e-5), (0.75, 0.75, 118, 0.75, 0.75, 118, 7.75e-4, 7.75e-4)),
}
"""Mean and deviation by which the released code standardizes pixel coefficients, by side."""


class AET(Method):
    """Estimate the transformation between an image and its warped copy.

    Args:
        encoder: network to train; it sees both images.
        transform: `projective` (the corners are moved) or `affine` (turn, shift, scale and shear).
        target: what is estimated: `matrix` (the paper's loss), `parameters` (standardized as in the released code)
            or `corners` (where the corners of the image went).
        border: what is seen outside the image: `gray` as in the paper, or the `mirror` image, which tells less.
        hidden: width of a hidden layer in the decoder, which can then compare the two images; 0: a linear decoder.
        flip: mirror half of the images, before they are warped.

    Source: Zhang, Qi, Wang and Luo, 2019, https://arxiv.org/abs/1901.04596
    """

    recipe: ClassVar[Recipe] = Recipe(
        optimizer="adam",  # paper: SGD at 0.1, which throws a squared error on wide vectors far off at first
        lr=1e-3,
        momentum=0.9,
        weight_decay=0.0,
        schedule="cosine",
        batch_size=512,
        epochs=200.0,
    )
    headline: ClassVar[str] = "r2"
    headline_chance: ClassVar[float | None] = 0.0  # the best constant

    spread: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        transform: Literal["projective", "affine"] = "projective",
        target: Literal["matrix", "parameters", "corners"] = "matrix",
        border: Literal["gray", "mirror"] = "gray",
        hidden: int = 0,
        flip: bool = True,
    ) -> None:
        super().__init__()
        if hidden < 0:
            raise InputError(f"hidden is a width, got {hidden}; use 0 for a linear decoder or 256 for a hidden layer.")
        self.encoder = encoder
        self.family = homographies.FAMILIES[transform]
        self.code = codes(encoder.image_size)[transform, target]
        self.weight = 0.5 if target == "matrix" else 1 / self.code.numbers
        self.outside = GRAY if border == "gray" else None
        self.flip = flip
        self.decoder = PairDecoder(encoder.vector_width, self.code.numbers, hidden)
        spread = self.code.write(spaced(self.family, encoder.image_size)).var(0, correction=0)
        self.chance = self.weight * spread.sum().item()
        self.register_buffer("spread", spread.float(), persistent=False)

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield the error of the estimated transformations."""
        images = crops.random_crop(batch.images, self.encoder.image_size, flip=self.flip)
        matrices, transformed = self.transform(images)
        errors = (self.estimate(images, transformed) - self.code.write(matrices)).square().mean(0)  # [P]
        yield Objective(errors.sum() * self.weight, metrics=self.explained(errors.detach()), chance=self.chance)

    def transform(self, images: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, "B 3 3"], Float[Tensor, "B 3 S S"]]:
        """Draw a transformation for each image; give the maps from result to image, and the results."""
        uniform = draws.uniform(images, self.family.numbers).to(images.dtype)
        matrices = self.family.pick(uniform, images.shape[-1])
        return matrices, self.warp(images, matrices)

    def warp(self, images: Float[Tensor, "B 3 S S"], matrices: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3 S S"]:
        """Show in each point of the result the point of the image to which its map takes it."""
        return in_pieces(partial(warps.project, outside=self.outside), images, matrices, values=images[0].numel())

    def estimate(self, images: Float[Tensor, "B 3 S S"], transformed: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B P"]:
        """Estimate the target from both images, each set in a pass of its own with its own batch statistics."""
        numbers = self.decoder(self.encoder.vector(images), self.encoder.vector(transformed))
        return in_full(numbers)

    def explained(self, errors: Float[Tensor, " P"]) -> dict[str, Tensor]:
        """Give the shares of the target's variance that are explained, over all and over each group of its numbers."""
        groups = {"r2": range(len(errors)), **self.code.groups}
        return {name: 1 - errors[list(own)].sum() / self.spread[list(own)].sum() for name, own in groups.items()}

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw images, transformed ones, and those with the estimated and with the true transformation undone."""
        images = crops.center(batch.images, self.encoder.image_size)[:8]
        matrices, transformed = self.transform(images)
        estimated = self.code.read(self.estimate(images, transformed))
        undone = [self.warp(transformed, homographies.inverse(maps)) for maps in (estimated, matrices)]
        title = "image, transformed, undone as estimated, undone as it was"
        return {title: sheets.rows([images, transformed, *undone])}


class Code(NamedTuple):
    """A way to write transformations as numbers."""

    numbers: int
    write: Callable[[Float[Tensor, "B 3 3"]], Float[Tensor, "B P"]]
    read: Callable[[Float[Tensor, "B P"]], Float[Tensor, "B 3 3"]]
    groups: dict[str, tuple[int, ...]]
    """Numbers that belong together: metric -> their places."""


def codes(side: int) -> dict[tuple[str, str], Code]:
    """Give the code of each transformation and target, for images of this side in pixels."""
    eight = {"r2_linear": (0, 1, 3, 4), "r2_shift": (2, 5), "r2_perspective": (6, 7)}
    six = {"r2_linear": (0, 1, 3, 4), "r2_shift": (2, 5)}
    named = {"r2_turn": (0, 1), "r2_shift": (2, 3), "r2_scale": (4,), "r2_shear": (5,)}
    mean, deviation = standards(side)
    corners = Code(8, corner_places, from_corner_places, {})
    return {
        ("projective", "matrix"): Code(8, partial(entries, count=8), from_entries, eight),
        ("affine", "matrix"): Code(6, partial(entries, count=6), from_entries, six),
        ("projective", "parameters"): Code(
            8,
            partial(coefficients, side=side, mean=mean, deviation=deviation),
            partial(from_coefficients, side=side, mean=mean, deviation=deviation),
            eight,
        ),
        ("affine", "parameters"): Code(6, affine_parameters, from_affine_parameters, named),
        ("projective", "corners"): corners,
        ("affine", "corners"): corners,
    }


def entries(matrices: Float[Tensor, "B 3 3"], count: int) -> Float[Tensor, "B {count}"]:
    """Give the first entries, row by row; the others are the same for all."""
    return matrices.flatten(1)[:, :count]


def from_entries(numbers: Float[Tensor, "B P"]) -> Float[Tensor, "B 3 3"]:
    """Undo `entries`."""
    rest = numbers.new_tensor([0.0, 0.0, 1.0])[numbers.shape[1] - 6 :]
    return torch.cat([numbers, rest.expand(len(numbers), -1)], dim=1).view(-1, 3, 3)


def coefficients(
    matrices: Float[Tensor, "B 3 3"], side: int, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> Float[Tensor, "B 8"]:
    """Give the standardized coefficients of the maps in pixels."""
    raw = homographies.in_pixels(matrices, side).flatten(1)[:, :8]
    return (raw - raw.new_tensor(mean)) / raw.new_tensor(deviation)


def from_coefficients(
    numbers: Float[Tensor, "B 8"], side: int, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> Float[Tensor, "B 3 3"]:
    """Undo `coefficients`."""
    raw = numbers * numbers.new_tensor(deviation) + numbers.new_tensor(mean)
    return homographies.from_pixels(from_entries(raw), side)


def standards(side: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give mean and deviation of the pixel coefficients: the released ones, computed where there are none."""
    return RELEASED[side] if side in RELEASED else computed_standards(side)


def computed_standards(side: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and deviation of the pixel coefficients of the projective transformations."""
    matrices = spaced(homographies.FAMILIES["projective"], side)
    raw = homographies.in_pixels(matrices, side).flatten(1)[:, :8]
    return tuple(raw.mean(0).tolist()), tuple(raw.std(0, correction=0).tolist())


def affine_parameters(matrices: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 6"]:
    """Give cosine and sine of the angle, shift right and down, scale and shear, the last four from -1 to 1."""
    forward = homographies.inverse(matrices)
    across, down, shift = forward[:, :2].unbind(2)  # where the axes and the middle of the picture go, [B, 2] each
    scale = across.norm(dim=1, keepdim=True)
    turn = across / scale
    shear = torch.atan2(-(down * turn).sum(1), down[:, 1] * turn[:, 0] - down[:, 0] * turn[:, 1])
    middle, reach = (homographies.GROW + homographies.SHRINK) / 2, (homographies.GROW - homographies.SHRINK) / 2
    rest = [shift / (2 * homographies.SHIFT), (scale - middle) / reach, shear.rad2deg()[:, None] / homographies.SHEAR]
    return torch.cat([turn, *rest], dim=1)


def from_affine_parameters(numbers: Float[Tensor, "B 6"]) -> Float[Tensor, "B 3 3"]:
    """Undo `affine_parameters`; cosine and sine need not fit together."""
    cosine, sine, right, down, scale, shear = numbers.unbind(1)
    middle, reach = (homographies.GROW + homographies.SHRINK) / 2, (homographies.GROW - homographies.SHRINK) / 2
    shifts = torch.stack([right, down], dim=1) * (2 * homographies.SHIFT)
    angles = torch.atan2(sine, cosine).rad2deg()
    return homographies.affine(angles, shifts, scale * reach + middle, shear * homographies.SHEAR)


def corner_places(matrices: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 8"]:
    """Give where the image's corners went in the transformed one: x and y of each, in half sides from the middle."""
    return homographies.corners_of(homographies.inverse(matrices)).flatten(1)


def from_corner_places(numbers: Float[Tensor, "B 8"]) -> Float[Tensor, "B 3 3"]:
    """Undo `corner_places`."""
    return homographies.inverse(homographies.onto(numbers.view(-1, 4, 2)))


def spaced(family: homographies.Family, side: int) -> Float[Tensor, "N 3 3"]:
    """Give transformations spaced evenly over a family, in float64."""
    engine = torch.quasirandom.SobolEngine(family.numbers)
    return family.pick(engine.draw(SAMPLES, dtype=torch.float64), side)
