"""Families of copies: every image moved, scaled, turned and recoloured, again and again, as for Exemplar-CNN."""

from functools import partial
from typing import NamedTuple

from jaxtyping import Float, Shaped
from torch import Tensor

from selfsup import draws
from selfsup.views import hsv
from selfsup.views.pieces import in_pieces
from selfsup.views.precision import full_precision
from selfsup.views.windows import window


class Ranges(NamedTuple):
    """How far a copy may differ from its image. Factors are drawn from 1/f to f, uniform in their logarithm."""

    shift: float
    """Largest move along each axis in shares of the copy's side."""
    scale: float
    """Largest factor of the scale of things."""
    rotation: float
    """Largest turn to either side in degrees."""
    contrast: float
    """Largest factor along each principal colour."""
    power: float
    """Largest power of saturation and value."""
    factor: float
    """Largest factor of saturation and value."""
    addition: float
    """Largest sum added to or taken from saturation and value."""
    hue: float
    """Largest shift of the hue to either side in turns of the colour circle."""


class Changes(NamedTuple):
    """What is done to each image, in this order."""

    shifts: Float[Tensor, "B 2"]
    scales: Float[Tensor, " B"]
    angles_degrees: Float[Tensor, " B"]
    contrasts: Float[Tensor, "B 3"]
    powers: Float[Tensor, "B 2"]
    factors: Float[Tensor, "B 2"]
    sums: Float[Tensor, "B 2"]
    hues: Float[Tensor, " B"]


@full_precision
def family(
    images: Float[Tensor, "B 3 S S"], copies: int, size: int, palette: hsv.Palette, ranges: Ranges
) -> Float[Tensor, "{copies}*B 3 {size} {size}"]:
    """Make copies of each image, which stand together: rows i * copies to (i + 1) * copies show image i.

    Args:
        images: in [0, 1], of a side of `size` or above; the unchanged copy is the middle.
        copies: of each image.
        size: side of a copy.
        palette: principal colours of the data set.
        ranges: of the changes.
    """
    changes = random_changes(images.new_empty(len(images) * copies, 0), ranges)
    return in_pieces(partial(changed, size=size, palette=palette), images, *changes, values=3 * size**2)


def random_changes(like: Shaped[Tensor, "B *rest"], ranges: Ranges) -> Changes:
    """Draw changes for each row of `like`."""

    def factors(most: float, *shape: int) -> Tensor:
        # powers of float32 differ in the last bit by where a number stands in memory, so by the number of processes
        return (most ** draws.uniform(like, *shape, low=-1.0, high=1.0).double()).float()

    def sums(most: float, *shape: int) -> Tensor:
        return draws.uniform(like, *shape, low=-most, high=most)

    return Changes(
        shifts=sums(ranges.shift, 2),
        scales=factors(ranges.scale),
        angles_degrees=sums(ranges.rotation),
        contrasts=factors(ranges.contrast, 3),
        powers=factors(ranges.power, 2),
        factors=factors(ranges.factor, 2),
        sums=sums(ranges.addition, 2),
        hues=sums(ranges.hue),
    )


@full_precision
def changed(
    images: Float[Tensor, "B 3 S S"],
    shifts: Float[Tensor, "B 2"],
    scales: Float[Tensor, " B"],
    angles_degrees: Float[Tensor, " B"],
    contrasts: Float[Tensor, "B 3"],
    powers: Float[Tensor, "B 2"],
    factors: Float[Tensor, "B 2"],
    sums: Float[Tensor, "B 2"],
    hues: Float[Tensor, " B"],
    *,
    size: int,
    palette: hsv.Palette,
) -> Float[Tensor, "B 3 {size} {size}"]:
    """Apply `Changes` to each image: geometry first, then the principal colours, then hue, saturation and value."""
    moved = window(images, shifts, scales, angles_degrees, size)
    return hsv.change(hsv.stretch(moved, palette, contrasts), powers, factors, sums, hues)
