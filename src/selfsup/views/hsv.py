"""Changes in HSV and along the principal colours of the data, one decision per image; images are RGB in [0, 1]."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from selfsup.views.precision import full_precision

PEAKS = (5, 3, 1)
"""Sixths of the colour circle added to the hue for red, green and blue (closed form of HSV to RGB)."""

FAINT = 1 / 512
"""Spread between the channels, half a level of 8 bits, below which a pixel has no colour: its hue is rounding."""


class Palette(NamedTuple):
    """Mean colour and principal directions of colour of a data set."""

    mean: Float[Tensor, " 3"]
    directions: Float[Tensor, "3 3"]
    """Columns, of length 1, the weakest first."""


@full_precision
def palette_of(images: Float[Tensor, "B 3 H W"]) -> Palette:
    """Find the principal directions of the colours of all pixels of some images."""
    colours = images.transpose(0, 1).flatten(1).double()  # [3, B*H*W]
    return Palette(colours.mean(1).to(images), torch.linalg.eigh(torch.cov(colours)).eigenvectors.to(images))


@full_precision
def stretch(
    images: Float[Tensor, "B 3 H W"], palette: Palette, factors: Float[Tensor, "B 3"]
) -> Float[Tensor, "B 3 H W"]:
    """Multiply what each pixel has along each principal direction, clipped to [0, 1].

    Args:
        images: in [0, 1].
        palette: of the data set.
        factors: for each direction in the order of the palette; 1 changes nothing.
    """
    mean, directions = palette.mean.to(images).view(3, 1), palette.directions.to(images)
    mix = (directions * factors.to(images.dtype)[:, None]) @ directions.T  # [B, 3, 3]
    return (mix @ (images.flatten(2) - mean) + mean).clamp_(0, 1).view_as(images)


@full_precision
def change(
    images: Float[Tensor, "B 3 H W"],
    powers: Float[Tensor, "B 2"],
    factors: Float[Tensor, "B 2"],
    sums: Float[Tensor, "B 2"],
    hues: Float[Tensor, " B"],
) -> Float[Tensor, "B 3 H W"]:
    """Raise saturation and value to a power, multiply them, add to them, clip them to [0, 1]; add to the hue.

    Args:
        images: in [0, 1].
        powers: of saturation and value; 1 changes nothing.
        factors: of saturation and value, after the power; 1 changes nothing.
        sums: added to saturation and value, after the factor; 0 changes nothing.
        hues: added to the hue in turns of the colour circle, any number.

    Pixels without a colour stay gray: saturation added to them would be red, for want of a hue.
    """
    hue, saturation, value = to_hsv(images).unbind(1)  # [B, H, W]
    powers, factors, sums = (given.to(images.dtype)[:, :, None, None] for given in (powers, factors, sums))
    gray = saturation * value < FAINT
    saturation = (saturation ** powers[:, 0] * factors[:, 0] + sums[:, 0]).clamp_(0, 1).masked_fill_(gray, 0)
    value = (value ** powers[:, 1] * factors[:, 1] + sums[:, 1]).clamp_(0, 1)
    hue = hue + hues.to(images.dtype)[:, None, None]
    return to_rgb(torch.stack([hue, saturation, value], dim=1))


@full_precision
def to_hsv(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Give hue in [0, 1) (0 for gray), saturation and value in [0, 1]."""
    red, green, blue = images.unbind(1)
    high, low = images.amax(1), images.amin(1)
    spread = high - low
    scale = 1 / spread.clamp(min=torch.finfo(images.dtype).tiny)
    from_blue = torch.where(green == high, 2 + (blue - red) * scale, 4 + (red - green) * scale)
    hue = torch.where(red == high, (green - blue) * scale, from_blue) / 6
    saturation = spread / high.clamp(min=torch.finfo(images.dtype).tiny)
    return torch.stack([hue % 1, saturation, high], dim=1)


@full_precision
def to_rgb(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Turn hue (any number of turns), saturation and value in [0, 1] into red, green and blue."""
    hue, saturation, value = images.unsqueeze(2).unbind(1)  # [B, 1, H, W]
    place = (hue * 6 + images.new_tensor(PEAKS).view(3, 1, 1)) % 6  # [B, 3, H, W]
    return value - value * saturation * torch.minimum(place, 4 - place).clamp_(0, 1)
