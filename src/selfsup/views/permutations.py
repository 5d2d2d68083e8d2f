"""Sets of permutations that are far from each other: the classes of a jigsaw puzzle."""

import itertools
from typing import Literal

import numpy as np
from jaxtyping import Int

from selfsup.errors import InputError

MOST = 2000
"""Permutations of a set: no paper has more, and a choice of them takes seconds for each thousand."""


def permutation_set(
    count: int, pieces: int, criterion: Literal["minimum", "mean"] = "minimum"
) -> Int[np.ndarray, "count pieces"]:
    """Choose permutations of `pieces` things, none like another; always the same ones.

    Args:
        count: how many.
        pieces: 4 or 9 in practice, at most 9.
        criterion: what each added permutation makes large: its `minimum` Hamming distance to those chosen before,
            ties decided by the sum; or their `mean` distance, as in the paper (which random ones have anyway).

    Up to 72 permutations of 9 with the minimum criterion are the maps x -> a x + b of the field with nine elements:
    any two of them agree in at most one place, the best there is.

    Raises:
        InputError: if there are not that many.

    Source: Noroozi and Favaro, 2016, algorithm 1 (the mean criterion).
    """
    every = 1
    for number in range(2, pieces + 1):
        every *= number
    if not 2 <= count <= min(every, MOST):
        raise InputError(
            f"{pieces} pieces have {every:,} permutations, got {count:,}; choose 2 to {min(every, MOST):,}."
        )
    if criterion == "minimum" and pieces == 9 and count <= 72:
        return _affine_maps()[:count]
    candidates = np.array(list(itertools.permutations(range(pieces))), dtype=np.int8)
    return candidates[_greedy(candidates, count, criterion)].astype(np.int64)


def distances(permutations: Int[np.ndarray, "n pieces"]) -> Int[np.ndarray, "n n"]:
    """Count the places in which each two permutations differ."""
    differ: Int[np.ndarray, "n n"] = (permutations[:, None] != permutations[None]).sum(axis=2)
    return differ


def _greedy(candidates: Int[np.ndarray, "all pieces"], count: int, criterion: str) -> list[int]:
    """Begin with the identity and add the farthest candidate, the first of equals."""
    chosen = [0]
    nearest = (candidates != candidates[0]).sum(axis=1, dtype=np.int64)
    total = nearest.copy()
    while len(chosen) < count:
        # in one number: the minimum decides and the sum breaks ties, or the sum alone
        score = nearest * (candidates.shape[1] * count + 1) + total if criterion == "minimum" else total.copy()
        score[chosen] = -1
        chosen.append(int(score.argmax()))
        distance = (candidates != candidates[chosen[-1]]).sum(axis=1, dtype=np.int64)
        nearest, total = np.minimum(nearest, distance), total + distance
    return chosen


def _affine_maps() -> Int[np.ndarray, "72 9"]:
    """Give x -> a x + b over GF(9) = GF(3)[i], i^2 = -1; the element u + v i is written 3 u + v."""

    def times(one: int, other: int) -> int:
        (a, b), (c, d) = divmod(one, 3), divmod(other, 3)
        return 3 * ((a * c - b * d) % 3) + (a * d + b * c) % 3

    def plus(one: int, other: int) -> int:
        (a, b), (c, d) = divmod(one, 3), divmod(other, 3)
        return 3 * ((a + c) % 3) + (b + d) % 3

    one = 3  # 1 + 0 i
    factors = [one, *(a for a in range(1, 9) if a != one)]
    return np.array([[plus(times(a, x), b) for x in range(9)] for a in factors for b in range(9)])
