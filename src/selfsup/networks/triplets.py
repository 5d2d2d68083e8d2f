"""Pairs of vectors against the vectors of other sources: ranking with hard negatives, and InfoNCE."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from selfsup import draws, processes

EPS = 1e-6
"""Length below which a vector is not brought to length 1: of one near zero only rounding would be left."""


class Compared(NamedTuple):
    """Cosine distances, in [0, 2], of the B pairs of this process.

    Columns hold the firsts, then the seconds of the pairs of all processes, in order of rank.
    """

    near: Float[Tensor, " B"]
    """Between the two of a pair."""
    far: Float[Tensor, "2 B V"]
    """From the first and from the second of each pair to every column."""
    foreign: Bool[Tensor, "B V"]
    """Which columns are of another source."""


def compare(one: Float[Tensor, "B D"], other: Float[Tensor, "B D"], source: Int[Tensor, " B"]) -> Compared:
    """Measure pairs against each other and against the vectors of all processes, to which gradients flow.

    Args:
        one: first vectors, any scale (they are normalized here).
        other: second vectors, in the same order.
        source: of each pair; only those of others are foreign.

    In at least float32, whatever is given.
    """
    with torch.autocast(one.device.type, enabled=False):
        one, other = (F.normalize(z if z.dtype == torch.float64 else z.float(), dim=1, eps=EPS) for z in (one, other))
        everyone = torch.cat([processes.gather_with_gradient(one), processes.gather_with_gradient(other)])  # [V, D]
        far = 1 - torch.stack([one, other]) @ everyone.T
        near = 1 - (one * other).sum(1)
    return Compared(near, far, source[:, None] != processes.in_rank_order([source]).repeat(2))


def ranking(compared: Compared, margin: float, negatives: int, hard: float) -> Float[Tensor, ""]:
    """Give the hinges of the chosen negatives, each against both of a pair, over their largest possible number.

    Args:
        compared: distances of the pairs.
        margin: by which foreign vectors should be farther than the pair is apart.
        negatives: K, the most that are chosen for a pair, among those that break the margin of either of its two.
        hard: share of these that are drawn from the K most similar; the others are drawn from the rest.

    As the divisor is 2 K per pair however few are chosen, the loss falls as pairs become easy; it is the margin
    where all vectors are equal, and 0 where no vector is foreign.

    Source: xiaolonw/caffe-video_triplet, whose negatives break the margin of the first of a pair.
    """
    hinges = (compared.near[:, None] - compared.far + margin).clamp(min=0)  # [2, B, V]
    broken = (hinges.detach() > 0).any(0) & compared.foreign
    uniform = draws.uniform(compared.near, compared.foreign.shape[1])
    chosen = choose(compared.far.detach().amin(0), broken, negatives, hard, uniform)
    return (hinges * chosen).sum() / (2 * negatives * len(compared.near))


def choose(
    distance: Float[Tensor, "B V"],
    candidates: Bool[Tensor, "B V"],
    count: int,
    hard: float,
    uniform: Float[Tensor, "B V"],
) -> Bool[Tensor, "B V"]:
    """Choose at most `count` candidates of each row: all if there are no more, else some of the nearest and others.

    Args:
        distance: small where a candidate is hard.
        candidates: that may be chosen.
        count: K.
        hard: share of K that are drawn from the K nearest candidates, the others from the rest; 0: all from all.
        uniform: random numbers in [0, 1) that decide.
    """
    nearest = round(hard * count)
    place = distance.masked_fill(~candidates, math.inf).argsort(dim=1, stable=True).argsort(1)
    pool = candidates & (place < count) if nearest else torch.zeros_like(candidates)
    chosen = _drawn(pool, nearest, uniform) | _drawn(candidates & ~pool, count - nearest, uniform)
    few = candidates.sum(1, keepdim=True) <= count
    return torch.where(few, candidates, chosen)


def _drawn(pool: Bool[Tensor, "B V"], count: int, uniform: Float[Tensor, "B V"]) -> Bool[Tensor, "B V"]:
    """Draw `count` of each row's pool, or all of it."""
    order = uniform.masked_fill(~pool, 2.0).argsort(1).argsort(1)
    return pool & (order < count)


def infonce(compared: Compared, temperature: float) -> Float[Tensor, ""]:
    """Tell the other of a pair from all foreign vectors, averaged over both of all pairs.

    Source: van den Oord, Li and Vinyals, 2018, https://arxiv.org/abs/1807.03748, with cosines as in SimCLR.
    """
    foreign = (-compared.far / temperature).masked_fill(~compared.foreign, -math.inf)  # [2, B, V]
    partner = (-compared.near / temperature).expand(2, -1)[:, :, None]
    logits = torch.cat([partner, foreign], dim=2).flatten(0, 1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))
