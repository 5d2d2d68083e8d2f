"""Read the evaluations of one run into the rows that the comparison sections take."""

from dataclasses import dataclass, field
from typing import NamedTuple

from selfsup.report.folders import RunFiles
from selfsup.report.values import Json, estimate, mapping, number, rows, sentences, whole
from selfsup.report.words import visible

UNTRAINED = "untrained"


class Best(NamedTuple):
    """What the evaluated run reaches at one label budget, and its lead over the untrained network."""

    stage: str
    per_class: int | None
    mean: float
    above_untrained: float | None


@dataclass(frozen=True)
class Probed:
    """What the probes of one run say: rows of curves and stages like those of results.json."""

    arm: str
    curves: list[Json] = field(default_factory=list)
    stages: list[Json] = field(default_factory=list)
    neighbours: list[Json] = field(default_factory=list)
    measure: str = "balanced accuracy"
    test_images: int | None = None
    chance: float | None = None
    notes: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    @property
    def per_class(self) -> int | None:
        """Give the budget that the page speaks of: the largest, all labels where they were measured."""
        budgets = [row["per_class"] for row in self.curves]
        return None if None in budgets else max(budgets, default=None)

    def best(self) -> Best | None:
        """Give what the run reaches at that budget."""
        row = next((row for row in self.table() if row["arm"] == self.arm), None)
        if row is None:
            return None
        above = number(mapping(row.get("vs_untrained")).get("mean"))
        return Best(str(row["stage"]), self.per_class, row["mean"], above)

    def table(self) -> list[Json]:
        """List the arms at that budget, as verdict.json does."""
        return [row for row in self.curves if row["per_class"] == self.per_class]


def read(run: RunFiles) -> Probed:
    """Read the evaluation with the most probes; a folder may hold several, of other labels."""
    evaluations = {name: content for name, content in run.evaluations.items() if rows(content.get("intervals"))}
    if not evaluations:
        return Probed(run.arm)
    name, content = max(evaluations.items(), key=lambda item: len(rows(item[1].get("intervals"))))
    labels = mapping(content.get("labels"))
    intervals = [row for row in rows(content.get("intervals")) if estimate(row) is not None]
    found = [_row(row, _amounts(content), run.is_baseline) for row in intervals]
    linear = [row for row in found if row["probe"] == "linear"]
    classes = labels.get("classes")
    others = [visible(other) for other in evaluations if other != name]
    notes = [f"Probed with {visible(labels['source'])}."] if labels.get("source") else []
    notes += [f"Further evaluations are in evaluation/: {', '.join(others)}."] if others else []
    return Probed(
        arm=run.arm,
        curves=[row for row in linear if row["chosen"]],
        stages=[row for row in linear if not row["chosen"]],
        neighbours=[row for row in found if row["probe"] != "linear"],
        test_images=whole(labels.get("test")),
        chance=1 / len(classes) if isinstance(classes, list) and classes else None,
        notes=[*notes, *sentences(labels.get("notes"))],
        skipped=[(str(item[0]), str(item[1])) for item in labels.get("skipped") or [] if len(item) == 2],
    )


def _amounts(content: Json) -> dict[int | None, float]:
    """Give the number of labels of each budget."""
    probed = [row for arm in rows(content.get("arms")) for row in rows(arm.get("rows"))]
    return {whole(row.get("per_class")): number(row.get("labels")) or 0.0 for row in probed}


def _row(row: Json, amounts: dict[int | None, float], is_baseline: bool) -> Json:
    per_class, chosen = whole(row.get("per_class")), row.get("stage") == "chosen"
    stages = row.get("stages") or [row.get("stage")]
    return {
        **row,
        "kind": "control" if is_baseline or row.get("arm") == UNTRAINED else "method",
        "per_class": per_class,
        "labels": amounts.get(per_class, 0.0),
        "chosen": chosen,
        "stage": str(stages[0]),
        "probe": str(row.get("probe", "linear")),
    }
