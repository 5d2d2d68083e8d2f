"""The section about the health of the training: loss, effective rank, spread of the features, warnings."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from selfsup.report import charts
from selfsup.report.arms import Arm, Arms
from selfsup.report.blocks import Block, Cell, Fold, Grid, Listing, Section, Table
from selfsup.report.folders import RunFiles, by_arm
from selfsup.report.traces import Trace, trace
from selfsup.report.values import Json, mapping, number, rows
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
    notes = dict.fromkeys(
        f"{arms[name].label}: {text}"
        for name, own in by_arm(runs).items()
        for run in own
        for text in health_texts(run, "note")
    )
    blocks += [Listing([visible(one) for one in notes], heading="To be known of the tasks")] if notes else []
    blocks += [_health_charts(name, own, arms) for name, own in by_arm(runs).items()]
    blocks.append(Fold("The last measurements in numbers", [_health_table(runs, arms)]))
    said = [
        "None of this needs labels. A loss on its chance line means that the task was not learned; features "
        "with a spread of 0 "
        "or an effective rank near 1 have collapsed. A small spread alone is a large common mean, which "
        "the linear probe takes away and nearest neighbours do not. "
        "Ranks of different tasks cannot be compared with each other.",
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
    held_out = [row for run in runs for row in run.metrics if row.get("kind") == "held_out"]
    width = next((value for row in held_out if (value := number(row.get("width")))), None)
    rank = [Trace(arm, _series(run, "rank"), label=run.name) for run in runs]
    spread = [Trace(arm, _series(run, "feature_std"), label=run.name) for run in runs]
    of = f" (of {count(width)} features)" if width else ""
    drawn = [
        *_loss_charts(arm, runs),
        (f"Effective rank{of}", trace(f"{arm.label}: effective rank", rank, floor=0.0)),
        (
            "Spread of features (0 = collapsed)",
            trace(f"{arm.label}: spread of features", spread, (1.0, "all directions alike"), floor=0.0),
        ),
    ]
    return Grid(arm.label, charts.swatch(arm), [(title, chart) for title, chart in drawn if chart])


def _loss_charts(arm: Arm, runs: Sequence[RunFiles]) -> list[tuple[str, Markup]]:
    """Draw both losses in one chart, unless a blind guess has another loss on the held-out images.

    It has where the loss depends on the size of the batch (contrastive tasks), and there are few held-out images.
    """
    training = [Trace(arm, _series(run, "loss", held_out=False), True, f"{run.name}: training") for run in runs]
    held_out = [Trace(arm, _series(run, "loss"), False, f"{run.name}: held-out images") for run in runs]
    guess, guess_held_out = (next(filter(None, map(of, runs)), None) for of in (_training_chance, held_out_chance))
    if guess is None or guess_held_out is None or math.isclose(guess, guess_held_out, rel_tol=0.02):
        return [("Loss", trace(f"{arm.label}: loss", [*training, *held_out], _guess(guess or guess_held_out)))]
    return [
        ("Loss in training", trace(f"{arm.label}: training loss", training, _guess(guess))),
        ("Loss on held-out images", trace(f"{arm.label}: held-out loss", held_out, _guess(guess_held_out))),
    ]


def _guess(chance: float | None) -> tuple[float, str] | None:
    return None if chance is None else (chance, "blind guess")


def _training_chance(run: RunFiles) -> float | None:
    """Give the loss of a blind guess on a training batch."""
    logged = [row.get("chance") for row in run.metrics if row.get("kind") != "held_out"]
    return next((value for chance in logged if (value := number(chance)) is not None), None)


def held_out_chance(run: RunFiles) -> float | None:
    """Give the loss of a blind guess on the held-out images: as logged, else from its accuracy, else as in training."""
    logged = [row.get("chance") for row in run.metrics if row.get("kind") == "held_out"]
    found = next((value for chance in logged if (value := number(chance)) is not None), None)
    headline = mapping(run.summary.get("headline"))
    share = number(headline.get("chance"))
    if found is None and headline.get("name") == "accuracy" and share is not None and 0 < share < 1:
        return -math.log(share)  # of a uniform guess among 1 / share answers
    return found if found is not None else _training_chance(run)


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
        loss = number(held_out.get("loss"))
        chance = held_out_chance(run) if loss is not None else number(run.summary.get("chance"))
        loss = loss if loss is not None else number(run.summary.get("loss"))
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
