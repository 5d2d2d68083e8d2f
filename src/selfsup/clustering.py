"""Clusters of features: k-means by FAISS, whitened principal components, agreement, and even draws over clusters."""

from typing import NamedTuple

import faiss
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from selfsup import processes
from selfsup.arithmetic import register_flop_formula
from selfsup.errors import InputError

REPAIRS = 100
"""Rounds in which empty clusters are filled; one or two are usual."""
ROUNDING = 1e-6
"""Share of the mean squared length below which a squared distance is taken for rounding."""


class Clusters(NamedTuple):
    """Centroids, and the centroid of each point."""

    centroids: Float[Tensor, "k D"]
    labels: Int[Tensor, " N"]


def kmeans(points: Float[Tensor, "N D"], k: int, *, iterations: int = 20, seed: int) -> Clusters:
    """Find k clusters by Lloyd's algorithm; no cluster is empty if there are k different points.

    Process 0 computes, the others receive; all have to call it with the same points. Equal to the bit for equal
    points, seed and number of threads.

    Args:
        points: finite, on any device; calculated in float32.
        k: clusters, at most N.
        iterations: of Lloyd's algorithm, from k points drawn at random.
        seed: of that draw.

    Returns: float32 centroids and int64 labels on the device of the points; every point is with its nearest centroid.

    Raises:
        InputError: for k out of range or points that are not finite.

    Source: Caron et al., 2018, https://arxiv.org/abs/1807.05520, without sub-sampling of points.
    """
    if not 1 <= k <= len(points):
        raise InputError(f"k-means makes 1 to {len(points):,} clusters of {len(points):,} points, got k = {k:,}.")
    if not bool(torch.isfinite(points).all()):
        raise InputError("k-means needs finite points, got NaN or infinity; a lower learning rate would do.")
    values = points.detach().to(device="cpu", dtype=torch.float32).contiguous()
    centroids = torch.empty(k, values.shape[1])
    labels = torch.empty(len(values), dtype=torch.int64)
    if processes.rank() == 0:
        found = filled(values, torch.ops.selfsup.lloyd(values, k, iterations, seed))
        centroids.copy_(found.centroids)
        labels.copy_(found.labels)
    return Clusters(processes.broadcast(centroids.to(points.device)), processes.broadcast(labels.to(points.device)))


