import numpy as np
import pytest

from selfsup.evaluation.intervals import Bootstrap

RNG = np.random.default_rng(0)
TRUTH = np.arange(600) % 3


def answers(right: float, draws: int = 3, seed: int = 0) -> np.ndarray:
    """Give predictions of which a share is right."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((draws, len(TRUTH))) < right, TRUTH, (TRUTH + 1) % 3)


def test_interval_holds_the_mean_and_has_the_binomial_width():
    """For independent answers of one draw it is the interval of a share, ±1.96 * sqrt(p (1 - p) / n)."""
    found = Bootstrap(TRUTH, 3).interval(answers(0.7, draws=1))

    assert found.mean == pytest.approx((answers(0.7, draws=1) == TRUTH).mean())
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 600), rel=0.15)


def test_an_arm_does_not_differ_from_itself():
    """Pairing by draw and image leaves nothing."""
    assert Bootstrap(TRUTH, 3).difference(answers(0.6), answers(0.6)) == (0, 0, 0)


def test_pairing_sees_small_differences():
    """Where two arms agree on all but ten images, those decide."""
    one = answers(0.6)
    other = one.copy()
    other[:, :10] = (TRUTH[:10] + 1) % 3
    one[:, :10] = TRUTH[:10]
    shared = Bootstrap(TRUTH, 3)

    found = shared.difference(one, other)
    assert found.low > 0
    assert found.mean == pytest.approx(10 / 600, rel=0.05)
    assert shared.interval(one).low < shared.interval(other).high


def test_groups_widen_the_interval():
    """Thirty patients of twenty images say less than six hundred images."""
    groups = np.arange(600) // 20
    by_group = np.where(np.random.default_rng(0).random(30)[groups] < 0.7, TRUTH, (TRUTH + 1) % 3)[None]
    single, grouped = Bootstrap(TRUTH, 3), Bootstrap(TRUTH, 3, groups)

    narrow, wide = single.interval(by_group), grouped.interval(by_group)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_draws_that_disagree_widen_the_interval():
    """Which images were labelled is a source of chance too."""
    even = np.stack([answers(0.6, 1, seed)[0] for seed in range(3)])
    uneven = np.stack([answers(right, 1, seed)[0] for seed, right in enumerate((0.4, 0.6, 0.8))])
    shared = Bootstrap(TRUTH, 3)

    narrow, wide = shared.interval(even), shared.interval(uneven)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_the_same_seed_gives_the_same_numbers():
    """A bootstrap is part of the result."""
    assert Bootstrap(TRUTH, 3, seed=4).interval(answers(0.6)) == Bootstrap(TRUTH, 3, seed=4).interval(answers(0.6))


def test_rare_classes_may_be_missing_from_a_replicate():
    """A class with one test image is left out where it was not drawn, and nothing is NaN."""
    truth = np.array([0] * 30 + [1])
    assert np.isfinite(Bootstrap(truth, 3).interval(truth[None])).all()
