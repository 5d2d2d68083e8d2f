"""The section of label-efficiency curves."""

from collections.abc import Sequence

from selfsup.report import charts
from selfsup.report.arms import Arm, Arms
from selfsup.report.blocks import Cell, Chart, Fold, Listing, Section, Table
from selfsup.report.charts import CurvePoint
from selfsup.report.values import Estimate, estimate, number, rows, whole
from selfsup.report.words import interval, percent, plural, visible

TITLE = "How many labels it takes"


def budget(per_class: int | None) -> str:
    """Say a label budget."""
    return "all labels" if per_class is None else plural(per_class, "label") + " per class"


def curve_points(content: object, arms: Arms) -> list[CurvePoint]:
    """Read the curves of results.json; rows without a mean or without labels are left out."""
    found = []
    for row in rows(content):
        value, labels = estimate(row), number(row.get("labels"))
        if value is not None and labels is not None and labels > 0:
            arm = arms.get(str(row.get("arm", "?")), str(row.get("kind", "method")))
            found.append(CurvePoint(arm, whole(row.get("per_class")), labels, value))
    return found


def curves_section(
    found: Sequence[CurvePoint],
    measure: str,
    test_images: int | None,
    chance: float | None = None,
    savings: Sequence[str] = (),
    missing: str = "",
) -> Section:
    """Draw the curves; their numbers, and what labels a method saves, are folded beneath."""
    if not found:
        return Section("curves", TITLE, [missing or "Nothing was measured with labels."])
    tested = f" on {plural(test_images, 'test image')}" if test_images else ""
    said = [
        f"{measure[:1].upper()}{measure[1:]}{tested}, over the number of labels used. Filled marks and solid lines are "
        "pretext tasks, a linear probe on their frozen features; hollow marks and dashed lines are controls, "
        "with a dot "
        "inside for fine-tuned networks; bars are 95 % intervals."
    ]
    if any(point.arm.is_reference for point in found):
        said.append(
            "Dark dotted lines, named ref., are references: public weights from a file, which are not ranked and do "
            "not count as the highest."
        )
    if len({point.labels for point in found}) == 1:
        said.append("Only one label budget was measured, so there are points instead of curves.")
    wide, narrow = (charts.curves(found, width=width, chance=chance, measure=measure) for width in (860, 350))
    folds = [Fold("The same in numbers", [_table(found)])]
    if savings:
        folds.append(Fold("Labels saved against training from scratch", [Listing([visible(one) for one in savings])]))
    return Section("curves", TITLE, said, [Chart(wide, narrow), *folds])


def _table(found: Sequence[CurvePoint]) -> Table:
    amounts = dict(sorted({point.labels: point.per_class for point in found}.items()))
    at = {(point.arm, point.labels): point.value for point in found}
    ranked = [point for point in found if not point.arm.is_reference]
    best = {labels: max((p.value.mean for p in ranked if p.labels == labels), default=None) for labels in amounts}
    body = []
    for arm in dict.fromkeys(point.arm for point in found):
        values = [at.get((arm, labels)) for labels in amounts]
        highest = [best[labels] for labels in amounts]
        body.append(
            [named(arm), *(measured(v, v is not None and v.mean == b) for v, b in zip(values, highest, strict=True))]
        )
    return Table("Mean and 95 % interval in percent", ["arm", *map(budget, amounts.values())], body)


def named(arm: Arm, note: str = "", best: bool = False) -> Cell:
    """Make the cell that names an arm, with its key."""
    return Cell(
        arm.label,
        note=note or ("reference" if arm.is_reference else ""),
        best=best,
        key=charts.swatch(arm),
        numeric=False,
    )


def measured(value: Estimate | None, best: bool = False, shade: float | None = None) -> Cell:
    """Make the cell of an estimate, with its interval beneath."""
    return Cell("–") if value is None else Cell(percent(value.mean), interval(value), shade=shade, best=best)
