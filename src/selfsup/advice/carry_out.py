"""Carry out a plan: trials, finalists, fresh seeds, controls, and the numbers that the verdict rests on."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from selfsup import methods as table
from selfsup.advice import controls, ranking
from selfsup.advice import verdict as words
from selfsup.advice.plan import FAMILIES, Plan, fingerprint
from selfsup.advice.ranking import Arm, Interval, Kind, Resampled
from selfsup.advice.supervision import read_supervised
from selfsup.advice.trial import Answers, Bench, Exam, Failure, attempt, run_trial

Say = Callable[[str], None]
STAGE_RESAMPLES = 500
"""The table of stages decides nothing."""


@dataclass(frozen=True)
class Screened:
    """A method's run of the screening seed, judged inside the label pool."""

    method: str
    validation: float | None
    stage: str


@dataclass
class Found:
    """All answers that the plan brought."""

    exam: Exam
    plan: Plan
    trials: dict[str, dict[int, Answers]] = field(default_factory=dict)
    """Of the finalists, by fresh seed: these are reported."""
    screened: list[Screened] = field(default_factory=list)
    pixels: Answers | None = None
    untrained: list[Answers] = field(default_factory=list)
    trained: dict[tuple[str, Kind], dict[int | None, np.ndarray]] = field(default_factory=dict)
    """Right answers [S, D, T] of whole networks trained on labels."""
    failures: list[Failure] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def arms(self, per_class: int | None) -> list[Arm]:
        """Give the arms at a budget: methods first, then their fine-tuned networks, then controls."""
        found = [
            self._frozen(name, "method", list(of_seed.values()), per_class) for name, of_seed in self.trials.items()
        ]
        found += [
            Arm(n, kind, right[per_class])
            for (n, kind), right in self.trained.items()
            if kind != "control" and per_class in right
        ]
        if self.untrained:
            found.append(self._frozen("untrained", "control", self.untrained, per_class))
        if self.pixels is not None:
            found.append(Arm("pixels", "control", self.pixels.correct(self.exam, per_class)[None], seeded=False))
        found += [
            Arm(n, kind, right[per_class])
            for (n, kind), right in self.trained.items()
            if kind == "control" and per_class in right
        ]
        return found

    def frozen(self) -> dict[str, tuple[Kind, list[Answers]]]:
        """Give the arms that have stages."""
        found: dict[str, tuple[Kind, list[Answers]]] = {n: ("method", list(a.values())) for n, a in self.trials.items()}
        if self.untrained:
            found["untrained"] = ("control", self.untrained)
        if self.pixels is not None:
            found["pixels"] = ("control", [self.pixels])
        return found

    def stage(self, name: str, per_class: int | None) -> str | None:
        """Give the stage that most seeds and draws of an arm chose; of equals the later."""
        if name not in self.frozen():
            return None
        answers = self.frozen()[name][1]
        votes = Counter(one.chosen[key] for one in answers for key in self.exam.keys(per_class))
        order = answers[0].stages
        return max(votes, key=lambda stage: (votes[stage], order.index(stage)))

    def resampled(self) -> dict[int | None, Resampled]:
        """Resample the arms at every budget."""
        arms = {budget: self.arms(budget) for budget in self.exam.sizes}
        return ranking.resample_budgets(arms, self.exam.truth, self.exam.test_groups)

    def stage_intervals(self) -> list[dict[str, Any]]:
        """Give every stage of every frozen arm at every budget."""
        rows: list[dict[str, Any]] = []
        arms: dict[int | None, list[Arm]] = {}
        for budget in self.exam.sizes:
            for name, (kind, answers) in self.frozen().items():
                for stage in answers[0].stages:
                    right = np.stack([one.correct(self.exam, budget, stage) for one in answers])
                    arms.setdefault(budget, []).append(Arm(f"{name}\n{stage}", kind, right, seeded=name != "pixels"))
                    rows.append({"arm": name, "kind": kind, "stage": stage, "per_class": budget})
        found = ranking.resample_budgets(arms, self.exam.truth, self.exam.test_groups, resamples=STAGE_RESAMPLES)
        return [{**row, **as_row(found[row["per_class"]].interval(f"{row['arm']}\n{row['stage']}"))} for row in rows]

    def _frozen(self, name: str, kind: Kind, answers: Sequence[Answers], per_class: int | None) -> Arm:
        return Arm(name, kind, np.stack([one.correct(self.exam, per_class) for one in answers]))


