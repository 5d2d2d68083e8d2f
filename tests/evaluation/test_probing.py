import numpy as np
import pytest
from labelled_samples import blobs

from selfsup.evaluation import linear
from selfsup.evaluation.budgets import label_draws
from selfsup.evaluation.probing import fit_probe, probe_stages

BUDGETS = (1, 5, 20, None)


@pytest.fixture(scope="module")
def planted():
    """Three stages, of which the middle one knows the classes best."""
    good, labels = blobs(300, 20, 3, spread=0.4)
    noise = np.random.default_rng(1).normal(size=(2, 300, 20)).astype(np.float32)
    return {"first": noise[0], "middle": good, "last": good + 8 * noise[1]}, labels


@pytest.fixture(scope="module")
def found(planted):
    return probed(*planted)


def probed(features, labels, **options):
    pool, test = np.arange(0, 300, 2), np.arange(1, 300, 2)
    draws = label_draws(labels[pool], BUDGETS, 2, seed=0)
    return probe_stages(features, labels, pool, test, 3, draws, **options)


def test_the_planted_stage_is_chosen(found):
    """At every budget, also at one label per class, where nothing can be chosen."""
    assert set(found.chosen.values()) == {"middle"}
    assert found.row((20, 0)).balanced_accuracy > 0.8
    assert found.row((20, 0), stage="first").balanced_accuracy < 0.5


def test_every_stage_has_all_probes_at_every_draw(found):
    """Two draws of three budgets and one of all labels, three stages, three probes."""
    assert len(found.rows) == (2 * 3 + 1) * 3 * 3
    assert {row.probe for row in found.rows} == {"linear", "knn10", "knn20"}
    assert found.predicted(5).shape == (2, 150)
    assert found.row((None, 0)).labels == 150


def test_test_labels_choose_nothing(planted, found):
    """With other labels on the test images, stages, lambdas and predictions stay the same."""
    features, labels = planted
    shuffled = labels.copy()
    shuffled[1::2] = np.random.default_rng(0).permutation(labels[1::2])
    planted_wrong = probed(features, shuffled)

    assert found.chosen == planted_wrong.chosen
    for one, other in zip(found.rows, planted_wrong.rows, strict=True):
        assert (one.lambda_, one.validation) == (other.lambda_, other.validation)
        np.testing.assert_array_equal(one.predicted, other.predicted)
    assert planted_wrong.row((None, 0)).balanced_accuracy == pytest.approx(1 / 3, abs=0.12)


def test_few_labels_take_the_stage_of_more_and_a_fixed_lambda(found):
    """Below five labels per class nothing is chosen by these labels themselves."""
    for stage in ("first", "middle", "last"):
        row = found.row((1, 0), stage=stage)
        assert (row.lambda_, row.validation) == (linear.FIXED_LAMBDA, None)
    assert found.row((5, 0)).validation is not None
    assert found.chosen[1, 1] == found.chosen[5, 1]


def test_shuffled_labels_give_chance(planted):
    """Labels without meaning end at one third, at every budget."""
    features, labels = planted
    found = probed(features, np.random.default_rng(3).permutation(labels))

    for key in found.chosen:
        assert found.row(key).balanced_accuracy == pytest.approx(1 / 3, abs=0.15)


def test_groups_are_not_split_when_lambda_is_chosen():
    """Where each group has its own fingerprint and a random class, held-out folds must not profit from it."""
    rng = np.random.default_rng(0)
    groups = np.arange(120) // 6
    labels = np.array([0, 1])[rng.permutation(np.arange(20) % 2)][groups]
    features = (rng.normal(size=(20, 30))[groups] + 0.1 * rng.normal(size=(120, 30))).astype(np.float32)

    _, leaked = fit_probe(features, labels, 2)
    _, honest = fit_probe(features, labels, 2, groups)

    assert leaked > 0.95
    assert honest < 0.8


def test_two_classes_have_an_auroc(planted):
    """Only the linear probe of two classes gives scores to rank by."""
    features, labels = planted
    pool, test = np.arange(0, 300, 2), np.arange(1, 300, 2)
    two = np.minimum(labels, 1)
    found = probe_stages(features, two, pool, test, 2, label_draws(two[pool], (20,), 1, 0))

    assert found.row((20, 0)).auroc > 0.9
    assert found.row((20, 0), "knn10").auroc is None
