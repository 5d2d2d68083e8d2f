"""The rows that `verdict.json` and `results.json` hold; `verdict` says what they mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.advice import saving
from selfsup.advice.arms import Kind, untrained_of
from selfsup.advice.carry_out import run_folder
from selfsup.advice.found import Found, as_row
from selfsup.advice.ranking import Decision, Gain
from selfsup.advice.references import Reference
from selfsup.advice.resampling import Interval, Resampled
from selfsup.advice.trial import Failure
from selfsup.report.cost import with_generator


@dataclass(frozen=True)
class Judged:
    """The numbers of every label budget, and what they allow one to say."""

    resampled: Mapping[int | None, Resampled]
    with_references: Mapping[int | None, Resampled]
    """Empty without references."""
    decisions: Mapping[int | None, Decision]
    savings: Mapping[str, Mapping[int | None, saving.Saving]]
    """Of each method."""


def table_rows(found: Found, judged: Judged) -> list[dict[str, Any]]:
    """Give the rows of the verdict's table: all arms at the largest budget, references last."""
    budget = found.exam.largest
    arms, decision = judged.resampled[budget], judged.decisions[budget]
    rows = []
    for arm in arms.arms:
        row: dict[str, Any] = {
            "arm": arm.name, "kind": arm.kind, "stage": found.stage(arm.name, budget),
            "labels": found.exam.sizes[budget], "seeds": arm.correct.shape[0], **as_row(arms.interval(arm.name)),
        }  # fmt: skip
        if found.exam.classes == 2:
            row["auroc"] = _auroc(found, arm.name)
        blank = untrained_of(arm.name)
        if blank in arms and arm.name not in found.untrained:
            row["vs_untrained"] = as_row(arms.difference(arm.name, blank))
        if arm.name in decision.gains:
            row["vs_controls"] = _gain(decision.gains[arm.name])
        rows.append(row)
    return [*rows, *(_reference_row(found, judged, weights) for weights in found.references)]


def _reference_row(found: Found, judged: Judged, weights: Reference) -> dict[str, Any]:
    budget, name = found.exam.largest, weights.name
    row: dict[str, Any] = {
        "arm": name, "kind": "reference", "stage": found.stage(name, budget), "labels": found.exam.sizes[budget],
        "seeds": 1, **as_row(judged.with_references[budget].interval(name)),
        "architecture": weights.architecture, "same_architecture": weights.same,
    }  # fmt: skip
    if found.exam.classes == 2:
        row["auroc"] = _auroc(found, name)
    if weights.same:
        best = judged.decisions[budget].best
        row["vs_best"] = {"arm": best, **as_row(above_best(judged.with_references[budget], name, best))}
    return row


def above_best(arms: Resampled, reference: str, best: str) -> Interval:
    """How far a reference lies above the best method; simultaneous over methods, as that one was chosen by its mean."""
    return arms.differences([(reference, method) for method in arms.names("method")])[reference, best]


def _auroc(found: Found, name: str) -> float | None:
    """Mean area under the ROC curve over seeds and draws at the largest budget, for two classes."""
    if name not in found.frozen():
        return None
    values = [one.row(key)["auroc"] for one in found.frozen()[name][1] for key in found.exam.keys(found.exam.largest)]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _gain(gain: Gain) -> dict[str, Any]:
    return {"control": gain.control, **as_row(gain.gain), "shown": gain.shown}


def results(found: Found, judged: Judged, notes: Sequence[str], test_groups: int, out: Path) -> dict[str, Any]:
    """Give what `results.json` holds.

    Args:
        found: all answers.
        judged: their numbers.
        notes: about the images.
        test_groups: groups of test images.
        out: folder of the advice.
    """
    exam, plan = found.exam, found.plan
    arms = judged.resampled[exam.largest]
    methods = arms.names("method")
    return {
        "measure": "balanced accuracy",
        "chance": 1 / exam.classes,
        "test_images": len(exam.test),
        "test_groups": test_groups,
        "detectable_points": 100 * arms.detectable(methods if len(methods) > 1 else None),
        "transductive": plan.transductive,
        "notes": list(notes),
        "curves": _curves(found, judged.resampled) + _curves(found, judged.with_references, only="reference"),
        "stages": found.stage_intervals(),
        "neighbours": _neighbours(found),
        "budgets": [_decision(judged.decisions[b], b, n) for b, n in exam.sizes.items()],
        "label_saving": [
            {"arm": name, "per_class": b, "labels": exam.sizes[b], **s._asdict(), "text": s.words()}
            for name, of_budget in judged.savings.items()
            for b, s in of_budget.items()
        ],
        "cost": costs_of(found),
        "screening": [
            {
                "arm": s.method, "seed": plan.screening_seed, "stage": s.stage, "validation": s.validation,
                "finalist": s.method in found.trials,
            }
            for s in found.screened
        ],
        "runs": _runs(found, out),
        "tasks": [
            task_row(name, seed, answers.cost)
            for name, of_seed in found.trials.items()
            for seed, answers in of_seed.items()
        ],
        "failed": failed_rows(found.failures),
    }  # fmt: skip