def as_row(interval: Interval) -> dict[str, float]:
    """Give an interval as it is written."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def carry_out(plan: Plan, bench: Bench, exam: Exam, out: Path, say: Say) -> Found:
    """Do all trials and controls of a plan; what is done already is read from disk.

    Args:
        plan: what to do.
        bench: trains and computes features.
        exam: the labelled images, their test part and the draws of labels.
        out: folder of the advice.
        say: told each step in a sentence.
    """
    found = Found(exam, plan)
    finalists = _screen(plan, bench, exam, out, found, say)
    total = len(finalists) * len(plan.seeds)
    for number, (seed, method) in enumerate((seed, method) for seed in plan.seeds for method in finalists):
        say(f"Trial {number + 1} of {total}: {method}, seed {seed}.")
        answers = _trial(plan, bench, exam, out, method, seed, found)
        if answers is not None:
            found.trials.setdefault(method, {})[seed] = answers
    found.trials = {method: found.trials[method] for method in finalists if method in found.trials}
    _controls(plan, bench, exam, out, found, say)
    return found


def asked_of(plan: Plan, exam: Exam, method: str = "", seed: int | None = None) -> str:
    """Name everything that decides the answers of one arm."""
    own = f"{method} {seed} {plan.steps.get(method)}"
    draws = [f"{key}:{','.join(map(str, positions))}" for key, positions in exam.draws.items()]
    parts = [",".join(map(str, part)) for part in (exam.labels, exam.pool, exam.test)]
    return fingerprint(plan.fingerprint(), own, draws, parts, str(exam.seed))


def run_folder(out: Path, method: str, seed: int) -> Path:
    """Name the run folder of a trial."""
    return out / "trials" / f"{method}-seed{seed}"


def _trial(plan: Plan, bench: Bench, exam: Exam, out: Path, method: str, seed: int, found: Found) -> Answers | None:
    asked = asked_of(plan, exam, method, seed)
    return attempt(
        lambda: run_trial(bench, method, seed, exam, run_folder(out, method, seed), asked), method, seed, found.failures
    )


def _screen(plan: Plan, bench: Bench, exam: Exam, out: Path, found: Found, say: Say) -> list[str]:
    """Run every method once and give the finalists; without a screening seed, all methods are."""
    if plan.screening_seed is None:
        return list(plan.methods)
    for number, method in enumerate(plan.methods):
        say(f"Screening {number + 1} of {len(plan.methods)}: {method}.")
        answers = _trial(plan, bench, exam, out, method, plan.screening_seed, found)
        if answers is not None:
            key = exam.keys(exam.largest)[0]
            found.screened.append(Screened(method, answers.validation(key), answers.chosen[key]))
    return choose_finalists(found.screened, plan.finalists)


def choose_finalists(screened: Sequence[Screened], count: int, families: int = FAMILIES) -> list[str]:
    """Choose the methods with the highest cross-validated accuracy inside the label pool, of two families or more.

    With too few labels to cross-validate nothing can be chosen, and every method is a finalist.
    """
    if any(one.validation is None for one in screened):
        return [one.method for one in screened]
    order = sorted(screened, key=lambda one: -(one.validation or 0.0))
    chosen = [one.method for one in order[:count]]
    for one in order[count:]:
        families_of = [table.entry(name).family for name in chosen]
        if len(set(families_of)) >= min(families, count):
            break
        if table.entry(one.method).family not in families_of:
            chosen[-1] = one.method
    return chosen


def _controls(plan: Plan, bench: Bench, exam: Exam, out: Path, found: Found, say: Say) -> None:
    folder = out / "controls"
    asked = asked_of(plan, exam)
    say("Controls: raw pixels and untrained encoders.")
    found.pixels = controls.pixels(bench, exam, folder, asked, found.failures)
    found.untrained = controls.untrained(bench, exam, plan.seeds, folder, asked, found.failures)
    if not plan.supervised:
        return
    supervised = read_supervised(plan.supervised)
    found.left_out += supervised.left_out

    def train(
        name: str, budget: int | None, repeats: int, seeds: Sequence[int], start: Callable[[int], Path] | None
    ) -> None:
        say(f"{name[:1].upper()}{name[1:]} with {words.budget_words(budget, exam.sizes[budget])}.")
        kind: Kind = "control" if start is None else "finetuned"
        right = controls.on_labels(
            bench, exam, supervised, budget, repeats, seeds, name, start, folder, asked, found.failures
        )
        if right is not None:
            found.trained.setdefault((name, kind), {})[budget] = right

    for budget, repeats in supervised.scratch.items():
        train("scratch", budget, repeats, plan.seeds, None)
    for method in best_inside(found)[: supervised.tuned_methods]:
        seeds = list(found.trials[method])
        repeats = min(supervised.tuned_repeats, max(1, len(seeds)))

        def start(seed: int, method: str = method) -> Path:
            return run_folder(out, method, seed)

        train(f"{method} fine-tuned", exam.largest, repeats, seeds, start)


def validation_of(answers: Mapping[int, Answers], exam: Exam) -> dict[int, float]:
    """Give the cross-validated accuracy inside the label pool for each seed; 0 where it is not known."""
    key = exam.keys(exam.largest)[0]
    return {seed: one.validation(key) or 0.0 for seed, one in answers.items()}


def best_inside(found: Found) -> list[str]:
    """Order the finalists by what is known inside the label pool."""
    score = {m: float(np.mean(list(validation_of(a, found.exam).values()))) for m, a in found.trials.items()}
    return sorted(found.trials, key=lambda method: -score[method])
