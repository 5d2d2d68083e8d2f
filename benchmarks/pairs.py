"""Compare evaluated runs with the same networks untrained, pair by pair: one row per method for the results page.

    selfsup evaluate RUN --labels LABELLED --label-budgets all        # for each run
    python benchmarks/pairs.py RUN [RUN ...] --labels LABELLED

The stage of each arm is the one chosen inside the label pool; the spread is the standard error over the pairs.
"""

import argparse
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from selfsup.run import Run


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--labels", type=Path, required=True, help="what the runs were evaluated on")
    given = parser.parse_args()
    pairs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for folder in given.runs:
        run = Run.open(folder)
        pairs[run.config["method"]].append(pair(run, given.labels.name))
    print("| method | task, held out (chance) | probe, trained | probe, untrained | gain, each seed | gain ± s.e. |")
    print("|---|---|---|---|---|---|")
    for method, found in pairs.items():
        gains = [one["trained"] - one["untrained"] for one in found]
        error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
        task = statistics.mean(one["task"] for one in found)
        print(
            f"| {method} | {found[0]['name']} {task:.3g} ({found[0]['chance']:.3g}) | {percent(found, 'trained')} "
            f"({stages(found, 'trained')}) | {percent(found, 'untrained')} ({stages(found, 'untrained')}) | "
            f"{', '.join(f'{100 * gain:+.1f}' for gain in gains)} | "
            f"{100 * statistics.mean(gains):+.1f} ± {100 * error:.1f} |"
        )


def pair(run: Run, labels: str) -> dict[str, Any]:
    """Read one run's probe and that of its untrained network, with the largest label budget."""
    result = next(e for e in run.evaluations() if "labels" in e and Path(e["labels"]["source"]).name == labels)
    chosen = [item for item in result["intervals"] if item["stage"] == "chosen" and item["probe"] == "linear"]
    largest = chosen[-1]["per_class"]
    untrained, trained = (
        next(i for i in chosen if (i["arm"] == "untrained") == is_untrained and i["per_class"] == largest)
        for is_untrained in (True, False)
    )
    headline = run.summary["headline"]
    return {
        "trained": trained["mean"],
        "untrained": untrained["mean"],
        "stage of trained": trained["stages"][0],
        "stage of untrained": untrained["stages"][0],
        "task": headline["value"],
        "chance": headline["chance"],
        "name": headline["name"],
    }


def percent(found: list[dict[str, Any]], arm: str) -> str:
    """Give mean and standard deviation over seeds."""
    values = [100 * one[arm] for one in found]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread} %"


def stages(found: list[dict[str, Any]], arm: str) -> str:
    """Name the stages chosen."""
    return ", ".join(sorted({one[f"stage of {arm}"] for one in found}))


if __name__ == "__main__":
    main()
