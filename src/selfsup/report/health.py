"""The section about the health of the training: loss, effective rank, spread of the features, warnings."""

import math
from collections.abc import Sequence

from selfsup.report import charts, traces
from selfsup.report.arms import Arms
from selfsup.report.blocks import Block, Cell, Fold, Grid, Listing, Section, Table
from selfsup.report.folders import RunFiles, by_arm
from selfsup.report.values import Json, number, rows
from selfsup.report.words import count, plural, sentence, short, visible


def health_section(runs: Sequence[RunFiles], arms: Arms) -> Section:
    """Draw loss, rank and spread of the features of every run, grouped by arm; warnings come first."""
    runs = [run for run in runs if run.metrics or run.summary]
    if not runs:
        return Section("health", "Health of the training", ["No run has written any measurement yet."])
    warnings = [f"{run.name}: {text}" for run in runs for text in health_texts(run, "warning")]
    blocks: list[Block] = (
        [Listing([visible(one) for one in warnings], "warning", plural(len(warnings), "warning"))] if warnings else []
    )
    blocks += [_health_charts(name, own, arms) for name, own in by_arm(runs).items()]
    blocks.append(Fold("The last measurements in numbers", [_health_table(runs, arms)]))
    said = [
        "None of this needs labels. A loss on its chance line means that the task was not learned; features "
        "with a spread near 0 "
        "or an effective rank near 1 have collapsed. Ranks of different tasks cannot be compared with each other.",
        "Thin lines are training batches, strong lines held-out images.",
    ]
    if not warnings and all(run.finished for run in runs):
        said.append("No warnings.")
    return Section("health", "Health of the training", said, blocks)


def health_texts(run: RunFiles, level: str) -> list[str]:
    """List the findings of a level in a run's summary."""
    return [sentence(str(row.get("text", ""))) for row in rows(run.summary.get("health")) if row.get("level") == level]


def _health_charts(name: str, runs: Sequence[RunFiles], arms: Arms) -> Grid:
    arm = arms[name]
    chance = next(
        (
            value
            for run in runs
            for row in [run.summary, *run.metrics]
            if (value := number(row.get("chance"))) is not None
        ),
        None,
    )
    losses = [
        traces.Trace(arm, _series(run, "loss", held_out=False), True, f"{run.name}: training loss") for run in runs
    ]
    losses += [
        traces.Trace(arm, _series(run, "loss", held_out=True), False, f"{run.name}: held-out loss") for run in runs
    ]
    width = next(
        (
            number(row.get("width"))
            for run in runs
            for row in run.metrics
            if row.get("kind") == "held_out" and number(row.get("width"))
        ),
        None,
    )
    drawn = [
        (
            "Loss",
            traces.trace(
                f"{arm.label}: loss over steps", losses, (chance, "blind guess") if chance is not None else None
            ),
        ),
        (
            "Effective rank" + (f" (of {count(width)} features)" if width else ""),
            traces.trace(
                f"{arm.label}: effective rank over steps",
                [traces.Trace(arm, _series(run, "rank"), False, run.name) for run in runs],
                floor=0.0,
            ),
        ),
        (
            "Spread of features (0 = collapsed)",
            traces.trace(
                f"{arm.label}: spread of features over steps",
                [traces.Trace(arm, _series(run, "feature_std"), False, run.name) for run in runs],
                (1.0, "all directions alike"),
                floor=0.0,
            ),
        ),
    ]
    return Grid(arm.label, charts.swatch(arm), [(title, chart) for title, chart in drawn if chart])


def _series(run: RunFiles, key: str, held_out: bool = True) -> list[tuple[float, float]]:
    found = []
    for row in run.metrics:
        step, value = number(row.get("step")), number(row.get(key))
        if (row.get("kind") == "held_out") == held_out and step is not None and value is not None:
            found.append((step, value))
    return found


def _health_table(runs: Sequence[RunFiles], arms: Arms) -> Table:
    body = []
    for run in runs:
        held_out: Json = next((row for row in reversed(run.metrics) if row.get("kind") == "held_out"), {})
        loss, chance = number(run.summary.get("loss")), number(run.summary.get("chance"))
        loss = loss if loss is not None else number(held_out.get("loss"))
        rank, spread = number(held_out.get("rank")), number(held_out.get("feature_std"))
        body.append(
            [
                Cell(run.name, key=charts.swatch(arms[run.arm]), numeric=False),
                *(Cell("–" if value is None else short(value)) for value in (loss, chance, rank, spread)),
                Cell(" ".join(map(visible, health_texts(run, "ok"))) or "–", numeric=False),
            ]
        )
    return Table("Last measurement of each run", ["run", "loss", "chance", "rank", "spread", "in words"], body)


def last_step(run: RunFiles) -> str:
    """Say how far an unfinished run has come."""
    rows_seen = [row for row in run.metrics if number(row.get("step")) is not None]
    if not rows_seen:
        return "has not made a step yet"
    step, progress = (
        number(rows_seen[-1].get("step")),
        next((p for row in reversed(rows_seen) if (p := number(row.get("progress"))) is not None), None),
    )
    share = f" ({math.floor(100 * progress)} % done)" if progress is not None else ""
    return f"is at step {count(step or 0)}{share}"
