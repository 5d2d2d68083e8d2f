"""Depth, normals and contours of what a picture shows: losses, errors in units one can imagine, and a blind guess.

Predictions and truth are maps [B, C, S, S]: log depth against depth (0: nothing is seen), vectors against unit normals
(0: nothing is seen), logits against contours (0 or 1). Everything is worked on in at least float32.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup import processes
from selfsup.views.precision import in_full

FORGIVEN = 0.5
"""Share of the error of an offset of log depth that is not counted (Eigen et al., 2014)."""
TINY = 1e-24
"""Square of a length below which a vector has no direction."""


def depth_loss(predicted: Float[Tensor, "B 1 S S"], depth: Float[Tensor, "B 1 S S"]) -> Float[Tensor, ""]:
    """Give half the mean square of the error of log depth, less a quarter of the square of its mean.

    In each picture over what is seen, then over pictures. A picture does not say how large the world in it is: of an
    error that is the same in all of its pixels, a half is forgiven.

    Source: Eigen, Puhrsch and Fergus, 2014, equation 4, https://arxiv.org/abs/1406.2283
    """
    off, seen = _off(predicted, depth)
    return (_mean(off.square(), seen) - FORGIVEN * _mean(off, seen).square()).mean() / 2


def depth_error(predicted: Float[Tensor, "B 1 S S"], depth: Float[Tensor, "B 1 S S"]) -> Float[Tensor, ""]:
    """Give the mean absolute error of log depth: 0.1 is about 10 %."""
    off, seen = _off(predicted, depth)
    return _mean(off.abs(), seen).mean()


def normal_loss(predicted: Float[Tensor, "B 3 S S"], normals: Float[Tensor, "B 3 S S"]) -> Float[Tensor, ""]:
    """Give 1 less the mean cosine of predicted and true normals: 0 for the same directions, 2 for opposite ones."""
    cosine, seen = _cosine(predicted, normals)
    return _mean(1 - cosine, seen).mean()


def normal_error(predicted: Float[Tensor, "B 3 S S"], normals: Float[Tensor, "B 3 S S"]) -> Float[Tensor, ""]:
    """Give the mean angle between predicted and true normals in degrees."""
    cosine, seen = _cosine(predicted, normals)
    return _mean(torch.rad2deg(cosine.clamp(-1, 1).acos()), seen).mean()


def contour_loss(logits: Float[Tensor, "B 1 S S"], contours: Float[Tensor, "B 1 S S"]) -> Float[Tensor, ""]:
    """Give the cross-entropy of contours, where both classes weigh a half in each picture: ln 2 at zero logits.

    Source: Xie and Tu, 2015, equation 2, https://arxiv.org/abs/1504.06375, divided by the weight there is in all.
    """
    logits, contours = in_full(logits), in_full(contours)
    on, away = _mean(F.softplus(-logits), contours), _mean(F.softplus(logits), 1 - contours)
    return (on + away).mean() / 2


def contour_error(logits: Float[Tensor, "B 1 S S"], contours: Float[Tensor, "B 1 S S"]) -> Float[Tensor, ""]:
    """Give the mean of two shares: contours that are missed and places that are taken for contours; 0.5 is blind."""
    said, contours = 0.5 + in_full(logits).sign() / 2, in_full(contours)
    return (_mean(1 - said, contours) + _mean(said, 1 - contours)).mean() / 2


def unit(vectors: Float[Tensor, "B C S S"]) -> Float[Tensor, "B C S S"]:
    """Give vectors of length 1 in the same directions; 0 stays 0."""
    # torch's norm over the second of four dimensions is many times slower on a CPU
    return vectors * vectors.square().sum(1, keepdim=True).clamp(min=TINY).rsqrt()


class Task(NamedTuple):
    """What a head predicts in each pixel and how it is judged."""

    channels: int
    loss: Callable[[Tensor, Tensor], Tensor]
    error: Callable[[Tensor, Tensor], Tensor]


TASKS = {
    "depth": Task(1, depth_loss, depth_error),
    "normals": Task(3, normal_loss, normal_error),
    "contours": Task(1, contour_loss, contour_error),
}


class Blind(nn.Module):
    """The best guess without looking at the picture: what is on average seen in each place of the scenes so far.

    Args:
        side: of the maps.
    """

    sums: Tensor
    """[6, S, S]: of log depth, of places where there is depth, of normals (3), of contours."""
    pictures: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(6, side, side))
        self.register_buffer("pictures", torch.zeros(()))

    @property
    def log_depth(self) -> Float[Tensor, ""]:
        """Mean of all log depths so far."""
        return self.sums[0].sum() / self.sums[1].sum().clamp(min=1)

    @torch.no_grad()
    def learn(self, truth: Mapping[str, Float[Tensor, "B _ S S"]]) -> None:
        """Add the pictures of a batch, of all processes."""
        sums, pictures = self._of(truth)
        self.sums += sums.to(self.sums.dtype)
        self.pictures += pictures

    @torch.no_grad()
    def guess(self, truth: Mapping[str, Float[Tensor, "B _ S S"]]) -> dict[str, Float[Tensor, "B _ S S"]]:
        """Give the guess for each kind of truth; before anything was learned, what this batch would teach."""
        fresh, count = self._of(truth)
        known = self.pictures > 0
        sums = torch.where(known, self.sums, fresh.to(self.sums.dtype))
        pictures = torch.where(known, self.pictures, self.pictures + count)
        depth, seen, normals, contours = sums[:1], sums[1:2], sums[2:5], sums[5:]
        somewhere = depth.sum() / seen.sum().clamp(min=1)
        share = (contours.sum() + 0.5) / (pictures * contours.numel() + 1)
        guesses = {
            "depth": torch.where(seen > 0, depth / seen.clamp(min=1), somewhere),
            "normals": unit(normals[None])[0],
            "contours": torch.logit((contours + share) / (pictures + 1)) - torch.logit(share),
        }
        return {name: guesses[name].expand_as(values) for name, values in truth.items()}

    def _of(self, truth: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        some = in_full(next(iter(truth.values())))
        nothing = some.new_zeros(len(some), 1, *some.shape[2:])
        depth = in_full(truth.get("depth", nothing))
        seen = (depth > 0).to(depth.dtype)
        normals = in_full(truth.get("normals", nothing.expand(-1, 3, -1, -1)))
        contours = in_full(truth.get("contours", nothing))
        mine = torch.cat([_log(depth) * seen, seen, normals, contours], dim=1).sum(0)
        return processes.average(mine) * processes.count(), len(some) * processes.count()


def _off(predicted: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    depth = in_full(depth)
    seen = (depth > 0).to(depth.dtype)
    return (in_full(predicted) - _log(depth)) * seen, seen


def _log(depth: Tensor) -> Tensor:
    """Give the logarithm, 0 where there is no depth."""
    return torch.where(depth > 0, depth, 1.0).log()


def _cosine(predicted: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
    normals = in_full(normals)
    seen = (normals != 0).any(1, keepdim=True).to(normals.dtype)
    return (unit(in_full(predicted)) * normals).sum(1, keepdim=True), seen


def _mean(values: Tensor, weights: Tensor) -> Float[Tensor, " B"]:
    """Average over the places of each picture; 0 where nothing weighs anything."""
    return (values * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3)).clamp(min=math.ulp(1.0))
