"""Images at half their size by a filter of their own each, so that no filter's trace gives them away."""

import math
from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from selfsup import draws
from selfsup.views.precision import full_precision


@full_precision
def random_halves(images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B C s s"]:
    """Halve the side of each image with a filter drawn for it, clipped to [0, 1]; S must be even."""
    return halve(images, draws.integers(images, below=len(FILTERS)))


@full_precision
def halve(images: Float[Tensor, "B C S S"], filters: Int[Tensor, " B"]) -> Float[Tensor, "B C s s"]:
    """Halve the side of each image with its own filter.

    Args:
        images: in [0, 1], of an even side.
        filters: place of each image's filter in `FILTERS`.

    Returns: clipped to [0, 1], since the sharper filters overshoot.
    """
    side = images.shape[-1]
    bank = _bank(side).to(images)[filters].unsqueeze(1)  # [B, 1, s, S]
    return (bank @ images @ bank.transpose(2, 3)).clamp(0, 1)


def _triangle(x: float) -> float:
    return max(0.0, 1 - abs(x))


def _cubic(x: float, a: float) -> float:
    """Keys' cubic convolution."""
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def _lanczos(x: float) -> float:
    def sinc(t: float) -> float:
        return math.sin(math.pi * t) / (math.pi * t) if t else 1.0

    return sinc(x) * sinc(x / 3) if abs(x) < 3 else 0.0


FILTERS: dict[str, tuple[float, Callable[[float], float]]] = {
    "area": (1.0, lambda x: float(abs(x) < 1)),  # the mean of 2 x 2; bilinear without antialiasing is the same
    "bilinear": (2.0, _triangle),
    "bicubic": (2.0, lambda x: _cubic(x, -0.5)),
    "lanczos": (2.0, _lanczos),
    "sharp": (1.0, lambda x: _cubic(x, -0.75)),  # bicubic without antialiasing
}
"""By what a distance in pixels is divided, and the weight at the quotient: as in Pillow, the last one as in torch."""


@cache
def _bank(side: int) -> Float[Tensor, "K s {side}"]:
    """Write every filter as the float64 matrix that halves a side; weights at the border are scaled to add up to 1."""
    bank = torch.tensor(
        [
            [[weight((pixel + 0.5 - 2 * new - 1) / reach) for pixel in range(side)] for new in range(side // 2)]
            for reach, weight in FILTERS.values()
        ],
        dtype=torch.float64,
    )
    return bank / bank.sum(2, keepdim=True)
