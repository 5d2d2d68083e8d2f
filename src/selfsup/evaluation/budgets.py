"""Which images are labelled: nested class-balanced budgets, and folds inside them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

Key = tuple[int | None, int]
"""A label budget per class (None: all labels) and the number of a draw."""


def label_draws(
    labels: Int[np.ndarray, " N"], per_class: Sequence[int | None], draws: int, seed: int
) -> dict[Key, Int[np.ndarray, " n"]]:
    """Draw labelled images for each budget: n of every class, each draw containing its smaller budgets.

    Budgets that the rarest class cannot fill are left out. None takes everything, and there is only one way to
    do that, so it has draw 0 only. Positions in `labels` are given in rising order.
    """
    classes = np.unique(labels)
    available = min(int((labels == label).sum()) for label in classes) if len(classes) else 0
    found: dict[Key, Int[np.ndarray, " n"]] = {}
    for draw in range(draws):
        orders = [_shuffled(np.flatnonzero(labels == label), seed, draw, int(label)) for label in classes]
        for budget in per_class:
            if budget is not None and 0 < budget <= available:
                found[budget, draw] = np.sort(np.concatenate([order[:budget] for order in orders]))
    if None in per_class:
        found[None, 0] = np.arange(len(labels))
    return found


def labels_per_class(labels: Int[np.ndarray, " n"], classes: int) -> int:
    """Give how many labels a class has on average, rounded down."""
    return len(labels) // classes


def folds(
    labels: Int[np.ndarray, " N"], count: int, seed: int, groups: Int[np.ndarray, " N"] | None = None
) -> Int[np.ndarray, " N"]:
    """Deal images into folds with equal shares of every class; members of a group share a fold.

    Returns:
        The fold of each image, from 0 to `count` - 1.
    """
    rng = np.random.default_rng([seed, len(labels)])
    classes, label_of = np.unique(labels, return_inverse=True)
    fold = np.full(len(labels), -1, np.int64)
    held = np.zeros((count, len(classes)), np.int64)  # images of each class in each fold
    if groups is not None:
        _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        shared = rng.permutation(np.flatnonzero(sizes > 1))
        for group in shared[np.argsort(-sizes[shared], kind="stable")]:  # large ones first: small ones fill the gaps
            members = np.flatnonzero(group_of == group)
            content = np.bincount(label_of[members], minlength=len(classes))
            load = (held[:, content > 0] / np.bincount(label_of)[content > 0]).sum(1)
            fold[members] = np.lexsort((held.sum(1), load))[0]  # least of these classes, then fewest images
            held[fold[members[0]]] += content
    for label in range(len(classes)):
        alone = rng.permutation(np.flatnonzero((fold < 0) & (label_of == label)))
        fullness = held.sum(1).argsort(kind="stable").argsort(kind="stable") / count
        # what each fold would hold of this class after each further image; the lowest places are taken
        level = held[:, label, None] + np.arange(len(alone)) + fullness[:, None]
        fold[alone] = np.argsort(level, axis=None, kind="stable")[: len(alone)] // max(len(alone), 1)
        held[:, label] += np.bincount(fold[alone], minlength=count)
    return fold


def _shuffled(positions: Int[np.ndarray, " n"], *seeds: int) -> Int[np.ndarray, " n"]:
    return np.random.default_rng(list(seeds)).permutation(positions)
