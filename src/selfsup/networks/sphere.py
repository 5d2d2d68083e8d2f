"""Points on a sphere that follow from a seed and their numbers alone, so that millions need no memory."""

import math

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn import functional as F


def points(numbers: Int64[Tensor, " N"], seed: Int64[Tensor, ""], dimension: int) -> Float64[Tensor, "N {dimension}"]:
    """Give the points of these numbers, evenly spread over the sphere: normal numbers, divided by their length.

    Args:
        numbers: of the points, from 0.
        seed: equal seeds give equal points, whatever was drawn before, in every process.
        dimension: of the space.
    """
    half = -(-dimension // 2)
    uniform = _hashed(seed, numbers[:, None], torch.arange(2 * half, device=numbers.device))
    radius = (-2 * (1 - uniform[:, :half]).log()).sqrt()  # Box and Muller, 1958
    angle = 2 * math.pi * uniform[:, half:]
    normal = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :dimension]
    return F.normalize(normal, dim=1)


def _hashed(*parts: Tensor) -> Float64[Tensor, "N D"]:
    """Mix whole numbers into uniform ones in [0, 1), as `draws.mix` does, in arithmetic modulo 2^64."""
    state = torch.tensor(_signed(0x9E3779B97F4A7C15), device=parts[0].device)
    for part in parts:
        state = (state ^ part) * _signed(0xBF58476D1CE4E5B9)
        state = (state ^ _shifted(state, 30)) * _signed(0x94D049BB133111EB)
        state = state ^ _shifted(state, 31)
    uniform: Tensor = _shifted(state, 11).double() * 2.0**-53
    return uniform


def _shifted(values: Tensor, places: int) -> Tensor:
    """Shift to the right as if there were no sign."""
    return (values >> places) & ((1 << (64 - places)) - 1)


def _signed(number: int) -> int:
    return number - (1 << 64)