def _lloyd(points: Tensor, k: int, iterations: int, seed: int) -> Tensor:
    """Let FAISS iterate from random points to k centroids [k, D]; it splits large clusters where one is left empty."""
    faiss.omp_set_num_threads(torch.get_num_threads())
    settings = faiss.ClusteringParameters()
    settings.niter, settings.seed = iterations, seed % (2**31 - 1)
    settings.min_points_per_centroid, settings.max_points_per_centroid = 1, max(1, -(-len(points) // k))
    clustering = faiss.Clustering(points.shape[1], k, settings)
    clustering.train(points.numpy(), faiss.IndexFlatL2(points.shape[1]))
    return torch.from_numpy(faiss.vector_to_array(clustering.centroids).reshape(k, -1).copy())


# an operation of torch, so that its arithmetic is counted like that of all others (`custom_op` would load the compiler)
_OPERATIONS = torch.library.Library("selfsup", "DEF")
_OPERATIONS.define("lloyd(Tensor points, int k, int iterations, int seed) -> Tensor")
_OPERATIONS.impl("lloyd", _lloyd, "CPU")


@register_flop_formula(torch.ops.selfsup.lloyd)
def _flops_of_lloyd(points: torch.Size, k: int, iterations: int, *_: object, **__: object) -> int:
    """Count a multiply-add for each point, cluster, number and iteration."""
    return 2 * points.numel() * k * iterations


def filled(points: Float[Tensor, "N D"], centroids: Float[Tensor, "k D"]) -> Clusters:
    """Assign points to their nearest centroids, and split large clusters until none is empty.

    The centroid of an empty cluster goes half way from the centroid of one of the largest clusters to its farthest
    point, which takes that point and its like along and never makes the sum of squared distances larger.
    """
    centroids = centroids.clone()
    scale = points.square().sum(1).mean()
    labels = nearest(points, centroids)
    for _ in range(REPAIRS):
        sizes = torch.bincount(labels, minlength=len(centroids))
        empty = (sizes == 0).nonzero().flatten()
        far, farthest = _farthest(points, centroids, labels)
        can_split = far > ROUNDING * scale  # clusters of equal points cannot
        large = torch.where(can_split, sizes, -1).argsort(descending=True, stable=True)
        large = large[: min(len(empty), int(can_split.sum()))]
        if len(large) == 0:
            break
        centroids[empty[: len(large)]] = (centroids[large] + points[farthest[large]]) / 2
        labels = nearest(points, centroids)
    return Clusters(centroids, labels)


def nearest(points: Float[Tensor, "N D"], centroids: Float[Tensor, "k D"], rows: int = 8192) -> Int[Tensor, " N"]:
    """Say which centroid is nearest to each point, `rows` points at a time."""
    with torch.autocast(points.device.type, enabled=False):
        lengths = centroids.square().sum(1)
        return torch.cat([(lengths - 2 * part @ centroids.T).argmin(1) for part in points.split(rows)])


def _farthest(
    points: Float[Tensor, "N D"], centroids: Float[Tensor, "k D"], labels: Int[Tensor, " N"]
) -> tuple[Float[Tensor, " k"], Int[Tensor, " k"]]:
    """Give the squared distance and the number of each cluster's farthest point; 0 and 0 for empty clusters."""
    distances = (points - centroids[labels]).square().sum(1)
    far = distances.new_zeros(len(centroids)).scatter_reduce_(0, labels, distances, "amax")
    numbers = torch.arange(len(points), device=points.device)
    is_far = distances == far[labels]
    return far, numbers.new_zeros(len(centroids)).scatter_reduce_(0, labels[is_far], numbers[is_far], "amax")


class Whitening(NamedTuple):
    """Mean of points, and their principal directions divided by the deviation along each."""

    mean: Float[Tensor, " D"]
    directions: Float[Tensor, "D d"]

    def __call__(self, points: Float[Tensor, "N D"]) -> Float[Tensor, "N d"]:
        """Give points in whitened principal components, each point brought to length 1."""
        with torch.autocast(points.device.type, enabled=False):
            return F.normalize((points - self.mean) @ self.directions, dim=1)


def whitening(points: Float[Tensor, "N D"], width: int) -> Whitening:
    """Find the `width` principal components of points, to be scaled to variance 1.

    Args:
        points: any scale; a component whose deviation is below a thousandth of the first one's is scaled as if it had
            that much, because it holds rounding and little else.
        width: components, at most D.

    Found in float64; all processes use what process 0 found. The largest entry of a direction is positive.

    Source: facebookresearch/deepcluster, clustering.py (256 components, eigenvalues to the power -0.5).
    """
    # in parts: a copy of all features in float64 would be twice as large as they are
    mean = torch.stack([part.double().sum(0) for part in points.split(8192)]).sum(0) / len(points)
    covariance = sum(
        (part.T @ part for part in (p.double() - mean for p in points.split(8192))), start=mean.new_zeros(len(mean), 1)
    ) / len(points)
    values, vectors = torch.linalg.eigh(covariance)  # in ascending order
    values, vectors = values.flip(0)[:width], vectors.flip(1)[:, :width]
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    directions = vectors * signs / values.clamp(min=max(1e-6 * values[0].item(), 1e-30)).sqrt()
    found = (processes.broadcast(part.to(points.dtype).contiguous()) for part in (mean, directions))
    return Whitening(*found)


def agreement(one: Int[Tensor, " N"], other: Int[Tensor, " N"]) -> float:
    """Give the mutual information of two clusterings over the mean of their entropies: 1 for equal ones, 0 for chance.

    Numbers of clusters may differ in any way. Two clusterings into a single cluster agree by 1.
    """
    pairs = one * (int(other.max()) + 1) + other
    entropies = [_entropy(labels) for labels in (one, other, pairs)]
    mean = (entropies[0] + entropies[1]) / 2
    return min(max((2 * mean - entropies[2]) / mean, 0.0), 1.0) if mean > 0 else 1.0


def _entropy(labels: Int[Tensor, " N"]) -> float:
    shares = labels.unique(return_counts=True)[1].double() / len(labels)
    return -float((shares * shares.log()).sum())


def even_order(labels: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Draw N points in random order so that all clusters come equally often, whatever their size.

    Each of m clusters gives int(N / m) + 1 points: different ones if it has more than that, else drawn with
    replacement. All are shuffled and cut to N.

    Source: facebookresearch/deepcluster, util.py (UnifLabelSampler).
    """
    count = len(labels)
    sizes = labels.unique(return_counts=True)[1]
    each = count // len(sizes) + 1
    # points in random order, cluster after cluster
    shuffled = torch.randperm(count, device=labels.device)
    by_cluster = shuffled[labels[shuffled].argsort(stable=True)]
    first = sizes.cumsum(0) - sizes
    anyone = (torch.rand(len(sizes), each, device=labels.device) * sizes[:, None]).long()  # [m, each]
    places = torch.where(sizes[:, None] > each, torch.arange(each, device=labels.device), anyone)
    drawn = by_cluster[(first[:, None] + places).flatten()]
    return drawn[torch.randperm(len(drawn), device=labels.device)][:count]
