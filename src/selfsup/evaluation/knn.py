"""Nearest neighbours as a classifier: cosine similarity, majority of k, nothing to tune."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Name = TypeVar("Name", bound=Hashable)


def knn(
    bank: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    queries: Float[np.ndarray, "Q D"],
    classes: int,
    k: int,
) -> Int[np.ndarray, " Q"]:
    """Give the majority class of the k most similar rows of the bank (all of them where there are fewer).

    Features are scaled to length 1. Of equal counts the class with the larger summed similarity wins.
    """
    everything = {"all": np.arange(len(bank))}
    return knn_draws(bank, labels, everything, queries, classes, [k])["all", k]


def knn_draws(
    bank: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    draws: Mapping[Name, Int[np.ndarray, " _"]],
    queries: Float[np.ndarray, "Q D"],
    classes: int,
    ks: Sequence[int],
    chunk: int = 1024,
) -> dict[tuple[Name, int], Int[np.ndarray, " Q"]]:
    """Classify by k neighbours for several draws of labelled images; each similarity is computed once."""
    used = np.unique(np.concatenate(list(draws.values())))
    first = {indices.tobytes(): name for name, indices in reversed(list(draws.items()))}  # equal draws are sorted once
    place = {name: torch.from_numpy(np.searchsorted(used, draws[name])) for name in first.values()}
    keys, targets = unit_rows(bank[used]), torch.from_numpy(np.ascontiguousarray(labels[used], dtype=np.int64))
    found: dict[tuple[Name, int], list[np.ndarray]] = {(name, k): [] for name in place for k in ks}
    for start in range(0, len(queries), chunk):
        similar = unit_rows(queries[start : start + chunk]) @ keys.T  # [q, n]
        for name, columns in place.items():
            closeness, near = similar[:, columns].topk(min(max(ks), len(columns)), dim=1)
            owners = targets[columns[near]]
            for k in ks:
                found[name, k].append(_majority(closeness[:, :k], owners[:, :k], classes).numpy())
    whole = {key: np.concatenate(pieces) for key, pieces in found.items()}
    return {(name, k): whole[first[indices.tobytes()], k] for name, indices in draws.items() for k in ks}


def unit_rows(features: Float[np.ndarray, "N D"]) -> Float[Tensor, "N D"]:
    """Scale rows to length 1; zeros stay zeros."""
    return torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)), dim=1)


def _majority(closeness: Float[Tensor, "Q k"], owners: Int[Tensor, "Q k"], classes: int) -> Int[Tensor, " Q"]:
    votes = torch.zeros(len(owners), classes).scatter_add_(1, owners, torch.ones_like(closeness))
    nearness = torch.zeros(len(owners), classes).scatter_add_(1, owners, closeness)
    # similarities are within ±1, so their sum over k rows cannot outweigh a vote
    return (votes + nearness / (2 * closeness.shape[1] + 1)).argmax(1)
