"""A second opinion: whether nearest neighbours and the linear probe name the same methods as the best."""

from typing import Any, NamedTuple

from selfsup.advice import ranking
from selfsup.advice import verdict as words
from selfsup.advice.found import Found, as_row
from selfsup.advice.resampling import Interval, Resampled


class Disagreement(NamedTuple):
    """No method is among the best by both probes, ties by their intervals included."""

    probe: str
    """The other probe, such as `knn10`."""
    linear: list[str]
    """The best by the linear probe, and what ties with it."""
    other: list[str]
    """The same by the other probe."""
    intervals: dict[str, Interval]
    """By the other probe, of all methods named."""

    def sentence(self) -> str:
        """Say it."""
        other, linear = (words.listed([words.name_of(name) for name in names]) for names in (self.other, self.linear))
        numbers = [f"{words.name_of(name)} {words.percent(interval)}" for name, interval in self.intervals.items()]
        return (
            f"Two probes disagree about the best: by {_probe_words(self.probe)} at the same stages {other} "
            f"({words.listed(numbers)}), by the linear probe {linear}; which to take depends on how the features "
            "will be used."
        )

    def written(self) -> dict[str, Any]:
        """Give what `verdict.json` holds."""
        rows = [{"arm": name, **as_row(interval)} for name, interval in self.intervals.items()]
        return {"probe": self.probe, "linear": self.linear, "other": self.other, "table": rows}


def disagreement(found: Found, arms: Resampled) -> Disagreement | None:
    """Compare the best methods by the linear probe with those by other probes, at the largest label budget.

    Without a known training spread there is nothing to say.

    Args:
        found: all answers.
        arms: by the linear probe, at that budget.
    """
    if len(arms.names("method")) < 2 or not arms.spread_known():
        return None
    linear = ranking.ties(arms).tied
    for probe in found.probes():
        second = found.second(probe)
        other = ranking.ties(second).tied
        if not set(linear) & set(other):
            named = [*other, *linear]
            return Disagreement(probe, linear, other, {name: second.interval(name) for name in named})
    return None


def _probe_words(probe: str) -> str:
    count = probe.removeprefix("knn")
    return f"{count} nearest neighbours" if count.isdigit() else probe
