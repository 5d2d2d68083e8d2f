"""The section that compares the arms with each other and with doing nothing."""

from collections.abc import Sequence

from markupsafe import Markup

from selfsup.report import charts
from selfsup.report.arms import Arm, Arms
from selfsup.report.blocks import Block, Cell, Fold, Section, Table
from selfsup.report.curves import budget, measured, named
from selfsup.report.values import Estimate, Json, estimate, mapping, number, rows, whole
from selfsup.report.words import points, stage

TITLE = "Against doing nothing"
Row = tuple[Json, Arm, Estimate]


def controls_section(
    table: object, arms: Arms, winner: str, ties: Sequence[str], per_class: int | None, neighbours: object = ()
) -> Section:
    """Show all arms on one scale with the best control as a line, and how far each is above the controls.

    Args:
        table: the rows of verdict.json.
        arms: their looks.
        winner: name of the winning arm, or empty.
        ties: names of the arms that cannot be told from the best.
        per_class: the label budget of the rows.
        neighbours: rows of nearest-neighbour probes, shown as a second opinion.
    """
    found = [
        (row, arms.get(str(row.get("arm", "?")), str(row.get("kind", "method"))), value)
        for row in rows(table)
        if (value := estimate(row)) is not None
    ]
    if not found:
        return Section("controls", TITLE, ["Nothing was compared with an untrained network, raw pixels or scratch."])
    found.sort(key=lambda each: -each[2].mean)
    reference = max((value.mean for _, arm, value in found if arm.is_control), default=None)
    said = [f"All arms with {budget(per_class)}, best first, with 95 % intervals. Differences are paired, in points."]
    if reference is not None:
        strongest = next(arm.label for _, arm, value in found if arm.is_control and value.mean == reference)
        said.append(
            f"The dashed line is the strongest control, {strongest}: a pretext task has to clear it to be "
            f"worth its time."
        )
    blocks: list[Block] = [_table(found, winner, ties, reference)]
    if second := _neighbours(neighbours, arms, per_class):
        blocks.append(Fold("A second opinion: nearest neighbours instead of a linear probe", [second]))
    return Section("controls", TITLE, said, blocks)


def _table(found: list[Row], winner: str, ties: Sequence[str], reference: float | None) -> Table:
    ends = [end for _, _, value in found for end in value if end is not None]
    air = 0.03 * (max(ends) - min(ends)) or 0.01
    low, high = min(ends) - air, max(ends) + air
    with_area = any(number(row.get("auroc")) is not None for row, _, _ in found)
    with_gain = any(row.get("vs_controls") for row, _, _ in found)
    header: list[str | Markup] = ["arm", "stage", "accuracy", charts.range_axis(low, high), "above untrained"]
    header += ["above the hardest control"] * with_gain + ["AUROC"] * with_area
    body = []
    for row, arm, value in found:
        cells = [
            named(arm, _mark(arm, winner, ties), best=arm.name == winner),
            Cell(stage(row.get("stage") or "–"), numeric=False),
            measured(value),
            Cell(charts.range_bar(arm, value, low, high, reference), numeric=False),
            _difference(row.get("vs_untrained")),
        ]
        if with_gain:
            cells.append(_difference(row.get("vs_controls")))
        if with_area:
            area = number(row.get("auroc"))
            cells.append(Cell("–" if area is None else f"{area:.3f}"))
        body.append(cells)
    return Table("Arms and controls", header, body)


def _mark(arm: Arm, winner: str, ties: Sequence[str]) -> str:
    if arm.name == winner:
        return "best"
    return "tie" if arm.name in ties else "control" if arm.is_control else ""


def _difference(content: object) -> Cell:
    gain = estimate(content)
    if gain is None:
        return Cell("–")
    ends = "" if gain.low is None or gain.high is None else f"{points(gain.low)} to {points(gain.high)}"
    return Cell(points(gain.mean), ends, best=mapping(content).get("shown") is True)


def _neighbours(content: object, arms: Arms, per_class: int | None) -> Table | None:
    """Compare the arms by k nearest neighbours, at the stage of the verdict where there is one, else at each stage."""
    found = [
        (row, value) for row in rows(content) if (value := estimate(row)) and whole(row.get("per_class")) == per_class
    ]
    if not found:
        return None
    probes = list(dict.fromkeys((str(row.get("probe")), str(row.get("stage") or "")) for row, _ in found))
    values = {(str(row.get("arm")), str(row.get("probe")), str(row.get("stage") or "")): value for row, value in found}
    kinds = {str(row.get("arm")): str(row.get("kind", "method")) for row, _ in found}
    body = [
        [named(arms.get(arm, kind)), *(measured(values.get((arm, *probe))) for probe in probes)]
        for arm, kind in kinds.items()
    ]
    header = [f"{short_probe(probe)} {stage(at)}".strip() for probe, at in probes]
    return Table(f"Accuracy with {budget(per_class)}", ["arm", *header], body)


def short_probe(name: str) -> str:
    """knn10 is 10 neighbours."""
    count = name.removeprefix("knn")
    return f"{count} neighbours" if count.isdigit() else stage(name)
