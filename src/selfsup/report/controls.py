"""The section that compares the arms with each other and with doing nothing."""

from collections.abc import Sequence

from markupsafe import Markup

from selfsup.report import charts
from selfsup.report.arms import Arm, Arms
from selfsup.report.blocks import Block, Cell, Fold, Listing, Section, Table
from selfsup.report.curves import budget, measured, named
from selfsup.report.values import Estimate, Json, estimate, mapping, number, rows, whole
from selfsup.report.words import points, stage, visible

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
    found.sort(key=lambda each: (each[1].is_reference, -each[2].mean))
    hardest = max((value.mean for _, arm, value in found if arm.is_control), default=None)
    last = ", references last" if any(arm.is_reference for _, arm, _ in found) else ""
    said = [
        f"All arms with {budget(per_class)}, best first{last}, with 95 % intervals. Differences are paired, in points."
    ]
    if hardest is not None and len(found) > 1:
        strongest = next(arm.label for _, arm, value in found if arm.is_control and value.mean == hardest)
        said.append(
            f"The dashed line is the strongest control, {strongest}: a pretext task has to clear it to be "
            f"worth its time."
        )
    blocks: list[Block] = [_table(found, winner, ties, hardest)]
    if weights := [_reference(row, arms) for row, arm, _ in found if arm.is_reference]:
        blocks.append(Listing(weights, heading="References: public weights from files, outside the ranking"))
    if second := _neighbours(neighbours, arms, per_class):
        blocks.append(Fold("A second opinion: nearest neighbours instead of a linear probe", [second]))
    return Section("controls", TITLE, said, blocks)


def _reference(row: Json, arms: Arms) -> str:
    """Say whose weights they are, and how far above the best method where that can be told."""
    name, architecture = visible(row.get("arm", "?")), visible(row.get("architecture") or "unknown architecture")
    best = mapping(row.get("vs_best"))
    gain = estimate(best)
    if gain is None:
        return (
            f"{name}: {architecture}, not the architecture of the tasks' encoder, so the difference is not one of "
            "pretraining alone."
        )
    apart = _difference_words(gain)
    return (
        f"{name}: {architecture}, the architecture of the tasks' encoder; {apart} {arms[str(best.get('arm'))].label}."
    )


def _difference_words(gain: Estimate) -> str:
    """Say a difference with its interval: `+4.5 points (+2.1 to +6.9) against`."""
    ends = "" if gain.low is None or gain.high is None else f" ({points(gain.low)} to {points(gain.high)})"
    return f"{points(gain.mean)} points{ends} against"


def _table(found: list[Row], winner: str, ties: Sequence[str], hardest: float | None) -> Table:
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
            Cell(charts.range_bar(arm, value, low, high, hardest), numeric=False),
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
