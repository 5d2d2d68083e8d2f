"""Clusters: k-means, whitening and agreement against known values, loops and scikit-learn."""

import math
from itertools import pairwise

import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from selfsup.clustering import agreement, even_order, filled, kmeans, nearest, whitening
from selfsup.errors import InputError


def test_every_point_is_with_its_nearest_centroid_and_no_cluster_is_empty() -> None:
    """Against all distances in float64; labels and centroids are those of the points, in their order."""
    points = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    found = kmeans(points, 40, seed=1)
    distances = torch.cdist(points.double(), found.centroids.double())
    assert torch.equal(found.labels, distances.argmin(1))
    assert torch.bincount(found.labels, minlength=40).min() > 0
    assert (found.labels.dtype, found.centroids.dtype) == (torch.int64, torch.float32)


def test_known_groups_are_found() -> None:
    """Four tight groups far from each other are the four clusters, whatever their order."""
    truth = torch.arange(4).repeat(25)
    corners = torch.tensor([[0.0, 0], [9, 0], [0, 9], [9, 9]])
    points = corners[truth] + 0.1 * torch.randn(100, 2, generator=torch.Generator().manual_seed(2))
    best = max((kmeans(points, 4, seed=seed) for seed in range(5)), key=lambda c: -objective(points, c.centroids))
    assert agreement(best.labels, truth) == pytest.approx(1)
    assert torch.cdist(corners, best.centroids).amin(1).max() < 0.1


def test_the_objective_never_rises() -> None:
    """More iterations from the same start are never worse."""
    points = torch.randn(400, 5, generator=torch.Generator().manual_seed(3))
    sums = [objective(points, kmeans(points, 12, iterations=n, seed=4).centroids) for n in range(1, 12)]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in pairwise(sums))
    assert sums[-1] < 0.99 * sums[0]


def test_the_seed_decides() -> None:
    """The same seed gives the same clusters to the bit, another one others; torch's generator stays as it was."""
    points = torch.randn(300, 4, generator=torch.Generator().manual_seed(5))
    before = torch.get_rng_state()
    one, again, other = (kmeans(points, 9, seed=seed) for seed in (6, 6, 7))
    assert torch.equal(one.centroids, again.centroids)
    assert torch.equal(one.labels, again.labels)
    assert not torch.equal(one.labels, other.labels)
    assert torch.equal(before, torch.get_rng_state())


def test_empty_clusters_take_points_of_large_ones() -> None:
    """Splitting keeps the number of points, gives different centroids, and lowers the sum of squared distances."""
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(8))
    centroids = torch.cat([points[:2], torch.full((6, 3), 100.0)])
    split = filled(points, centroids)
    sizes = torch.bincount(split.labels, minlength=8)
    assert sizes.sum() == 200
    assert sizes.min() > 0
    assert torch.cdist(split.centroids, split.centroids).fill_diagonal_(1).min() > 0
    assert objective(points, split.centroids) < objective(points, centroids)


def test_as_many_clusters_as_different_points() -> None:
    """Each different point gets a cluster of its own; more clusters than that leave the rest empty, and it ends."""
    points = torch.arange(10.0)[:, None].repeat(1, 2).repeat_interleave(7, 0)
    assert len(kmeans(points, 10, seed=0).labels.unique()) == 10
    assert len(kmeans(points, 12, seed=0).labels.unique()) == 10
    assert len(kmeans(torch.ones(30, 2), 5, seed=0).labels.unique()) == 1


def test_one_group_of_equal_points_does_not_hide_the_others() -> None:
    """Nine hundred equal points fill one cluster, and forty-nine are left for a hundred others."""
    points = torch.cat([torch.zeros(900, 4), torch.randn(100, 4, generator=torch.Generator().manual_seed(1))])
    assert torch.bincount(kmeans(points, 50, seed=1).labels, minlength=50).min() > 0


@pytest.mark.parametrize("k", [0, 31])
def test_impossible_numbers_are_refused(k: int) -> None:
    """A sentence says what would do."""
    with pytest.raises(InputError, match=f"makes 1 to 30 clusters of 30 points, got k = {k}"):
        kmeans(torch.randn(30, 2), k, seed=0)


