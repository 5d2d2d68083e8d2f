"""CIE Lab (D65): lightness L in 0..100; colour a (green to red) and b (blue to yellow) in -110..110, 0 for gray."""

import torch
from jaxtyping import Float
from torch import Tensor

from selfsup.views.precision import full_precision

TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""From linear red, green and blue (sRGB primaries)."""
WHITE = (0.95047, 1.0, 1.08883)
"""XYZ of daylight of 6500 K."""
GRAY = 5.0
"""Where neither a nor b exceeds this in any of the pixels or cells that are asked about, an image counts as gray."""
KNEE = 0.008856
"""Share of white below which lightness grows in proportion instead of with the cube root."""


@full_precision
def from_rgb(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Turn sRGB in [0, 1] into L, a and b."""
    x, y, z = _compressed(_across(_matrix(images), _linear(images))).split(1, dim=1)
    return torch.cat([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


@full_precision
def lightness(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Give L alone of sRGB images in [0, 1]."""
    return 116 * _compressed(_across(_matrix(images)[1:2], _linear(images))) - 16


@full_precision
def to_rgb(lab: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Turn L, a and b into sRGB; what lies outside its gamut is clipped to [0, 1]."""
    light, a, b = lab.split(1, dim=1)
    y = (light + 16) / 116
    roots = torch.cat([y + a / 500, y, y - b / 200], dim=1)
    knee = KNEE ** (1 / 3)
    shares = torch.where(roots > knee, roots.clamp(min=knee) ** 3, ((roots - 16 / 116) / 7.787).clamp(min=0))
    linear = _across(_matrix(lab).double().inverse().to(lab), shares)
    bright = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, bright, 12.92 * linear).clamp_(0, 1)


def _linear(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Undo the gamma of sRGB."""
    return torch.where(images > 0.04045, ((images.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, images / 12.92)


def _compressed(shares: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    return torch.where(shares > KNEE, shares.clamp(min=KNEE) ** (1 / 3), 7.787 * shares + 16 / 116)


def _matrix(like: Tensor) -> Float[Tensor, "3 3"]:
    """Give the matrix from linear RGB to shares of white."""
    matrix = torch.tensor(TO_XYZ, dtype=torch.float64) / torch.tensor(WHITE, dtype=torch.float64)[:, None]
    return matrix.to(like)


def _across(matrix: Float[Tensor, "k 3"], images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B k H W"]:
    mixed: Tensor = (matrix @ images.flatten(2)).unflatten(2, images.shape[2:])
    return mixed
