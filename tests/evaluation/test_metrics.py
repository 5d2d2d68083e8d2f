import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from selfsup.evaluation.metrics import accuracy, auroc, balanced_accuracy


def test_balance_counts_classes_not_images():
    """Calling everything by the common class is 75 % right and 50 % balanced."""
    truth, predicted = np.array([0, 0, 0, 1]), np.zeros(4, np.int64)

    assert accuracy(truth, predicted) == 0.75
    assert balanced_accuracy(truth, predicted, 2) == 0.5


def test_classes_without_images_do_not_count():
    """A class that is not in the test set has no recall."""
    assert balanced_accuracy(np.array([0, 0, 2]), np.array([0, 1, 2]), 4) == pytest.approx(0.75)


def test_auroc_agrees_with_scikit_learn():
    """Ties count one half."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    scores = np.round(truth + rng.normal(size=200), 1)

    assert auroc(truth, scores) == pytest.approx(roc_auc_score(truth, scores))
    assert auroc(truth, np.zeros(200)) == 0.5
    assert auroc(np.ones(5, np.int64), np.arange(5.0)) is None