def test_points_that_are_no_numbers_are_refused() -> None:
    """NaN would make FAISS stop with a message of its own."""
    with pytest.raises(InputError, match="finite points"):
        kmeans(torch.full((30, 2), math.nan), 3, seed=0)


def test_arithmetic_is_counted() -> None:
    """A multiply-add for each point, cluster, number and iteration, though FAISS does it; and the last assignment."""
    with FlopCounterMode(display=False) as counted:
        kmeans(torch.randn(300, 8), 10, iterations=5, seed=0)
    assert counted.get_total_flops() == 2 * 300 * 10 * 8 * (5 + 1)


def test_nearest_equals_a_loop() -> None:
    """In pieces as at once."""
    points, centroids = torch.randn(50, 3), torch.randn(7, 3)
    loop = [min(range(7), key=lambda k: float((point - centroids[k]).square().sum())) for point in points]
    assert nearest(points, centroids, rows=11).tolist() == loop


def test_whitened_points_have_unit_covariance() -> None:
    """Before they are brought to length 1, which they then have; components are uncorrelated and centred."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(4000, 20, generator=generator) @ torch.randn(20, 20, generator=generator) + 5
    found = whitening(points, 8)
    components = (points - found.mean) @ found.directions
    assert torch.allclose(components.T @ components / 4000, torch.eye(8), atol=1e-3)
    assert components.mean(0).abs().max() < 1e-4
    assert torch.allclose(found(points).norm(dim=1), torch.ones(4000), atol=1e-5)


def test_the_widest_directions_are_kept() -> None:
    """Of axes of different widths the widest ones, in order."""
    widths = torch.tensor([0.1, 3.0, 1.0, 0.5, 2.0])
    points = torch.randn(5000, 5, generator=torch.Generator().manual_seed(1)) * widths
    directions = whitening(points, 3).directions
    assert directions.abs().argmax(0).tolist() == [1, 4, 2]
    assert torch.allclose(directions.amax(0) * widths[[1, 4, 2]], torch.ones(3), atol=0.1)


def test_dead_features_do_no_harm() -> None:
    """Features that never differ have no direction to blow up."""
    points = torch.cat([torch.randn(100, 2), torch.zeros(100, 6)], 1)
    assert whitening(points, 4)(points).isfinite().all()
    assert whitening(torch.ones(50, 4), 2)(torch.ones(50, 4)).isfinite().all()


def test_agreement_is_scikit_learns() -> None:
    """And 1 under any renaming, near 0 for independent labels, 1 for one cluster each."""
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randint(k, (3000,), generator=generator) for k in (7, 30))
    mixed = torch.where(torch.rand(3000, generator=generator) < 0.5, one, other)
    for a, b in ((one, other), (one, mixed), (mixed, other)):
        assert agreement(a, b) == pytest.approx(normalized_mutual_info_score(a, b), abs=1e-9)
        assert 0 <= agreement(a, b) <= 1
    renamed = torch.randperm(30, generator=generator)[other]
    assert agreement(other, renamed) == pytest.approx(1)
    assert agreement(one, other) < 0.05
    assert agreement(torch.zeros(9, dtype=torch.int64), torch.ones(9, dtype=torch.int64)) == 1


def test_all_clusters_come_equally_often() -> None:
    """Whatever their size; a cluster of one repeats its image, and one that is large enough repeats none."""
    labels = torch.cat([torch.zeros(700), torch.ones(1), torch.full((99,), 2.0), torch.full((200,), 5.0)]).long()
    torch.manual_seed(0)
    order = even_order(labels)
    assert len(order) == 1000
    drawn = labels[order]
    counts = [int((drawn == k).sum()) for k in (0, 1, 2, 5)]
    assert max(counts) == 251
    assert min(counts) >= 247  # 4 of the 1004 are cut off
    assert order[drawn == 1].unique().tolist() == [700]
    assert len(order[drawn == 0].unique()) == counts[0]
    assert len(order[drawn == 2].unique()) < counts[2]
    assert not torch.equal(drawn.sort().values, drawn)
    torch.manual_seed(0)
    assert torch.equal(even_order(labels), order)


def objective(points: Tensor, centroids: Tensor) -> float:
    """Sum the squared distances of points to their nearest centroids, in float64."""
    return torch.cdist(points.double(), centroids.double()).amin(1).square().sum().item()
