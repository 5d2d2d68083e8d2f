"""What intervals allow one to say: which method is better, which cannot be told apart, and whether any is worth it."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from selfsup.advice.resampling import Interval, Resampled

MARGIN = 0.01
"""A method must be shown to be this much better than every control; one point."""


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
