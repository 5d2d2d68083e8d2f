import numpy as np
from labelled_samples import blobs

from selfsup.evaluation.knn import knn, knn_draws
from selfsup.evaluation.retrieval import neighbours


def test_a_bank_finds_itself():
    """With k = 1 and the bank as queries, every row finds itself, whatever its label."""
    features, labels = blobs(50, 8, 3)
    labels = np.random.default_rng(0).permutation(labels)

    assert (knn(features, labels, features, 3, 1) == labels).all()


def test_length_of_features_does_not_matter():
    """Only directions are compared."""
    features, labels = blobs(80, 8, 3)
    scale = np.random.default_rng(0).uniform(0.1, 9, (80, 1)).astype(np.float32)

    same = knn(features[:60] * scale[:60], labels[:60], features[60:] * scale[60:], 3, 5)
    np.testing.assert_array_equal(same, knn(features[:60], labels[:60], features[60:], 3, 5))


def test_majority_wins_and_nearness_decides_between_equals():
    """Two of three votes win over the nearest; of one vote each the nearest wins."""
    bank = np.array([[1, 0], [0.8, 0.6], [0.7, 0.7], [-1, 0]], np.float32)
    labels = np.array([0, 1, 1, 2])
    query = np.array([[1, 0.05]], np.float32)

    assert knn(bank, labels, query, 3, 3).tolist() == [1]
    assert knn(bank, labels, query, 3, 2).tolist() == [0]


def test_k_is_at_most_the_bank():
    """Three labels have three neighbours, not ten."""
    bank, labels = np.eye(3, dtype=np.float32), np.arange(3)

    assert knn(bank, labels, bank, 3, 10).tolist() == [0, 1, 2]


def test_draws_equal_banks_of_their_own():
    """Shared similarities change nothing, in chunks or whole."""
    features, labels = blobs(90, 8, 3)
    draws = {"few": np.arange(0, 60, 5), "all": np.arange(60), "again": np.arange(60)}
    found = knn_draws(features[:60], labels[:60], draws, features[60:], 3, [1, 5], chunk=7)

    for (name, k), predicted in found.items():
        own = draws[name]
        np.testing.assert_array_equal(predicted, knn(features[own], labels[own], features[60:], 3, k))
    assert len(found) == 6


def test_neighbours_exclude_the_query():
    """An image is not its own neighbour; its copy is its nearest."""
    features, _ = blobs(30, 8, 3)
    features[20] = 2 * features[4]
    near = neighbours(features, 3, chunk=7)

    assert near.shape == (30, 3)
    assert (near != np.arange(30)[:, None]).all()
    assert near[4, 0] == 20
    assert near[20, 0] == 4
    np.testing.assert_array_equal(neighbours(features, 3, np.array([4])), near[4:5])
