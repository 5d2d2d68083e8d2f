import itertools

import numpy as np
import pytest

from selfsup.evaluation.budgets import folds, label_draws, labels_per_class

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [20, 30, 50]))


def test_budgets_are_balanced():
    """Every class gives as many labels as the budget says."""
    draws = label_draws(LABELS, (1, 5, 20), 3, seed=0)

    for (per_class, _), positions in draws.items():
        assert np.bincount(LABELS[positions]).tolist() == [per_class] * 3


def test_budgets_are_nested():
    """More labels are the same labels and further ones."""
    draws = label_draws(LABELS, (1, 5, 20, None), 2, seed=0)

    for draw in range(2):
        chain = [set(draws[n, draw]) for n in (1, 5, 20)] + [set(draws[None, 0])]
        assert all(small < large for small, large in itertools.pairwise(chain))


def test_draws_differ_and_repeat():
    """Each draw is another one, and the same seed gives it again."""
    draws = label_draws(LABELS, (5,), 2, seed=0)

    assert set(draws[5, 0]) != set(draws[5, 1])
    np.testing.assert_array_equal(draws[5, 1], label_draws(LABELS, (5, 10), 2, seed=0)[5, 1])
    assert set(draws[5, 0]) != set(label_draws(LABELS, (5,), 1, seed=1)[5, 0])


def test_budgets_end_where_the_rarest_class_does():
    """A budget that a class cannot fill is left out; everything is drawn once."""
    draws = label_draws(LABELS, (10, 25, None), 2, seed=0)

    assert list(draws) == [(10, 0), (10, 1), (None, 0)]
    assert len(draws[None, 0]) == 100
    assert labels_per_class(LABELS, 3) == 33


def test_folds_share_every_class():
    """No fold has more than one image of a class more than another."""
    labels = np.repeat([0, 1, 2], [21, 32, 54])
    counts = counts_of(labels, folds(labels, 5, 0))

    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(1)) <= 1


def test_single_images_fill_what_groups_leave():
    """Where half of the images come in groups of four, the others even it out."""
    groups = np.where(np.arange(100) % 2 == 0, np.arange(100) // 8, np.arange(100) + 1000)
    counts = counts_of(LABELS, folds(LABELS, 5, 0, groups))

    assert (np.ptp(counts, axis=0) <= 1).all()


def counts_of(labels, fold):
    return np.array([np.bincount(labels[fold == k], minlength=3) for k in range(5)])


@pytest.mark.parametrize("seed", range(3))
def test_groups_stay_in_one_fold(seed):
    """Images of one patient are never on both sides; the folds stay even."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 25, 100)
    fold = folds(LABELS, 5, seed, groups)

    assert all(len(set(fold[groups == group])) == 1 for group in range(25) if (groups == group).any())
    assert set(fold) == set(range(5))
    assert np.bincount(fold).max() <= 2 * 20
