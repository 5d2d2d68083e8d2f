"""The section that compares the stages of the network."""

from selfsup.report.arms import Arms
from selfsup.report.blocks import Block, Fold, Section, Table
from selfsup.report.curves import budget, measured, named
from selfsup.report.values import Estimate, Json, estimate, rows, whole
from selfsup.report.words import stage

TITLE = "Which stage of the network"


def stages_section(content: object, arms: Arms, per_class: int | None, chosen: str = "") -> Section:
    """Show every arm at every stage, at the budget of the verdict; other budgets are folded.

    Args:
        content: rows of arm, stage, per_class, mean, low, high.
        arms: their looks.
        per_class: the budget of the verdict.
        chosen: the stage of the verdict.
    """
    found: dict[int | None, list[tuple[Json, Estimate]]] = {}
    references: dict[int | None, list[tuple[Json, Estimate]]] = {}
    for row in rows(content):
        value = estimate(row)
        if value is not None:
            kind = references if row.get("kind") == "reference" else found
            kind.setdefault(whole(row.get("per_class")), []).append((row, value))
    if not found:
        return Section("stages", TITLE, ["Stages were not compared: no probe of a stage has been measured."])
    budgets = sorted(found, key=lambda one: (one is None, one or 0))
    shown = per_class if per_class in found else budgets[-1]
    said = [
        f"A probe on each stage, from the first (local edges and colours) to the last, with {budget(shown)}. "
        "The highest stage of each arm is marked; it is often not the last one."
    ]
    if chosen:
        said.append(
            f"The verdict uses {stage(chosen)}, chosen inside the labelled pool without a look at the test images."
        )
    others = [Fold(f"With {budget(one)}", _tables(found[one], arms, one)) for one in budgets if one != shown]
    if shown in references:  # often of stages of their own
        others.append(Fold("References, outside the ranking", [_table(references[shown], arms, shown)]))
    return Section("stages", TITLE, said, [*_tables(found[shown], arms, shown), *others])


def _tables(found: list[tuple[Json, Estimate]], arms: Arms, per_class: int | None) -> list[Block]:
    """Show the arms whose stages are those of the tasks, and then those that have others (raw pixels, wavelets)."""
    theirs = {row.get("stage") for row, _ in found if row.get("kind", "method") == "method"}
    of_arm = {row.get("arm"): row.get("stage") in theirs or not theirs for row, _ in found}
    alike, apart = ([one for one in found if of_arm[one[0].get("arm")] is same] for same in (True, False))
    return [_table(part, arms, per_class) for part in (alike, apart) if part]


def _table(found: list[tuple[Json, Estimate]], arms: Arms, per_class: int | None) -> Table:
    values = {(str(row.get("arm")), str(row.get("stage"))): value for row, value in found}
    kinds = {str(row.get("arm")): str(row.get("kind", "method")) for row, _ in found}
    low, high = min(value.mean for value in values.values()), max(value.mean for value in values.values())
    # an arm of a single stage (raw pixels, a whole network) would get a column of its own: it goes last
    stages = list(dict.fromkeys(name for _, name in values))
    stages.sort(key=lambda name: sum(of == name for _, of in values) == 1 and len(kinds) > 1)
    body = []
    for arm, kind in kinds.items():
        best = max(value.mean for (of, _), value in values.items() if of == arm)
        cells = [values.get((arm, name)) for name in stages]
        several = sum(cell is not None for cell in cells) > 1
        shades = [None if cell is None else (cell.mean - low) / (high - low or 1) for cell in cells]
        marks = [cell is not None and several and cell.mean == best for cell in cells]
        body.append([named(arms.get(arm, kind)), *map(measured, cells, marks, shades)])
    return Table(f"Mean and 95 % interval in percent, {budget(per_class)}", ["arm", *map(stage, stages)], body)
