"""The section about what a run cost."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfsup.report.arms import Arms
from selfsup.report.blocks import Cell, Section, Table
from selfsup.report.curves import named
from selfsup.report.folders import RunFiles
from selfsup.report.values import Json, mapping, number, rows
from selfsup.report.words import compute, count, duration, memory, short

TITLE = "What it cost"
GENERATED = "aetgan"
"""The method that needs a generator, which was trained before."""
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
    said += _of_generators(found, arms)
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


def with_generator(costs: Sequence[Json], taken: Mapping[str, Any]) -> list[Json]:
    """Add what the generator took to a run of the method that needs it; empty: nothing is known of one."""
    if not taken:
        return list(costs)
    return [_added(row, taken) if row.get("arm") == GENERATED else row for row in costs]


def _added(row: Json, taken: Mapping[str, Any]) -> Json:
    both: Json = {}
    for key in ("seconds", "trunk_gflops"):
        own, before = number(row.get(key)), number(taken.get(key))
        both[key] = None if own is None or before is None else own + before
    return {**row, **both, "generator": {key: number(taken.get(key)) for key in both}}


def _of_generators(costs: Sequence[Json], arms: Arms) -> list[str]:
    """Say which part of a cost is a generator's."""
    said = []
    for row in costs:
        taken = mapping(row.get("generator"))
        seconds, gigaflops = number(taken.get("seconds")), number(taken.get("trunk_gflops"))
        if seconds is not None:
            done = "" if gigaflops is None else f" and {compute(gigaflops)}"
            label = arms.get(str(row.get("arm", "?")), str(row.get("kind", "method"))).label
            said.append(
                f"{label}: of which {duration(seconds)}{done} for the generator, which was trained once, before all "
                "runs; its steps, memory and speed are not in the table."
            )
    return said
