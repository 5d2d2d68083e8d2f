"""The verdict in words and numbers: what `verdict.json` and `results.json` hold.

`verdict.json`:
    verdict     `pretrain`, `tie`, `do_not_pretrain` or `unknown`
    sentences   what to tell a person, in order
    next        what to do now, one sentence
    best        frozen method with the highest mean; null without labels
    winner      the best, where it is better than all others and than every control; else null
    stage       stage of the network that the best is probed at
    ties        methods that cannot be told from the best, itself included; empty where there is no tie
    per_class   labels per class of the verdict, null for all of the pool; `labels` in all
    table       rows {arm, kind, stage, mean, low, high, auroc, vs_untrained {mean, low, high},
                vs_controls {control, mean, low, high, shown}}; kind is `method`, `finetuned`, `control` or `reference`.
                A fine-tuned method is named `NAME fine-tuned`: it is a use of the method, not something the method must
                beat. A reference (public weights) stands last and is never best, winner or tied; it has
                `architecture`, `same_architecture`, and where that is true `vs_best` {arm, mean, low, high}
    disagreement  {probe, linear, other, table}: no method is among the best by the linear and by another probe; else
                null
    caveats     sentences that limit the verdict
    command     trains the best longer on everything; empty where nothing is recommended
    transductive

`results.json`:
    measure, chance, test_images, test_groups, detectable_points (in points), transductive, notes
    curves      rows {arm, kind, per_class, labels, stage, mean, low, high}
    stages      rows {arm, kind, stage, per_class, mean, low, high}
    neighbours  rows {arm, kind, per_class, probe, mean}: nearest neighbours at the same stage, as a second opinion
    budgets     rows {per_class, labels, verdict, best, winner, ties, gains [{arm, control, mean, low, high, shown}]}
    label_saving rows {arm, per_class, labels, factor, beyond, low, high, text}
    cost        rows {arm, kind, seconds, trunk_gflops, memory_mb, steps, images_per_second} of one run; of `scratch`,
                one training on all labels of the verdict, without the search for its learning rate. Of `aetgan`,
                seconds and trunk_gflops hold those of its generator, which was trained once, and `generator`
                {seconds, trunk_gflops} says them
    screening   rows {arm, seed, stage, validation, finalist}
    runs        rows {arm, seed, folder, role}; role is `screening` or `reported`
    failed      rows {arm, seed, error}
    tasks       rows {arm, seed, headline, value, chance, rises, health}: how well each task itself was learned

All accuracies are shares in [0, 1].
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from selfsup.advice.arms import untrained_of
from selfsup.advice.ranking import MARGIN, Answer, Decision
from selfsup.advice.references import Reference
from selfsup.advice.resampling import Interval, Resampled
from selfsup.advice.saving import Saving
from selfsup.run import write_json

NAMES = {
    "aet": "AET", "aetgan": "AET with a generator", "bigan": "BiGAN", "dcgan": "DCGAN", "simclr": "SimCLR",
    "dae": "denoising", "deepcluster": "DeepCluster", "splitbrain": "split-brain",
    "superresolution": "super-resolution", "pixels": "raw pixels", "scratch": "training from scratch",
}  # fmt: skip
CONTROL_ADVICE = {
    "pixels": "a linear model on raw pixels does as well (selfsup baseline pixels writes a run of them)",
    "scattering": "a linear model on fixed wavelets does as well (selfsup baseline scattering writes a run of them)",
    "untrained": "the features of an untrained network do as well (selfsup baseline untrained writes a run of them)",
    "scratch": "train a network on the labels alone",
}
FEW_SEEDS, FEW_TEST_IMAGES = 3, 100


@dataclass(frozen=True)
class Verdict:
    """What `advise` found; `folder` holds the rest."""

    folder: Path
    verdict: Answer
    sentences: list[str]
    next: str = ""
    best: str | None = None
    winner: str | None = None
    stage: str | None = None
    ties: list[str] = field(default_factory=list)
    per_class: int | None = None
    labels: int | None = None
    table: list[dict[str, Any]] = field(default_factory=list)
    disagreement: dict[str, Any] | None = None
    caveats: list[str] = field(default_factory=list)
    command: str = ""
    transductive: bool = False

    def __str__(self) -> str:
        return "\n".join(
            [*self.sentences, *self.caveats, *([f"{self.next}\n  {self.command}"] if self.command else [self.next])]
        )

    def write(self) -> None:
        """Write `verdict.json`."""
        write_json(self.folder / "verdict.json", {n: v for n, v in asdict(self).items() if n != "folder"})


def name_of(arm: str) -> str:
    """Name an arm in a sentence."""
    method, space, use = arm.partition(" ")
    return NAMES.get(method, method) + space + use


def stage_words(stage: str | None) -> str:
    """Name a stage in a sentence: `stage3` is stage 3."""
    return re.sub(r"([a-z])(\d)", r"\1 \2", stage or "")


def budget_words(per_class: int | None, labels: int) -> str:
    """Say how many labels there are."""
    if per_class is None:
        return f"all {labels:,} labels"
    return f"{per_class} label{'s' if per_class != 1 else ''} per class"


def percent(interval: Interval) -> str:
    """Write an accuracy with its interval."""
    return f"{100 * interval.mean:.1f} ± {100 * interval.half_width:.1f} %"


def points(interval: Interval) -> str:
    """Write a difference with its interval: `9.1 points (7.0 to 11.2)`."""
    return f"{100 * interval.mean:.1f} points ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def decision_sentences(
    decision: Decision,
    resampled: Resampled,
    stage: str | None,
    per_class: int | None,
    labels: int,
    savings: Mapping[int | None, Saving],
    sizes: Mapping[int | None, int],
) -> list[str]:
    """Say what the numbers at the label budget of the user allow one to say."""
    if decision.verdict == "do_not_pretrain":
        return _no(decision, resampled, per_class, labels)
    best = decision.best
    where = f", {stage_words(stage)}" if stage else ""
    said = (
        f"{_capital(name_of(best))}{where}: {percent(resampled.interval(best))} with {budget_words(per_class, labels)}"
    )
    blank = untrained_of(best)
    if blank in resampled:
        above = resampled.difference(best, blank)
        said += f", {points(above)} above an untrained network"
    if decision.verdict == "tie":
        others = [name_of(name) for name in decision.ties if name != best]
        said += f"; {listed(others)} {'ties' if len(others) == 1 else 'tie'} with it"
    said += "."
    if decision.verdict == "unknown":
        return [
            "Training spread unknown: each method was trained from one seed only, so no winner is declared.",
            f"The highest is {said}",
        ]
    gain = decision.gains.get(best)
    sentences = [said]
    if decision.verdict == "pretrain" and len(resampled.names("method")) > 1:
        sentences.append(f"It is better than {listed([name_of(n) for n in resampled.names('method') if n != best])}.")
    if gain is not None and gain.shown and gain.control != blank:
        sentences.append(f"It is {points(gain.gain)} above {name_of(gain.control)}, the strongest control.")
    sentences += _tuned(resampled)
    said_saving = _saving(savings, sizes)
    return [*sentences, *([said_saving] if said_saving else [])]


def _no(decision: Decision, resampled: Resampled, per_class: int | None, labels: int) -> list[str]:
    controls = resampled.names("control")
    if not controls:
        return ["Nothing could be compared with a control, so nothing speaks for pretraining."]
    best = max(resampled.names("method", "finetuned"), key=resampled.mean)
    strongest = max(controls, key=resampled.mean)
    difference = resampled.difference(best, strongest)
    sentences = [
        f"Do not pretrain: with {budget_words(per_class, labels)}, no method was shown to be {100 * MARGIN:.0f} point "
        f"better than doing without ({listed([name_of(c) for c in controls])}).",
        f"The strongest control, {name_of(strongest)}, reaches {percent(resampled.interval(strongest))}; the best "
        f"method, {name_of(best)}, {percent(resampled.interval(best))}, a difference of {points(difference)}.",
    ]
    if difference.high > MARGIN:
        sentences.append(
            f"A gain of up to {100 * difference.high:.1f} points is not ruled out; more test images and seeds would "
            "tell."
        )
    if not decision.spread_known:
        sentences.append("Training spread unknown: one seed each; knowing it could only widen the intervals.")
    return sentences


def _tuned(resampled: Resampled) -> list[str]:
    """Say what fine-tuning adds, against training from scratch with the same steps."""
    tuned = resampled.names("finetuned")
    if not tuned:
        return []
    best = max(tuned, key=resampled.mean)
    said = f"{_capital(name_of(best))} reaches {percent(resampled.interval(best))}"
    if "scratch" in resampled:
        said += f", {_apart(resampled.difference(best, 'scratch'))} scratch with the same steps"
    return [said + "."]


def _saving(savings: Mapping[int | None, Saving], sizes: Mapping[int | None, int]) -> str | None:
    """Say the label saving at one budget, always chosen alike: the smallest of 5 or more per class, or of all."""
    known = sorted(savings, key=lambda budget: sizes[budget])
    enough = [budget for budget in known if budget is not None and budget >= 5] or known
    if not enough:
        return None
    budget = enough[0]
    return f"With {budget_words(budget, sizes[budget])}, {savings[budget].words()}."


def smaller_budgets(
    decisions: Mapping[int | None, Decision], resampled: Mapping[int | None, Resampled], sizes: Mapping[int | None, int]
) -> list[str]:
    """Say in one sentence each what holds with fewer labels."""
    said = []
    for budget in list(sizes)[:-1]:
        decision, arms = decisions[budget], resampled[budget]
        words = f"With {budget_words(budget, sizes[budget])}: "
        reached = f"{name_of(decision.best)} {percent(arms.interval(decision.best))}"
        if decision.verdict == "do_not_pretrain":
            strongest = max(arms.names("control"), key=arms.mean, default=None)
            ahead = strongest is not None and arms.mean(strongest) > arms.mean(decision.best)
            control = f"; {name_of(strongest)} {percent(arms.interval(strongest))}" if strongest and ahead else ""
            said.append(f"{words}no method is shown to be worth it (the best, {reached}{control}).")
        elif decision.verdict == "tie":
            others = listed([name_of(name) for name in decision.ties if name != decision.best])
            said.append(f"{words}{reached}, tied with {others}.")
        elif decision.verdict == "pretrain":
            said.append(f"{words}{reached}, the best.")
        else:
            said.append(f"{words}{reached}, of one seed.")
    return said


def reference_sentence(reference: Reference, reached: Interval, best: str, above_best: Interval, encoder: str) -> str:
    """Say what public weights reach, beside the verdict and outside its ranking.

    Args:
        reference: the weights.
        reached: their accuracy.
        best: the best method.
        above_best: how far they lie above it; told only where the architecture is the same.
        encoder: name of the methods' encoder.
    """
    said = f"For reference, outside the ranking: the weights in {reference.name} ({reference.architecture}) reach "
    if not reference.same:
        return (
            f"{said}{percent(reached)}; they are not of the architecture of the methods ({encoder}), so the difference "
            "is not one of pretraining alone."
        )
    return f"{said}{percent(reached)}, {_apart(above_best)} {name_of(best)}, with the same architecture."


def caveats_of(resampled: Resampled, test_images: int, test_groups: int, seeds: int, transductive: bool) -> list[str]:
    """Say what limits the verdict, whatever it is."""
    x = 100 * resampled.detectable(resampled.names("method") if len(resampled.names("method")) > 1 else None)
    said = [f"With {test_images:,} test images, differences below {x:.1f} points cannot be seen."]
    if test_groups < min(test_images, 20):
        said.append(f"The test images come from {test_groups} groups only, so the intervals are rough.")
    if 1 < seeds < FEW_SEEDS:
        said.append(f"With {seeds} seeds the training spread is hardly known; 3 or more narrow the intervals.")
    if test_images < FEW_TEST_IMAGES:
        said.append(f"{test_images} test images are few: the intervals are rough.")
    if transductive:
        said.append(
            "The test images were among those pretrained on, so these numbers hold for this folder, not for new images."
        )
    return said


def _apart(difference: Interval) -> str:
    """Say on which side something lies, and how far, with a positive number."""
    if difference.mean >= 0:
        return f"{points(difference)} above"
    return f"{points(Interval(-difference.mean, -difference.high, -difference.low))} below"


def listed(names: Sequence[str]) -> str:
    """Put names into a sentence: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
