"""Which arm is better, and how sure that is: intervals and ties from right and wrong answers. No torch.

An *arm* is anything that was asked the test images: a pretrained encoder, an untrained one, raw pixels, a network
trained from scratch. It brings a table `correct` [S, D, N]: for each seed and each draw of labels, which of the N
test images it got right. The statistic is balanced accuracy (the mean over classes of the share that is right),
averaged over seeds and draws.

Three levels of chance are resampled, and their deviations added:

* **Test groups** (single images where there are no groups) are drawn with replacement, the same ones for every arm.
* **Label draws** are shared by all arms. What a draw does to all arms alike cancels in a comparison; what it does to
  one arm does not.
* **Seeds** belong to one arm: two methods that start from the same seed share little but their first weights.

Two or three seeds or draws are too few to be drawn with replacement: the interval would hold the truth four times in
five, not nineteen times in twenty. Their deviations are therefore drawn from Student's distribution, with the variance
taken half from the arm itself and half from all arms together, and the degrees of freedom that this has.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from selfsup.errors import InputError

Kind = Literal["method", "finetuned", "control"]
Floats = NDArray[np.float64]
Budget = TypeVar("Budget", bound=Hashable)

MARGIN = 0.01
"""A method must be shown to be this much better than every control; one point."""

_LEAST_FREEDOM = 2
# Two draws leave one degree of freedom for what they do to all arms alike, a factor of 12.7; that part decides
# nothing (it cancels in every comparison), so its interval is drawn a little too narrow rather than uselessly wide.


@dataclass(frozen=True)
class Arm:
    """The answers of one arm at one label budget.

    Args:
        name: shown in tables and sentences.
        kind: `method` (frozen and probed), `finetuned` (a method whose weights went on training), or `control`.
        correct: [S, D, N], true where the answer is right.
        seeded: False where another seed would change nothing (raw pixels).
    """

    name: str
    kind: Kind
    correct: NDArray[np.bool_]
    seeded: bool = True

    def __post_init__(self) -> None:
        if self.correct.ndim != 3 or 0 in self.correct.shape:
            raise InputError(f"The answers of {self.name} must be [seeds, draws, images], got {self.correct.shape}.")


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
    means, image_deviations = _of_images(rows, classes, groups, resamples, np.random.default_rng([seed, 0]))
    found, start = {}, 0
    for number, (budget, at_budget) in enumerate(arms.items()):
        part = slice(start, start + len(at_budget))
        start = part.stop
        rng = np.random.default_rng([seed, 1, number])
        cells = _cells(at_budget, classes, groups)
        deviations = image_deviations[:, part] + _of_seeds(at_budget, cells, resamples, rng)
        deviations += _of_draws(cells, resamples, rng)
        found[budget] = Resampled(tuple(at_budget), means[part], deviations, image_deviations[:, part])
    return found


def _of_images(
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


def _cells(arms: Sequence[Arm], classes: NDArray[np.int64], groups: NDArray[np.int64] | None) -> list[Floats]:
    """Give what each test group adds to each arm's balanced accuracy, for each seed and draw: arrays [S, D, G]."""
    _, class_of, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    weights = 1 / (len(sizes) * sizes[class_of])
    parts: list[Floats] = [arm.correct * weights for arm in arms]
    if groups is None:
        return parts
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order][0] - 1))
    return [np.add.reduceat(part[..., order], starts, axis=2) for part in parts]


def _of_seeds(arms: Sequence[Arm], cells: Sequence[Floats], resamples: int, rng: np.random.Generator) -> Floats:
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


def _of_draws(cells: Sequence[Floats], resamples: int, rng: np.random.Generator) -> Floats:
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


class Ties(NamedTuple):
    """The method with the highest mean, and the methods that cannot be told from it (itself first)."""

    best: str
    tied: list[str]


def ties(resampled: Resampled, candidates: Sequence[str] | None = None) -> Ties:
    """Compare all methods with the best of the candidates, by default of all.

    The best is chosen after seeing the means, so the comparisons hold for all pairs at once.
    """
    names = resampled.names("method")
    best = max(names if candidates is None else candidates, key=resampled.mean)
    found = resampled.differences([(name, other) for name in names for other in names if name != other])
    tied = [name for name in names if name != best and found[best, name].low <= 0]
    return Ties(best, [best, *sorted(tied, key=resampled.mean, reverse=True)])


class Gain(NamedTuple):
    """How far a method lies above the control that is hardest to beat."""

    control: str
    gain: Interval
    shown: bool
    """Whether the lower bound is above the margin, for every control."""


def gains(resampled: Resampled, margin: float = MARGIN) -> dict[str, Gain]:
    """Compare every method, frozen or fine-tuned, with every control at once."""
    methods, controls = resampled.names("method", "finetuned"), resampled.names("control")
    found = resampled.differences([(method, control) for method in methods for control in controls])
    gain_of = {}
    for method in methods:
        hardest = min(controls, key=lambda control: found[method, control].low, default=None)
        if hardest is not None:
            gain = found[method, hardest]
            gain_of[method] = Gain(hardest, gain, gain.low > margin)
    return gain_of


Answer = Literal["pretrain", "tie", "do_not_pretrain", "unknown"]


class Decision(NamedTuple):
    """What the numbers allow one to say at one label budget."""

    verdict: Answer
    best: str
    """The frozen method with the highest mean."""
    winner: str | None
    """Set where one method is better than all others and than the controls."""
    ties: list[str]
    """Methods that cannot be told from the best, itself included; empty where it stands alone."""
    gains: dict[str, Gain]
    spread_known: bool


def decide(resampled: Resampled, margin: float = MARGIN) -> Decision:
    """Say pretrain, tie, do not pretrain, or unknown.

    'No' is the answer unless some method, frozen or fine-tuned, is shown to be a point above every control. One seed
    can support a 'no' (a known spread would only widen the intervals), but no winner.
    """
    gain_of = gains(resampled, margin)
    worthy = [name for name in resampled.names("method") if _is_shown(name, gain_of)]
    best, tied = ties(resampled, worthy or resampled.names("method"))
    known = resampled.spread_known()
    answer: Answer
    if not worthy:
        answer = "do_not_pretrain"
    elif not known:
        answer = "unknown"
    else:
        answer = "tie" if len(tied) > 1 else "pretrain"
    winner = best if answer == "pretrain" else None
    return Decision(answer, best, winner, tied if len(tied) > 1 else [], gain_of, known)


def _is_shown(method: str, gain_of: Mapping[str, Gain]) -> bool:
    """Whether a method is worth its time, frozen or fine-tuned."""
    return any(gain.shown for name, gain in gain_of.items() if name.split(" ")[0] == method)
