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
    if groups is None or len(np.unique(groups)) == len(groups):
        fold = np.empty(len(labels), np.int64)  # shuffled, class by class, dealt like cards
        order = rng.permutation(len(labels))
        fold[order[np.argsort(label_of[order], kind="stable")]] = np.arange(len(labels)) % count
        return fold
    _, group_of = np.unique(groups, return_inverse=True)
    contents = np.zeros((int(group_of.max()) + 1, len(classes)), np.int64)  # images of each class in each group
    np.add.at(contents, (group_of, label_of), 1)
    order = rng.permutation(len(contents))
    order = order[np.argsort(-contents[order].sum(1), kind="stable")]  # large groups first: small ones fill the gaps
    of_class = contents.sum(0)
    held = np.zeros((count, len(classes)))
    fold_of = np.zeros(len(contents), np.int64)
    for group in order:
        mine = contents[group] > 0
        # the fold that has least of these classes; of equals the smallest
        load = (held[:, mine] / of_class[mine]).sum(1) + 1e-6 * held.sum(1) / len(labels)
        fold_of[group] = load.argmin()
        held[fold_of[group]] += contents[group]
    return fold_of[group_of]


def _shuffled(positions: Int[np.ndarray, " n"], *seeds: int) -> Int[np.ndarray, " n"]:
    return np.random.default_rng(list(seeds)).permutation(positions)
