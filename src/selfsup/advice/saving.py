"""How many labels pretraining saves: what scratch needs for the same accuracy, never beyond what was measured."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from selfsup.advice.resampling import Budget, Resampled
from selfsup.advice.spread import Floats


class Saving(NamedTuple):
    """How many times the labels scratch needs for the same accuracy."""

    factor: float
    beyond: bool
    """The pool ends before scratch gets there: it needs more than `factor` times the labels."""
    low: float | None = None
    high: float | None = None
    """95 % of the resamples; None where an end lies outside the pool."""

    def words(self) -> str:
        """Say it, rounded, never with a number that was not measured."""
        if self.beyond:
            return f"scratch needs more than {_times(self.factor)} the labels"
        if self.low is None or self.high is None:
            return f"scratch needs about {_times(self.factor)} the labels"
        return f"scratch needs {_times(self.factor)} the labels ({_times(self.low)} to {_times(self.high)})"


def _times(factor: float) -> str:
    return f"{factor:.1f}x" if factor < 9.95 else f"{factor:.0f}x"


def label_saving(labels: int, accuracy: float, scratch: Iterable[tuple[int, float]]) -> Saving | None:
    """Find how many labels scratch needs for `accuracy`, by interpolation over the logarithm of the labels.

    Args:
        labels: how many the method had.
        accuracy: what it reached with them.
        scratch: (labels, accuracy) of the network trained from scratch.

    Returns:
        None where scratch reaches it with fewer labels than it was ever given, or is not there at all.
    """
    points = sorted(scratch)
    if not points:
        return None
    count = np.log([n for n, _ in points])
    reached = np.maximum.accumulate([value for _, value in points])  # more labels never hurt in the long run
    if accuracy > reached[-1]:
        return Saving(points[-1][0] / labels, beyond=True)
    if accuracy < reached[0]:
        return None
    after = int(np.argmax(reached >= accuracy))
    if after == 0:
        return Saving(points[0][0] / labels, beyond=False)
    share = (accuracy - reached[after - 1]) / (reached[after] - reached[after - 1])
    needed = np.exp(count[after - 1] + share * (count[after] - count[after - 1]))
    return Saving(float(needed / labels), beyond=False)


def label_savings(
    name: str, scratch: str, resampled: Mapping[Budget, Resampled], labels: Mapping[Budget, int]
) -> dict[Budget, Saving]:
    """Give the label saving of a method at every budget below the largest, with intervals.

    Args:
        name: the method's arm.
        scratch: the arm trained from scratch.
        resampled: the arms at each budget, made by one call of `resample_budgets`.
        labels: labels at each budget.
    """
    known = [budget for budget, arms in resampled.items() if scratch in arms]
    most = max((labels[budget] for budget in known), default=0)
    found: dict[Budget, Saving] = {}
    for budget, arms in resampled.items():
        if name not in arms or labels[budget] >= most:
            continue
        saving = label_saving(labels[budget], arms.mean(name), [(labels[b], resampled[b].mean(scratch)) for b in known])
        if saving is None:
            continue
        own = arms.mean(name) + arms.deviations[:, arms.column(name)]
        curve = np.stack([resampled[b].mean(scratch) + _deviations(resampled[b], scratch) for b in known], axis=1)
        sizes = [labels[b] for b in known]
        drawn = [
            label_saving(labels[budget], accuracy, zip(sizes, reached, strict=True))
            for accuracy, reached in zip(own.tolist(), curve.tolist(), strict=True)
        ]
        low, high = np.quantile(
            [_or_ends(s, min(sizes) / labels[budget]) for s in drawn], [0.025, 0.975], method="nearest"
        )
        inside = np.isfinite(high) and low > min(sizes) / labels[budget]
        found[budget] = saving._replace(low=float(low), high=float(high)) if inside and not saving.beyond else saving
    return found


def _or_ends(saving: Saving | None, least: float) -> float:
    if saving is None:
        return least
    return np.inf if saving.beyond else saving.factor


def _deviations(resampled: Resampled, name: str) -> Floats:
    return resampled.deviations[:, resampled.column(name)]
