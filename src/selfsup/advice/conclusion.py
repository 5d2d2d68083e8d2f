"""From answers to files: `verdict.json`, `results.json`, the best encoder and the report."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.advice import ranking, saving
from selfsup.advice import verdict as words
from selfsup.advice.carry_out import Found, as_row, run_folder, validation_of
from selfsup.advice.plan import Plan
from selfsup.advice.ranking import Decision, Gain, Resampled
from selfsup.advice.trial import Bench, Failure, reason_of
from selfsup.advice.verdict import Verdict
from selfsup.progress import Progress
from selfsup.recipe import seconds as read_seconds
from selfsup.run import write_json, write_text

LONGER = 10
"""How much longer the recommended run is than a trial."""


def conclude(found: Found, bench: Bench, out: Path, notes: Sequence[str], progress: Progress) -> Verdict:
    """Decide, and write everything down."""
    plan, exam = found.plan, found.exam
    failed = [failure.sentence() for failure in found.failures]
    if not found.trials:
        said = ["No trial could be finished, so there is no verdict.", *failed]
        verdict = Verdict(
            out, "unknown", said, next="See the reasons below; the same command tries again.", caveats=failed
        )
        write_json(out / "results.json", {"runs": [], "failed": _failed(found.failures), "notes": list(notes)})
        verdict.write()
        return verdict
    progress.note("Resampling.")
    resampled = found.resampled()
    decisions = {budget: ranking.decide(arms) for budget, arms in resampled.items()}
    missing = _missing(found, resampled[exam.largest])
    if missing:
        decisions = {b: d._replace(verdict="unknown", winner=None) for b, d in decisions.items()}
    budget = exam.largest
    decision, arms = decisions[budget], resampled[budget]
    savings = _savings(found, resampled)
    stage = found.stage(decision.best, budget)
    recommended = decision.verdict in ("pretrain", "tie")
    command = train_longer(plan, decision.best) if recommended else ""
    sentences = words.decision_sentences(
        decision, arms, stage, budget, exam.sizes[budget], savings.get(decision.best, {}), exam.sizes
    )
    if missing:
        sentences = [
            f"There is no verdict, because {' and '.join(missing)} could not be had to compare with.",
            *sentences,
        ]
    groups = exam.test_groups
    test_groups = len(exam.test) if groups is None else len(np.unique(groups))
    verdict = Verdict(
        folder=out,
        verdict=decision.verdict,
        sentences=[*sentences, *words.smaller_budgets(decisions, resampled, exam.sizes)],
        next="The same command tries what failed again." if missing else _next(decision, arms),
        best=decision.best,
        winner=decision.winner,
        stage=stage,
        ties=decision.ties,
        per_class=budget,
        labels=exam.sizes[budget],
        table=_table(found, arms, decision),
        caveats=[
            *words.caveats_of(arms, len(exam.test), test_groups, len(plan.seeds), plan.transductive),
            *_dropped(found), *found.left_out, *failed,
        ],
        command=command,
        transductive=plan.transductive,
    )  # fmt: skip
    write_json(out / "results.json", _results(found, resampled, decisions, savings, notes, test_groups, out))
    for method, of_seed in found.trials.items():
        _draw(bench, run_folder(out, method, next(iter(of_seed))), out, method, progress)
    if recommended:
        _keep_best(found, bench, out, decision.best, stage or "", command)
    verdict.write()
    return verdict


def without_labels(plan: Plan, bench: Bench, out: Path, notes: Sequence[str], progress: Progress) -> Verdict:
    """Run every method once and show how well each task was learned; never rank them by it."""
    assert plan.screening_seed is not None
    failures: list[Failure] = []
    finished = []
    for number, method in enumerate(plan.methods):
        progress.note(f"Trial {number + 1} of {len(plan.methods)}: {method}.")
        folder = run_folder(out, method, plan.screening_seed)
        try:
            bench.pretrain(method, plan.screening_seed, folder)
            _draw(bench, folder, out, method, progress)
            finished.append(method)
        except Exception as error:  # as in `attempt`: one failing trial does not lose the others
            failures.append(Failure(method, plan.screening_seed, reason_of(error)))
    tasks = [
        _task(method, plan.screening_seed, bench.cost(run_folder(out, method, plan.screening_seed)))
        for method in finished
    ]
    verdict = Verdict(
        out, "unknown",
        [
            "Without labels it cannot be known which task gives the better features for your question, or whether any "
            "is better than an untrained network: losses, accuracies and ranks of different tasks cannot be compared.",
            *(_task_sentence(row) for row in tasks),
            "Look at the nearest-neighbour sheets: an encoder is promising where neighbours are alike in what you care "
            "about.",
        ],
        next="Label a few images of each class (5 are a start, 20 are better), one folder per class, and ask again "
        "with --labels.",
        caveats=["One seed each: training spread unknown.", *(failure.sentence() for failure in failures)],
        transductive=plan.transductive,
    )  # fmt: skip
    runs = [
        {"arm": m, "seed": plan.screening_seed, "folder": f"trials/{m}-seed{plan.screening_seed}", "role": "reported"}
        for m in finished
    ]
    cost = [_cost(method, "method", [bench.cost(run_folder(out, method, plan.screening_seed))]) for method in finished]
    write_json(
        out / "results.json",
        {
            "curves": [],
            "stages": [],
            "cost": cost,
            "runs": runs,
            "tasks": tasks,
            "failed": _failed(failures),
            "notes": list(notes),
        },
    )
    verdict.write()
    return verdict


def train_longer(plan: Plan, method: str) -> str:
    """Give the command that trains a method longer on all images."""
    time = LONGER * read_seconds(plan.budget)
    budget = f"{time / 3600:g}h" if time % 3600 == 0 else f"{time / 60:g}m" if time % 60 == 0 else f"{time:g}s"
    parts = [
        "selfsup", "pretrain", method, plan.data, "--encoder", plan.encoder, "--image-size", str(plan.image_size),
        "--budget", budget, "--out", f"runs/{method}-longer",
    ]  # fmt: skip
    return shlex.join(parts)


def _next(decision: Decision, arms: Resampled) -> str:
    if decision.verdict == "pretrain":
        return "Train it longer on all images:"
    if decision.verdict == "tie":
        return "Any of the tied tasks will do; this trains the one with the highest mean longer on all images:"
    if decision.verdict == "unknown":
        return "Ask again with --seeds 3 or more."
    strongest = max(arms.names("control"), key=arms.mean, default="scratch")
    advice = words.CONTROL_ADVICE.get(strongest, "")
    return f"Spend the time on more labels: {advice}." if advice else "Spend the time on more labels."


def _table(found: Found, arms: Resampled, decision: Decision) -> list[dict[str, Any]]:
    budget = found.exam.largest
    rows = []
    for arm in arms.arms:
        row: dict[str, Any] = {
            "arm": arm.name, "kind": arm.kind, "stage": found.stage(arm.name, budget),
            "labels": found.exam.sizes[budget], "seeds": arm.correct.shape[0], **as_row(arms.interval(arm.name)),
        }  # fmt: skip
        if found.exam.classes == 2:
            row["auroc"] = _auroc(found, arm.name)
        if "untrained" in arms and arm.name != "untrained":
            row["vs_untrained"] = as_row(arms.difference(arm.name, "untrained"))
        if arm.name in decision.gains:
            row["vs_controls"] = _gain(decision.gains[arm.name])
        rows.append(row)
    return rows


def _auroc(found: Found, name: str) -> float | None:
    """Mean area under the ROC curve over seeds and draws at the largest budget, for two classes."""
    if name not in found.frozen():
        return None
    values = [one.row(key)["auroc"] for one in found.frozen()[name][1] for key in found.exam.keys(found.exam.largest)]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _gain(gain: Gain) -> dict[str, Any]:
    return {"control": gain.control, **as_row(gain.gain), "shown": gain.shown}


def _savings(found: Found, resampled: Mapping[int | None, Resampled]) -> dict[str, dict[int | None, saving.Saving]]:
    if not any("scratch" in arms for arms in resampled.values()):
        return {}
    return {name: saving.label_savings(name, "scratch", resampled, found.exam.sizes) for name in found.trials}


def _results(
    found: Found,
    resampled: Mapping[int | None, Resampled],
    decisions: Mapping[int | None, Decision],
    savings: Mapping[str, Mapping[int | None, saving.Saving]],
    notes: Sequence[str],
    test_groups: int,
    out: Path,
) -> dict[str, Any]:
    exam, plan = found.exam, found.plan
    arms = resampled[exam.largest]
    at = [(budget, n, resampled[budget]) for budget, n in exam.sizes.items()]
    methods = arms.names("method")
    return {
        "measure": "balanced accuracy",
        "chance": 1 / exam.classes,
        "test_images": len(exam.test),
        "test_groups": test_groups,
        "detectable_points": 100 * arms.detectable(methods if len(methods) > 1 else None),
        "transductive": plan.transductive,
        "notes": list(notes),
        "curves": [
            {
                "arm": a.name, "kind": a.kind, "per_class": b, "labels": n, "stage": found.stage(a.name, b),
                **as_row(r.interval(a.name)),
            }
            for b, n, r in at
            for a in r.arms
        ],
        "stages": found.stage_intervals(),
        "neighbours": _neighbours(found),
        "budgets": [_decision(decisions[b], b, n) for b, n, _ in at],
        "label_saving": [
            {"arm": name, "per_class": b, "labels": exam.sizes[b], **s._asdict(), "text": s.words()}
            for name, of_budget in savings.items()
            for b, s in of_budget.items()
        ],
        "cost": [_cost(name, "method", [a.cost for a in of_seed.values()]) for name, of_seed in found.trials.items()],
        "screening": [
            {
                "arm": s.method, "seed": plan.screening_seed, "stage": s.stage, "validation": s.validation,
                "finalist": s.method in found.trials,
            }
            for s in found.screened
        ],
        "runs": _runs(found, out),
        "tasks": [_task(name, seed, a.cost) for name, of_seed in found.trials.items() for seed, a in of_seed.items()],
        "failed": _failed(found.failures),
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


def _cost(name: str, kind: str, summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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


def _task(method: str, seed: int, summary: Mapping[str, Any]) -> dict[str, Any]:
    headline = summary.get("headline") or {}
    return {
        "arm": method, "seed": seed, "headline": headline.get("name"), "value": headline.get("value"),
        "chance": headline.get("chance"), "rises": headline.get("rises"), "health": summary.get("health", []),
    }  # fmt: skip


def _task_sentence(row: Mapping[str, Any]) -> str:
    """Say how well a task itself was learned, and whether the run was healthy."""
    name = words.name_of(row["arm"])
    value = "was not measured" if row["value"] is None else f"{row['headline']} {row['value']:.3g}"
    chance = "" if row["chance"] is None else f" (a blind guess: {row['chance']:.3g})"
    ill = [finding["text"] for finding in row["health"] if finding.get("level") != "ok"]
    health = "; ".join(ill).rstrip(".") or "no sign of collapse"
    return f"{name[:1].upper()}{name[1:]}: {value}{chance}; {health}."


def _failed(failures: Sequence[Failure]) -> list[dict[str, Any]]:
    return [{"arm": failure.arm, "seed": failure.seed, "error": failure.reason} for failure in failures]


def _dropped(found: Found) -> list[str]:
    """Name the methods that were left behind after screening."""
    if not found.screened:
        return []
    said = [
        f"{words.name_of(s.method)} ({100 * s.validation:.1f} %)"
        for s in found.screened
        if s.method not in found.trials and s.validation is not None
    ]
    if not said:
        return []
    return [f"Left behind after one screening run, by cross-validation inside the label pool: {', '.join(said)}."]


def _missing(found: Found, arms: Resampled) -> list[str]:
    """Name the controls without which nothing can be said."""
    wanted = ["pixels", "untrained", *(["scratch"] if found.plan.supervised else [])]
    return [words.name_of(name) for name in wanted if name not in arms]


def _keep_best(found: Found, bench: Bench, out: Path, method: str, stage: str, command: str) -> None:
    """Keep the encoder of the seed that did best inside the label pool, never by the test images."""
    scores = validation_of(found.trials[method], found.exam)
    seed = max(scores, key=lambda s: scores[s])
    bench.keep(run_folder(out, method, seed), out / "best", stage, found.exam)
    write_text(out / "best" / "command.txt", command + "\n")


def _draw(bench: Bench, folder: Path, out: Path, method: str, progress: Progress) -> None:
    """Draw a neighbour sheet, if it is not there; a picture less is no reason to lose a verdict."""
    file = out / "sheets" / f"{method}-neighbours.png"
    if not file.is_file():
        try:
            bench.neighbours(folder, file)
        except Exception as error:
            progress.note(f"The neighbour sheet of {method} could not be drawn ({reason_of(error)}).")
