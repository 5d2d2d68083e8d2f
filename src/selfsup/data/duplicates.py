"""Find images that are the same or nearly the same picture: saved again, resized, slightly brighter or recoloured.

Each image becomes 16 x 16 colours less their mean (overall colour) and less the mean picture of the set (a fixed
background, a vignette). Two are nearly identical if these correlate at 0.96 or more: on CIFAR-10 nearly all pairs from
there on are the same photograph, and a JPEG of quality 60 of a 32 px image stays above. Candidates come from random
hyperplanes (locality-sensitive hashing), so a million images do not need a million million comparisons.
Source: Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32, Int64, Integer, UInt8

from selfsup.data.store import ImageStore

SIMILAR = 0.96
"""Correlation from which two pictures count as nearly identical."""
_STRICTER = (0.98, 0.99, 0.995, 0.999)
ALL_PAIRS = 3000
"""Up to so many images are all compared with each other; more are hashed first."""
_SIDE = 16
_FLAT = 2.0  # gray levels: what differs less from the mean picture is compared byte by byte only
_DIMENSIONS = 48
_TABLES = 16
_NEIGHBOURS = 24  # compared within a bucket, which is sorted by the largest component
_SAMPLE = 4096
_BATCH = 1024


Images = ImageStore | np.ndarray
"""A store, or an array [N, 3, S, S] of bytes."""


def near_duplicates(images: Images) -> Int64[np.ndarray, " N"]:
    """Give each image the number of its group: the smallest index of an image that is nearly the same picture.

    Groups are chains: neighbours are nearly identical. A chain that holds more than 2 % of the images (and more than
    20) is not believed, as in a set of handwritten ones: it is cut where correlation is below 0.98, then 0.99 and so
    on to 0.999. What hangs together then (a film, frame by frame) stays one group.
    """
    pairs, likeness = similar_pairs(images)
    count = len(images)
    group = components(count, pairs)
    limit = max(20, count // 50)
    for threshold in _STRICTER:
        large = np.bincount(group, minlength=count)[group] > limit
        if not large.any():
            break
        kept = ~large[pairs[:, 0]] | (likeness >= threshold)
        pairs, likeness = pairs[kept], likeness[kept]
        group = components(count, pairs)
    return group


def overlap(store: Images, other: Images) -> Int64[np.ndarray, " n"]:
    """Give the indices of images of `store` that are nearly identical to one of `other`, in order."""
    pairs, _ = similar_pairs(store, other)
    across = (pairs[:, 0] < len(store)) & (pairs[:, 1] >= len(store))
    return np.unique(pairs[across, 0])


def similar_pairs(*pieces: Images) -> tuple[Int64[np.ndarray, "P 2"], Float32[np.ndarray, " P"]]:
    """Give pairs (a < b) of nearly identical images, and their correlation (1 for flat images of equal bytes).

    Images are numbered through all `pieces`, one after the other.
    """
    count = sum(len(piece) for piece in pieces)
    if count < 2:
        return np.empty((0, 2), np.int64), np.empty(0, np.float32)

    def read(indices: np.ndarray) -> np.ndarray:
        """Thumbnails less their own mean colour [n, 768]."""
        result = np.empty((len(indices), 3 * _SIDE * _SIDE), np.float32)
        start = 0
        for piece in pieces:
            here = np.flatnonzero((indices >= start) & (indices < start + len(piece)))
            for some in np.array_split(here, len(here) // _BATCH + 1) if len(here) else []:
                result[some] = thumbnails(_rows(piece, indices[some] - start))
            start += len(piece)
        return result

    sample = read(np.arange(count) if count <= _SAMPLE else np.linspace(0, count - 1, _SAMPLE).astype(np.int64))
    mean = sample.mean(0)
    if count <= ALL_PAIRS:
        unit, level = _unit(sample - mean)
        flat = level < _FLAT
        pairs = np.argwhere(np.triu(unit @ unit.T >= SIMILAR, 1) & ~flat[:, None] & ~flat)
    else:
        pairs, flat = _hashed_pairs(read, mean, sample, count)
    likeness = np.empty(len(pairs), np.float32)
    for some in np.array_split(np.arange(len(pairs)), len(pairs) // _BATCH + 1):
        one, other = (_unit(read(pairs[some, side]) - mean)[0] for side in (0, 1))
        likeness[some] = (one * other).sum(1)
    pairs, likeness = pairs[likeness >= SIMILAR], likeness[likeness >= SIMILAR]
    same = _equal_bytes(pieces, np.flatnonzero(flat))
    return np.concatenate([pairs, same]), np.concatenate([likeness, np.ones(len(same), np.float32)])


def _hashed_pairs(
    read: Callable[[np.ndarray], np.ndarray], mean: np.ndarray, sample: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give pairs that may be similar, and which images are flat, without comparing all with all."""
    basis, spread = _principal(_unit(sample - mean)[0])
    places = np.empty((count, basis.shape[1]), np.float32)
    flat = np.empty(count, bool)
    for start in range(0, count, _BATCH):
        here = np.arange(start, min(start + _BATCH, count))
        unit, level = _unit(read(here) - mean)
        places[here], flat[here] = unit @ basis, level < _FLAT
    return _candidates(places, spread, np.flatnonzero(~flat)), flat


