"""How far numbers could lie from what was measured: the three levels of chance, as resampled deviations. No torch.

* **Test groups** (single images where there are no groups) are drawn with replacement, the same ones for every arm.
* **Label draws** are shared by all arms. What a draw does to all arms alike cancels in a comparison; what it does to
  one arm does not.
* **Seeds** belong to one arm: two methods that start from the same seed share little but their first weights.

Two or three seeds or draws are too few to be drawn with replacement: the interval would hold the truth four times in
five, not nineteen times in twenty. Their deviations are therefore drawn from Student's distribution, with the variance
taken half from the arm itself and half from all arms together, and the degrees of freedom that this has.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selfsup.advice.arms import Arm
from selfsup.errors import InputError

Floats = NDArray[np.float64]

_LEAST_FREEDOM = 2
# Two draws leave one degree of freedom for what they do to all arms alike, a factor of 12.7; that part decides
# nothing (it cancels in every comparison), so its interval is drawn a little too narrow rather than uselessly wide.


def of_images(
    rows: Floats, classes: NDArray[np.int64], groups: NDArray[np.int64] | None, resamples: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Give balanced accuracies [M] of mean correctness `rows` [M, N], and deviations [R, M] over redrawn groups."""
    order = np.argsort(classes, kind="stable")
    sizes = np.unique(classes, return_counts=True)[1]
    starts = np.cumsum(sizes) - sizes
    columns = rows[:, order].T.astype(np.float32)  # [N, M]
    group_of = (np.arange(len(classes)) if groups is None else np.unique(groups, return_inverse=True)[1])[order]
    count = int(group_of.max()) + 1

    def balanced(weights: NDArray[np.float32]) -> Floats:  # [r, N] -> [r, M]
        totals = np.add.reduceat(weights, starts, axis=1)
        present = totals > 0  # a class may be missing from a resample: for all arms alike
        shares = np.where(present, 1 / np.where(present, totals, 1), 0) / present.sum(axis=1, keepdims=True)
        return np.asarray(weights * np.repeat(shares.astype(np.float32), sizes, axis=1) @ columns, dtype=np.float64)

    means = balanced(np.ones((1, len(classes)), dtype=np.float32))[0]
    deviations = np.empty((resamples, len(rows)))
    chunk = max(1, min(resamples, 2_000_000 // len(classes)))
    for start in range(0, resamples, chunk):
        r = min(chunk, resamples - start)
        drawn = rng.integers(count, size=(r, count)) + np.arange(r)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=r * count).reshape(r, count).astype(np.float32)
        deviations[start : start + r] = balanced(times[:, group_of]) - means
    if count > 1:  # Student's distribution for a handful of groups; 1 for many
        deviations *= np.sqrt(count / rng.chisquare(count - 1, size=(resamples, 1)))
    return means, deviations


def cells_of(arms: Sequence[Arm], classes: NDArray[np.int64], groups: NDArray[np.int64] | None) -> list[Floats]:
    """Give what each test group adds to each arm's balanced accuracy, for each seed and draw: arrays [S, D, G]."""
    _, class_of, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    weights = 1 / (len(sizes) * sizes[class_of])
    parts: list[Floats] = [arm.correct * weights for arm in arms]
    if groups is None:
        return parts
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order][0] - 1))
    return [np.add.reduceat(part[..., order], starts, axis=2) for part in parts]


def of_seeds(arms: Sequence[Arm], cells: Sequence[Floats], resamples: int, rng: np.random.Generator) -> Floats:
    """Deviations [R, A] from training again with other seeds."""
    deviations = np.zeros((resamples, len(arms)))
    freedom = [len(cell) - 1 for cell in cells]
    own = [_variance(cell.mean(axis=1)) if arm.seeded else None for arm, cell in zip(arms, cells, strict=True)]
    all_freedom = sum(f for f, variance in zip(freedom, own, strict=True) if variance is not None)
    if not all_freedom:
        return deviations  # training spread unknown, which the verdict says
    pooled = sum(f * v for f, v in zip(freedom, own, strict=True) if v is not None) / all_freedom
    for column, arm in enumerate(arms):
        if arm.seeded:
            variance, left = _moderated(own[column], pooled, freedom[column], all_freedom)
            deviations[:, column] = _student(variance / len(cells[column]), left, (resamples,), rng)
    return deviations


def of_draws(cells: Sequence[Floats], resamples: int, rng: np.random.Generator) -> Floats:
    """Deviations [R, A] from labelling other images: one part shared by all arms, one of each arm's own."""
    draws = {cell.shape[1] for cell in cells}
    if len(draws) > 1:
        raise InputError(f"All arms need the same label draws, got {sorted(draws)} of them.")
    count = draws.pop()
    if count == 1:
        return np.zeros((resamples, len(cells)))
    answers = np.stack([cell.mean(axis=0) for cell in cells])  # [A, D, G]
    shared, freedom = answers.mean(axis=0), count - 1
    if len(cells) == 1:
        return _student(max(_variance(shared) or 0.0, 0.0) / count, max(freedom, _LEAST_FREEDOM), (resamples, 1), rng)
    all_freedom = (len(cells) - 1) * freedom
    own = [(_variance(arm - shared) or 0.0) / (1 - 1 / len(cells)) for arm in answers]
    pooled = float(np.mean(own))
    # the mean over arms also holds a part of what draws do to single arms
    alike = max((_variance(shared) or 0.0) - max(pooled, 0.0) / len(cells), 0.0)
    deviations = np.repeat(
        _student(alike / count, max(freedom, _LEAST_FREEDOM), (resamples, 1), rng), len(cells), axis=1
    )
    for column in range(len(cells)):
        variance, left = _moderated(own[column], pooled, freedom, all_freedom)
        deviations[:, column] += _student(variance / count, left, (resamples,), rng)
    return deviations


def _student(variance: float, freedom: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Draw deviations of a mean whose variance was estimated with so many degrees of freedom."""
    return np.asarray(np.sqrt(variance) * rng.standard_t(freedom, shape))


def _variance(answers: Floats) -> float | None:
    """Variance over the rows of `answers` [n, G], less half of what the choice of test groups alone puts into it.

    That part is counted already where the test groups are resampled. Left in, intervals hold the truth 99 times in a
    hundred; taken out in full, and being an estimate itself, 92 times in the worst case; halved, 95 to 98 times.
    None for one row; below 0 where the rows differ less than the test groups explain.
    """
    if len(answers) < 2:
        return None
    from_groups = answers.var(axis=0, ddof=1).sum()
    return float(answers.sum(axis=1).var(ddof=1) - from_groups / 2)


def _moderated(own: float | None, pooled: float, freedom: int, all_freedom: int) -> tuple[float, float]:
    """Variance taken half from an arm and half from all arms, and its degrees of freedom if all have the same."""
    if own is None:
        return max(pooled, 0.0), all_freedom
    return max((own + pooled) / 2, 0.0), 1 / (0.25 / freedom + 0.75 / all_freedom)
