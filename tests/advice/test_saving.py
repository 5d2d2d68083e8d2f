import numpy as np
import pytest

from selfsup.advice.arms import Arm
from selfsup.advice.resampling import resample_budgets
from selfsup.advice.saving import Saving, label_saving, label_savings

CURVE = [(10, 0.2), (100, 0.4), (1000, 0.6)]


def test_label_saving_is_read_off_the_logarithm_of_the_labels():
    """0.5 lies half way from 100 to 1000 labels, at 316."""
    assert label_saving(10, 0.5, CURVE) == Saving(pytest.approx(31.62, abs=0.01), beyond=False)
    assert label_saving(100, 0.4, CURVE) == Saving(pytest.approx(1.0), beyond=False)


def test_label_saving_never_extrapolates():
    """Beyond the pool only 'more than' can be said, below it nothing."""
    assert label_saving(10, 0.61, CURVE) == Saving(100.0, beyond=True)
    assert label_saving(100, 0.1, CURVE) is None
    assert label_saving(10, 0.5, []) is None
    assert Saving(100.0, beyond=True).words() == "scratch needs more than 100x the labels"


def test_a_curve_that_dips_saves_nothing():
    """More labels never hurt in the long run; a dip is noise."""
    dips = [(10, 0.2), (100, 0.4), (300, 0.3), (1000, 0.6)]

    assert label_saving(10, 0.45, dips) == Saving(pytest.approx(40.5, abs=0.1), beyond=False)


def test_label_savings_come_with_intervals_where_both_ends_were_measured():
    rng = np.random.default_rng(0)
    labels = {5: 20, 50: 200, None: 2000}
    heights = {5: 0.3, 50: 0.5, None: 0.7}
    classes = np.arange(4000) % 4
    arms = {
        budget: [
            Arm("a", "method", rng.random((3, 1, 4000)) < min(0.95, height + 0.12)),
            Arm("scratch", "control", rng.random((3, 1, 4000)) < height),
        ]
        for budget, height in heights.items()
    }

    savings = label_savings("a", "scratch", resample_budgets(arms, classes), labels)

    assert list(savings) == [5, 50]
    saving = savings[5]
    assert saving.low is not None
    assert saving.high is not None
    assert 1 < saving.low < 10**0.6 < saving.high < 10
    assert saving.low < saving.factor < saving.high
