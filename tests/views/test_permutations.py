"""Permutation sets: distinct, far apart, always the same."""

import itertools

import numpy as np
import pytest

from selfsup.errors import InputError
from selfsup.views.permutations import distances, permutation_set

CASES = [
    # count, pieces, criterion, smallest distance
    (64, 9, "minimum", 8),
    (72, 9, "minimum", 8),
    (100, 9, "minimum", 6),
    (64, 9, "mean", 2),
    (12, 4, "minimum", 3),
    (24, 4, "minimum", 2),
]


@pytest.mark.parametrize(("count", "pieces", "criterion", "least"), CASES)
def test_set_is_distinct_permutations_far_apart(count: int, pieces: int, criterion: str, least: int) -> None:
    """Each row is a permutation, no two are nearer than stated, and none differ in one place."""
    made = permutation_set(count, pieces, criterion)  # type: ignore[arg-type]
    assert made.shape == (count, pieces)
    assert (np.sort(made, axis=1) == np.arange(pieces)).all()
    between = distances(made)[~np.eye(count, dtype=bool)]
    assert between.min() >= least
    assert not (between == 1).any()
    assert (made == permutation_set(count, pieces, criterion)).all()  # type: ignore[arg-type]


def test_means_are_the_known_bounds() -> None:
    """The mean distance of 64 reaches 8.125 of 9 by either criterion; the paper's leaves pairs 2 apart."""
    cases = ((64, 9, "minimum", 8.125), (64, 9, "mean", 8.125), (72, 9, "minimum", 8.1127), (24, 4, "minimum", 3.1304))
    assert distances(permutation_set(64, 9, "mean"))[~np.eye(64, dtype=bool)].min() == 2
    for count, pieces, criterion, expected in cases:
        made = permutation_set(count, pieces, criterion)  # type: ignore[arg-type]
        assert distances(made)[~np.eye(count, dtype=bool)].mean() == pytest.approx(expected, abs=1e-4)


def test_greedy_choice_equals_a_loop() -> None:
    """Each added permutation is the first of those farthest from the chosen ones."""
    every = [list(p) for p in itertools.permutations(range(4))]
    for criterion in ("minimum", "mean"):
        chosen = [every[0]]
        while len(chosen) < 9:
            far = [[sum(a != b for a, b in zip(p, q, strict=True)) for q in chosen] for p in every]
            scores = [(min(d), sum(d)) if criterion == "minimum" else (sum(d),) for d in far]
            left = [i for i, p in enumerate(every) if p not in chosen]
            chosen.append(every[max(left, key=lambda i: scores[i])])
        assert permutation_set(9, 4, criterion).tolist() == chosen  # type: ignore[arg-type]


def test_impossible_counts_are_refused() -> None:
    """Four pieces have 24 permutations."""
    with pytest.raises(InputError, match="4 pieces have 24 permutations, got 25"):
        permutation_set(25, 4)
    with pytest.raises(InputError, match="choose 2 to 2,000"):
        permutation_set(5000, 9)
