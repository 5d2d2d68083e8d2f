import numpy as np
import pytest
import torch
from labelled_samples import blobs
from sklearn.linear_model import LogisticRegression

from selfsup.evaluation import budgets, linear


def objective(features, labels, weight, bias, lambda_):
    """Compute the loss as the docstring has it, in float64."""
    scores = features.astype(np.float64) @ weight.T + bias
    scores -= scores.max(1, keepdims=True)
    own = scores[np.arange(len(labels)), labels]
    return (np.log(np.exp(scores).sum(1)) - own).mean() + lambda_ / 2 * np.square(weight.astype(np.float64)).sum()


@pytest.mark.parametrize(("count", "width"), [(200, 30), (40, 120)], ids=["more images", "more features"])
@pytest.mark.parametrize("lambda_", [1.0, 1e-2, 1e-3])
def test_agrees_with_scikit_learn(count, width, lambda_):
    """The minimum of the same objective is found, in fewer dimensions than images and in more."""
    features, labels = blobs(count, width, 4)
    probe = linear.fit(features, labels, 4, lambda_)
    standard = (features - features.mean(0)) / features.std(0)
    oracle = LogisticRegression(C=1 / (lambda_ * count), tol=1e-7, max_iter=5000).fit(standard, labels)

    best = objective(standard, labels, oracle.coef_, oracle.intercept_, lambda_)
    assert objective(standard, labels, probe.weight, probe.bias, lambda_) == pytest.approx(best, abs=2e-5)
    np.testing.assert_allclose(probe.weight, oracle.coef_, atol=0.02 * np.abs(oracle.coef_).max())
    scores = oracle.decision_function(standard)
    # the minimum is flat: how near it ends depends on the rounding of a CPU's kernels
    np.testing.assert_allclose(probe.logits(features), scores, atol=0.02 * np.abs(scores).max())


def test_two_classes_agree_with_scikit_learn():
    """Two rows of weights ±w/2 cost half of what scikit-learn's one row w costs."""
    features, labels = blobs(150, 20, 2)
    probe = linear.fit(features, labels, 2, 1e-2)
    standard = (features - features.mean(0)) / features.std(0)
    oracle = LogisticRegression(C=2 / (1e-2 * 150), tol=1e-7, max_iter=5000).fit(standard, labels)

    np.testing.assert_allclose(probe.weight[1] - probe.weight[0], oracle.coef_[0], atol=5e-3)


def test_wide_problems_need_no_rotation(monkeypatch):
    """Beyond the largest rotation the same minimum is found in the features' own axes."""
    features, labels = blobs(120, 60, 3)
    turned = linear.fit(features, labels, 3, 1e-2)
    monkeypatch.setattr(linear, "LARGEST_ROTATION", 10)
    plain = linear.fit(features, labels, 3, 1e-2)

    np.testing.assert_allclose(plain.weight, turned.weight, atol=2e-3)


def test_folds_in_one_batch_equal_folds_alone():
    """A problem's solution does not depend on what is solved beside it."""
    features, labels = blobs(90, 40, 3)
    data = linear.prepare(features, labels, 3)
    parts = torch.stack([torch.arange(90) // 3 % 3 != k for k in range(3)]).float()
    weights = parts / parts.sum(1, keepdim=True)
    zeros = torch.zeros(3, 3, data.rows.shape[1])

    together = linear.minimize(data, weights, 1e-2, zeros, 1e-4)
    alone = torch.cat([linear.minimize(data, weights[k : k + 1], 1e-2, zeros[:1], 1e-4) for k in range(3)])

    np.testing.assert_allclose(together.numpy(), alone.numpy(), atol=1e-2)


def test_scale_and_offset_of_features_do_not_matter():
    """Standardization makes encoders of different scale comparable."""
    features, labels = blobs(100, 30, 3)
    plain = linear.fit(features, labels, 3, 1e-2)
    scaled = linear.fit(features * 50 + 20, labels, 3, 1e-2)

    np.testing.assert_allclose(plain.probabilities(features), scaled.probabilities(features * 50 + 20), atol=2e-3)


def test_constant_features_are_harmless():
    """A feature that hardly varies on the labelled images cannot explode on others."""
    features, labels = blobs(60, 10, 3)
    features[:, 0] = 7
    features[:, 1] = 7 + 1e-5 * labels
    probe = linear.fit(features, labels, 3, 1e-2)
    before = probe.logits(features)
    features[:, :2] = 7.5

    np.testing.assert_allclose(probe.logits(features), before, atol=100)
    assert np.abs(probe.weight[:, 0]).max() < 1e-4


def test_one_hot_features_give_everything():
    """Features that are the label are read perfectly."""
    labels = np.arange(60) % 6
    features = np.eye(6, dtype=np.float32)[labels]

    assert (linear.fit(features, labels, 6).predict(features) == labels).all()


def test_shuffled_labels_give_chance():
    """What is learned from labels without meaning does not carry over."""
    features, labels = blobs(900, 40, 3, spread=0.2)
    labels = np.random.default_rng(0).permutation(labels)
    probe = linear.fit(features[:600], labels[:600], 3)

    assert (probe.predict(features[600:]) == labels[600:]).mean() == pytest.approx(1 / 3, abs=0.06)


def test_lambda_is_chosen_on_what_was_held_out():
    """In noise with few images and many features, strong regularization wins, and the path stops early."""
    features, labels = blobs(60, 300, 3, spread=1.5)
    choice = linear.choose_lambda(linear.prepare(features, labels, 3), budgets.folds(labels, 5, 0))
    scores = dict(choice.path)

    assert choice.score == max(scores.values()) == scores[choice.lambda_]
    assert choice.lambda_ == max(lambda_ for lambda_, score in scores.items() if score == choice.score)
    assert all(score >= choice.score - linear.DROP for score in list(scores.values())[1:-1]) or len(scores) == 2


def test_held_out_images_are_not_trained_on():
    """With labels without meaning, the chosen score is near chance although the probe could learn all by heart."""
    features, labels = blobs(300, 400, 3)
    labels = np.random.default_rng(1).permutation(labels)
    choice = linear.choose_lambda(linear.prepare(features, labels, 3), budgets.folds(labels, 5, 0))

    assert choice.score < 0.45


def test_path_ends_after_a_fall_of_one_point(monkeypatch):
    """Once validation is a point below its best, smaller lambdas are not tried; of equals the larger wins."""
    scores = iter([0.5, 0.6, 0.6, 0.58, 0.9])
    monkeypatch.setattr(linear, "balanced_accuracy", lambda *_: next(scores))
    features, labels = blobs(30, 5, 3)
    choice = linear.choose_lambda(linear.prepare(features, labels, 3), budgets.folds(labels, 3, 0))

    assert (choice.lambda_, choice.score) == (linear.LAMBDAS[1], 0.6)
    assert len(choice.path) == 4


def test_diverged_features_are_refused():
    """NaN is named, not optimized."""
    features, labels = blobs(30, 5, 3)
    features[3, 2] = np.nan

    with pytest.raises(ValueError, match="finite"):
        linear.fit(features, labels, 3)