def _rows(images: Images, indices: Integer[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3 S S"]:
    return images.rows(indices) if isinstance(images, ImageStore) else np.asarray(images[indices])


def thumbnails(pixels: UInt8[np.ndarray, "n 3 S S"]) -> Float32[np.ndarray, "n 768"]:
    """Average each image over 16 x 16 areas and take its mean colour away."""
    side = pixels.shape[-1]
    edges, place = np.linspace(0, side, _SIDE + 1), np.arange(side)
    covered = np.minimum(edges[1:, None], place + 1) - np.maximum(edges[:-1, None], place)
    weights = np.maximum(covered, 0).astype(np.float32)
    weights /= weights.sum(1, keepdims=True)
    small = weights @ pixels.astype(np.float32) @ weights.T
    small -= small.mean((2, 3), keepdims=True)
    result: np.ndarray = small.reshape(len(pixels), -1)
    return result


def _unit(residual: Float32[np.ndarray, "n D"]) -> tuple[np.ndarray, np.ndarray]:
    """Scale rows to length 1; and their standard deviation before."""
    length = np.linalg.norm(residual, axis=1)
    return residual / np.maximum(length, 1e-6)[:, None], length / np.sqrt(residual.shape[1])


def _principal(rows: Float32[np.ndarray, "n D"]) -> tuple[np.ndarray, np.ndarray]:
    """The directions of largest spread [D, k] and the spread along them."""
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    basis = np.ascontiguousarray(vectors[:, ::-1][:, :_DIMENSIONS])
    return basis, np.maximum(values[::-1][:_DIMENSIONS], 1e-6)


def _candidates(places: Float32[np.ndarray, "N k"], spread: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Pairs that fall on the same side of some hyperplanes: near images almost surely, others rarely."""
    if len(among) < 2:
        return np.empty((0, 2), np.int64)
    bits = int(np.clip(np.ceil(np.log2(len(among))), 4, 24))
    random = np.random.default_rng(0)
    even = places[among] / spread**0.25  # half way to equal spread, so that buckets are of similar size
    order_in_bucket = even[:, 0]
    found = []
    for _ in range(_TABLES):
        planes = random.standard_normal((even.shape[1], bits)).astype(np.float32)
        code = (even @ planes > 0) @ (1 << np.arange(bits))
        order = np.lexsort((order_in_bucket, code))
        sorted_code = code[order]
        start = np.arange(len(order))
        for step in range(1, _NEIGHBOURS + 1):
            start = start[start + step < len(order)]
            start = start[sorted_code[start] == sorted_code[start + step]]
            if not len(start):
                break
            pair = np.stack([order[start], order[start + step]], 1)
            pair = among[pair]
            # nearer than the images themselves, because a projection only shortens
            near = np.square(places[pair[:, 0]] - places[pair[:, 1]]).sum(1) <= 2 * (1 - SIMILAR)
            found.append(pair[near])
    pairs = np.sort(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=1)
    return np.unique(pairs, axis=0)


def _equal_bytes(pieces: Sequence[Images], among: np.ndarray) -> np.ndarray:
    """Pairs (first of its kind, image) of images of equal bytes."""
    first: dict[bytes, int] = {}
    pairs = []
    start = 0
    for piece in pieces:
        for number in among[(among >= start) & (among < start + len(piece))].tolist():
            known = first.setdefault(_rows(piece, np.array([number - start])).tobytes(), number)
            if known != number:
                pairs.append((known, number))
        start += len(piece)
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def components(count: int, pairs: Int64[np.ndarray, "P 2"]) -> Int64[np.ndarray, " N"]:
    """Number the connected parts of a graph by their smallest member."""
    group = np.arange(count)
    while len(pairs):
        smaller = np.minimum(group[pairs[:, 0]], group[pairs[:, 1]])
        before = group.copy()
        np.minimum.at(group, pairs[:, 0], smaller)
        np.minimum.at(group, pairs[:, 1], smaller)
        group = group[group]
        if (group == before).all():
            break
    return group