def _decision(decision: Decision, budget: int | None, labels: int) -> dict[str, Any]:
    gains = [{"arm": name, **_gain(gain)} for name, gain in decision.gains.items()]
    return {
        "per_class": budget, "labels": labels, "verdict": decision.verdict, "best": decision.best,
        "winner": decision.winner, "ties": decision.ties, "gains": gains,
    }  # fmt: skip


def _neighbours(found: Found) -> list[dict[str, Any]]:
    """Mean balanced accuracy of nearest neighbours at the stage that the linear probe chose."""
    rows = []
    for name, (kind, answers) in found.frozen().items():
        for budget in found.exam.sizes:
            keys = found.exam.keys(budget)
            for probe in dict.fromkeys(r["probe"] for r in answers[0].rows if r["probe"] != "linear"):
                values = [one.row(key, probe=probe)["balanced_accuracy"] for one in answers for key in keys]
                rows.append(
                    {"arm": name, "kind": kind, "per_class": budget, "probe": probe, "mean": float(np.mean(values))}
                )
    return rows


def _curves(found: Found, resampled: Mapping[int | None, Resampled], only: Kind | None = None) -> list[dict[str, Any]]:
    return [
        {
            "arm": arm.name, "kind": arm.kind, "per_class": budget, "labels": found.exam.sizes[budget],
            "stage": found.stage(arm.name, budget), **as_row(arms.interval(arm.name)),
        }
        for budget, arms in resampled.items()
        for arm in arms.arms
        if only in (None, arm.kind)
    ]  # fmt: skip


def costs_of(found: Found) -> list[dict[str, Any]]:
    """Give what one run of each method cost, and one training from scratch; with a generator, that one's too."""
    rows = [cost_row(name, "method", [a.cost for a in of_seed.values()]) for name, of_seed in found.trials.items()]
    scratch = found.trained.get(("scratch", "control"), {}).get(found.exam.largest)
    rows = with_generator(rows, found.plan.generator_run)
    return rows if scratch is None else [*rows, cost_row("scratch", "control", scratch.costs)]


def cost_row(name: str, kind: str, summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give the mean cost of some runs."""

    def mean(key: str) -> float | None:
        values = [summary[key] for summary in summaries if summary.get(key) is not None]
        return float(np.mean(values)) if values else None

    return {
        "arm": name, "kind": kind, "seconds": mean("seconds"), "trunk_gflops": mean("trunk_gflops"),
        "memory_mb": mean("peak_memory_mb"), "steps": mean("steps"), "images_per_second": mean("images_per_second"),
    }  # fmt: skip


def _runs(found: Found, out: Path) -> list[dict[str, Any]]:
    plan = found.plan
    runs = [(s.method, plan.screening_seed, "screening") for s in found.screened]
    runs += [(name, seed, "reported") for name, of_seed in found.trials.items() for seed in of_seed]
    return [
        {"arm": name, "seed": seed, "folder": str(run_folder(out, name, seed or 0).relative_to(out)), "role": role}
        for name, seed, role in runs
    ]


def task_row(method: str, seed: int, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Say how well a task itself was learned."""
    headline = summary.get("headline") or {}
    return {
        "arm": method, "seed": seed, "headline": headline.get("name"), "value": headline.get("value"),
        "chance": headline.get("chance"), "rises": headline.get("rises"), "health": summary.get("health", []),
    }  # fmt: skip


def failed_rows(failures: Sequence[Failure]) -> list[dict[str, Any]]:
    """Name what failed."""
    return [{"arm": failure.arm, "seed": failure.seed, "error": failure.reason} for failure in failures]
