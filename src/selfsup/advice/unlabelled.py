"""An advice without labels: every task is run once and shown; which is better cannot be known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsup.advice import verdict as words
from selfsup.advice.carry_out import run_folder
from selfsup.advice.conclusion import draw_neighbours
from selfsup.advice.generator import caveats_of
from selfsup.advice.plan import Plan
from selfsup.advice.tables import cost_row, failed_rows, task_row
from selfsup.advice.trial import Bench, Failure, reason_of
from selfsup.advice.verdict import Verdict
from selfsup.progress import Progress
from selfsup.report.cost import with_generator
from selfsup.run import write_json


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
            draw_neighbours(bench, folder, out, method, progress)
            finished.append(method)
        except Exception as error:  # as in `attempt`: one failing trial does not lose the others
            failures.append(Failure(method, plan.screening_seed, reason_of(error)))
    tasks = [
        task_row(method, plan.screening_seed, bench.cost(run_folder(out, method, plan.screening_seed)))
        for method in finished
    ]
    cost = [
        cost_row(method, "method", [bench.cost(run_folder(out, method, plan.screening_seed))]) for method in finished
    ]
    cost = with_generator(cost, plan.generator_run)
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
        caveats=[
            "One seed each: training spread unknown.", *caveats_of(plan, cost),
            *(failure.sentence() for failure in failures),
        ],
        transductive=plan.transductive,
    )  # fmt: skip
    runs = [
        {"arm": m, "seed": plan.screening_seed, "folder": f"trials/{m}-seed{plan.screening_seed}", "role": "reported"}
        for m in finished
    ]
    write_json(
        out / "results.json",
        {
            "curves": [],
            "stages": [],
            "cost": cost,
            "runs": runs,
            "tasks": tasks,
            "failed": failed_rows(failures),
            "notes": list(notes),
        },
    )
    verdict.write()
    return verdict


def _task_sentence(row: Mapping[str, Any]) -> str:
    """Say how well a task itself was learned, and whether the run was healthy."""
    name = words.name_of(row["arm"])
    value = "was not measured" if row["value"] is None else f"{row['headline'].replace('_', ' ')} {row['value']:.3g}"
    chance = "" if row["chance"] is None else f" (a blind guess: {row['chance']:.3g})"
    ill = [finding["text"] for finding in row["health"] if finding.get("level") == "warning"]
    return f"{name[:1].upper()}{name[1:]}: {value}{chance}. {' '.join(ill) or 'No sign of collapse.'}"
