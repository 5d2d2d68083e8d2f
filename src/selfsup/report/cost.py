"""The section about what a run cost."""

import math
from collections.abc import Callable, Sequence

from selfsup.report.arms import Arms
from selfsup.report.blocks import Cell, Section, Table
from selfsup.report.curves import named
from selfsup.report.folders import RunFiles
from selfsup.report.values import Json, number, rows
from selfsup.report.words import compute, count, duration, memory, short

TITLE = "What it cost"
COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "seconds": ("time", duration),
    "trunk_gflops": ("compute", compute),
    "memory_mb": ("peak memory", memory),
    "steps": ("steps", count),
    "images_per_second": ("images/s", lambda speed: short(speed) if speed < 100 else count(speed)),
}


def cost_section(content: object, arms: Arms) -> Section:
    """Show time, compute, memory and speed of one run of each arm."""
    found = rows(content)
    if not found:
        return Section("cost", TITLE, ["The cost is not known yet: no run has finished."])
    said = [
        "Of one run. Compute is that of the forward and backward passes through the encoder; time is wall-clock time "
        "on the machine named below."
    ]
    if any(row.get("arm") == "scratch" for row in found):
        said.append(
            "Beside them training from scratch: one training on all labels of the verdict, without the search for its "
            "learning rate."
        )
    body = []
    for row in found:
        values = [(number(row.get(key)), words) for key, (_, words) in COLUMNS.items()]
        arm = arms.get(str(row.get("arm", "?")), str(row.get("kind", "method")))
        body.append([named(arm), *(Cell("–" if value is None else words(value)) for value, words in values)])
    return Section(
        "cost", TITLE, said, [Table("Cost of one run", ["arm", *(name for name, _ in COLUMNS.values())], body)]
    )


def cost_of_runs(runs: Sequence[RunFiles]) -> list[Json]:
    """Average the cost over the finished runs of each arm, where results.json does not have it yet."""
    found = []
    for name in dict.fromkeys(run.arm for run in runs if run.finished):
        summaries = [run.summary for run in runs if run.arm == name and run.finished]
        row: Json = {"arm": name}
        for key in COLUMNS:
            written = "peak_memory_mb" if key == "memory_mb" else key
            values = [value for summary in summaries if (value := number(summary.get(written))) is not None]
            row[key] = math.fsum(values) / len(values) if values else None
        found.append(row)
    return found
