"""Colours as classes: bins of the a-b plane of CIE Lab, soft codes over them, and the way back to a colour."""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from selfsup.views import lab
from selfsup.views.precision import full_precision

CUBE = 17
"""Colours along each axis of the cube of RGB whose hull is taken; 9 are enough."""


@cache
def in_gamut(step: float) -> Float[Tensor, "Q 2"]:
    """Give the multiples of `step` in the a-b plane that are near colours of sRGB, ordered by a, then b; 313 for 10.

    Each corner of the convex hull of all colours is pulled out by `step` in four directions, and the bins
    are the multiples strictly inside the hull of that.

    Source: gives the 313 bins of richzhang/colorization (pts_in_hull.npy) exactly.
    """
    from scipy.spatial import ConvexHull

    axis = torch.linspace(0, 1, CUBE, dtype=torch.float64)
    cube = torch.cartesian_prod(axis, axis, axis).T[None, :, :, None]  # [1, 3, n, 1]
    colours = lab.from_rgb(cube)[0, 1:, :, 0].T.numpy()
    corners = colours[ConvexHull(colours).vertices]
    wide = np.concatenate([corners + np.array([x, y]) * step for x in (-1, 1) for y in (-1, 1)])
    sides = ConvexHull(wide).equations  # [F, 3]: normal and offset, below 0 inside
    reach = int(np.abs(wide).max() // step) + 1
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64) * step
    grid = torch.cartesian_prod(steps, steps)
    inside = (grid.numpy() @ sides[:, :2].T + sides[:, 2] < -1e-9).all(1)
    return grid[torch.from_numpy(inside)].float()


@cache
def candidates(step: float, count: int) -> Int[Tensor, "A A M"]:
    """Give, for each square of side `step` around a multiple of it, the bins among which the `count` nearest are.

    The square around (0, 0) is in the middle.
    """
    bins = in_gamut(step).double()
    reach = int(bins.abs().max() / step) + 1
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64) * step
    squares = torch.cartesian_prod(steps, steps)
    nearest = torch.cdist(squares, bins).topk(min(2 * count + 6, len(bins)), largest=False).indices
    near: Tensor = nearest.unflatten(0, (len(steps), len(steps)))
    return near


@full_precision
def soft_codes(
    colours: Float[Tensor, "N 2"],
    bins: Float[Tensor, "Q 2"],
    near: Int[Tensor, "A A M"],
    step: float,
    count: int,
    sigma: float,
) -> tuple[Int[Tensor, "N {count}"], Float[Tensor, "N {count}"]]:
    """Give the nearest bins of each colour, the nearest first, and their weights exp(-d^2 / (2 sigma^2)) in sum 1.

    Args:
        colours: a and b, of sRGB.
        bins: those of `in_gamut`.
        near: their `candidates`, for so many or more.
        step: distance of the bins.
        count: how many bins share a colour; 1 gives the nearest alone.
        sigma: of the Gaussian in units of a and b.
    """
    bins = bins.to(colours)
    middle = len(near) // 2
    square = (colours / step).round().long().add_(middle).clamp_(0, 2 * middle)
    found = near[square[:, 0], square[:, 1]]  # [N, M]
    apart = (bins[found] - colours[:, None]).square().sum(2)
    nearest, place = apart.topk(count, largest=False, sorted=True)
    return found.gather(1, place), (nearest / (-2 * sigma**2)).softmax(1)


def smoothed(prior: Float[Tensor, " Q"], bins: Float[Tensor, "Q 2"], sigma: float) -> Float[Tensor, " Q"]:
    """Spread the share of each bin over its neighbours with a Gaussian, in sum 1."""
    kernel = (torch.cdist(bins, bins).square() / (-2 * sigma**2)).exp()
    spread = kernel @ prior
    return spread / spread.sum()


def rarity(share: Float[Tensor, " Q"], mixing: float) -> Float[Tensor, " Q"]:
    """Give weights w in proportion to 1 / ((1 - mixing) p + mixing / Q), scaled so that sum(p w) is 1.

    Args:
        share: p of each bin, in sum 1.
        mixing: 1 makes all weights 1, 0 makes them inverse to p.
    """
    weights = 1 / ((1 - mixing) * share + mixing / len(share)).clamp(min=torch.finfo(share.dtype).tiny)
    return weights / (share * weights).sum()


@full_precision
def decoded(
    logits: Float[Tensor, "B Q h w"], bins: Float[Tensor, "Q C"], temperature: float
) -> Float[Tensor, "B C h w"]:
    """Give the mean of the bins under softmax(logits / temperature): 1 the plain mean, 0 the likeliest bin.

    Source: the annealed mean of Zhang et al., 2016, equation 5 (temperature 0.38).
    """
    bins = bins.to(logits)
    if temperature == 0:
        return bins[logits.argmax(1)].permute(0, 3, 1, 2)
    return torch.einsum("bqhw,qc->bchw", (logits / temperature).softmax(1), bins)
