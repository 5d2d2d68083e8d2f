"""Intervals of means and of differences, from right and wrong answers. No torch.

An arm brings a table `correct` [S, D, N]: for each seed and each draw of labels, which of the N test images it got
right. The statistic is balanced accuracy (the mean over classes of the share that is right), averaged over seeds and
draws. Test groups, label draws and seeds are resampled, and their deviations added (see `spread`).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from selfsup.advice.arms import Arm, Kind
from selfsup.advice.spread import Floats, cells_of, of_draws, of_images, of_seeds
from selfsup.errors import InputError

Budget = TypeVar("Budget", bound=Hashable)


class Interval(NamedTuple):
    """A mean or a difference with its 95 % interval, in shares (0.01 is a point)."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the length, for ±."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Resampled:
    """The arms at one label budget with their resampled deviations."""

    arms: tuple[Arm, ...]
    means: Floats
    """[A]"""
    deviations: Floats
    """[R, A], from all three levels."""
    from_images: Floats
    """[R, A], the part that comes from the choice of test images."""

    def __contains__(self, name: object) -> bool:
        return any(arm.name == name for arm in self.arms)

    def names(self, *kinds: Kind) -> list[str]:
        """Names of the arms of these kinds, in order."""
        return [arm.name for arm in self.arms if arm.kind in kinds]

    def column(self, name: str) -> int:
        """Place of an arm."""
        return next(column for column, arm in enumerate(self.arms) if arm.name == name)

    def mean(self, name: str) -> float:
        """Balanced accuracy of an arm."""
        return float(self.means[self.column(name)])

    def interval(self, name: str) -> Interval:
        """Balanced accuracy of an arm, inside [0, 1]."""
        column = self.column(name)
        low, high = self.means[column] + np.quantile(self.deviations[:, column], [0.025, 0.975])
        return Interval(float(self.means[column]), max(0.0, float(low)), min(1.0, float(high)))

    def difference(self, name: str, other: str) -> Interval:
        """How far `name` lies above `other`, paired."""
        return self.differences([(name, other)])[name, other]

    def differences(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Interval]:
        """How far each first lies above its second; the intervals hold all at once (max-type statistic)."""
        if not pairs:
            return {}
        first = [self.column(name) for name, _ in pairs]
        second = [self.column(other) for _, other in pairs]
        means = self.means[first] - self.means[second]
        deviations = self.deviations[:, first] - self.deviations[:, second]
        low, high = np.quantile(deviations, [0.025, 0.975], axis=0)
        scale = np.maximum((high - low) / 2, 1e-12)  # not the standard deviation: Student's tails may have none
        width = scale * max(1.0, float(np.quantile(np.abs(deviations / scale).max(axis=1), 0.95)))
        return {
            pair: Interval(float(mean), float(mean - w), float(mean + w))
            for pair, mean, w in zip(pairs, means, width, strict=True)
        }

    def spread_known(self) -> bool:
        """Whether every method was trained from two seeds or more."""
        return all(arm.correct.shape[0] > 1 for arm in self.arms if arm.kind == "method")

    def detectable(self, names: Sequence[str] | None = None) -> float:
        """Smallest difference that this choice of test images lets one see: typical half width of a paired interval."""
        columns = [self.column(name) for name in names or [arm.name for arm in self.arms]]
        widths = []
        for place, column in enumerate(columns):
            for other in columns[place + 1 :]:
                low, high = np.quantile(self.from_images[:, column] - self.from_images[:, other], [0.025, 0.975])
                widths.append((high - low) / 2)
        return float(np.median(widths)) if widths else self._own_width(columns)

    def _own_width(self, columns: Sequence[int]) -> float:
        low, high = np.quantile(self.from_images[:, columns[0]], [0.025, 0.975])
        return float((high - low) / 2)


def resample(
    arms: Sequence[Arm],
    classes: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Resampled:
    """Resample seeds, label draws and test groups of the arms at one label budget.

    Args:
        arms: their draws are the same, in the same order; their seeds need not be.
        classes: [N], the true class of each test image.
        groups: [N], images of one patient, scene or near-duplicate; None: each image stands alone.
        resamples: how often; 2,000 give the ends of an interval to about 3 % of its width.
        seed: the same seed and test images give the same resampled images, at every label budget.
    """
    return resample_budgets({0: arms}, classes, groups, resamples=resamples, seed=seed)[0]


def resample_budgets(
    arms: Mapping[Budget, Sequence[Arm]],
    classes: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[Budget, Resampled]:
    """Do `resample` for every label budget with the same resampled test images, which is also cheaper."""
    flat = [arm for at_budget in arms.values() for arm in at_budget]
    if not flat:
        return {}
    for arm in flat:
        if arm.correct.shape[2] != len(classes):
            raise InputError(f"{arm.name} answered {arm.correct.shape[2]} test images, there are {len(classes)}.")
    rows = np.stack([arm.correct.mean(axis=(0, 1)) for arm in flat])  # [M, N]
    means, image_deviations = of_images(rows, classes, groups, resamples, np.random.default_rng([seed, 0]))
    found, start = {}, 0
    for number, (budget, at_budget) in enumerate(arms.items()):
        part = slice(start, start + len(at_budget))
        start = part.stop
        rng = np.random.default_rng([seed, 1, number])
        cells = cells_of(at_budget, classes, groups)
        deviations = image_deviations[:, part] + of_seeds(at_budget, cells, resamples, rng)
        deviations += of_draws(cells, resamples, rng)
        found[budget] = Resampled(tuple(at_budget), means[part], deviations, image_deviations[:, part])
    return found
