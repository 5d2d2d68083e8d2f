"""How much of what pretraining gives comes from one image? Crops of one photo against all images, stage by stage.

    python benchmarks/single_image.py photo.jpg cifar10-split/unlabelled cifar10-split/labelled --out runs/single
        --methods rotation deepcluster bigan --steps 2600 2600 3400 --seeds 0 1 2

For each method and seed it pretrains twice with equal steps, batches and numbers of images: on the images of the
folder, and on as many crops of the photo (or of a folder of photos), both stored at the size that the encoder sees.
Seeds are paired: with the same seed both start from the same weights, which are also those of the untrained row (its
batch statistics are those of the folder). Linear probes of every stage with all labels of the third argument (class
folders, or train/ and test/ of them) follow. What is finished is kept in the out folder, so the same command goes on
after a cut.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import selfsup
from selfsup.data.images import open_images
from selfsup.progress import Shown

ONE, ALL, UNTRAINED = "one image", "all images", "untrained"


def main() -> None:
    """Train and probe what is not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path, help="an image file, or a folder of a few")
    parser.add_argument("images", type=Path, help="a folder of many images")
    parser.add_argument("labels", type=Path, help="labelled images, for the probes")
    parser.add_argument("--out", type=Path, required=True, help="keeps all runs; give it again to go on")
    parser.add_argument("--methods", nargs="+", default=["rotation", "deepcluster", "bigan"])
    parser.add_argument("--steps", nargs="+", type=int, default=[3000], help="of all methods, or one number for each")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--encoder", default="small")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--crops", type=int, help="of the photo; default: as many as there are images")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    size = given.image_size
    count = given.crops or len(open_images(given.images, size, store_size=size))
    common = {"encoder": given.encoder, "image_size": size, "store_size": size}
    common |= {"threads": given.threads, "device": given.device}
    steps = given.steps * len(given.methods) if len(given.steps) == 1 else given.steps
    if len(steps) != len(given.methods):
        parser.error(f"there are {len(given.methods)} methods and {len(steps)} numbers of steps")
    found: list[dict[str, Any]] = []
    for seed in given.seeds:
        for method, length in zip(given.methods, steps, strict=True):
            for arm, data, crops in ((ONE, given.photo, count), (ALL, given.images, None)):
                folder = given.out / f"{method}-{arm.replace(' ', '-')}-seed{seed}"
                asked = {**common, "steps": length, "seed": seed, "single_image": crops}
                found += measured(method, arm, data, folder, given.labels, asked)
        (given.out / "results.json").write_text(json.dumps(found, indent=1))
        table(found)


def measured(
    method: str, arm: str, data: Path, folder: Path, labels: Path, asked: dict[str, Any]
) -> list[dict[str, Any]]:
    """Pretrain and probe, or read what an earlier call has left; give a row for the run and one for its start."""
    file = folder / "probes.json"
    with Shown() as progress:
        run = selfsup.pretrain(method, data, out=folder, progress=progress, **asked)
        if not file.is_file():
            progress.note(f"{method} on {arm}, seed {asked['seed']}: probing.")
            selfsup.evaluate(run, labels, label_budgets=[None], draws=1, out=file, device=asked["device"])
    rows = []
    for probed in json.loads(file.read_text())["arms"]:
        of_stage = {
            row["stage"]: 100 * row["balanced_accuracy"]
            for row in probed["rows"]
            if row["probe"] == "linear" and row["per_class"] is None
        }
        name = UNTRAINED if probed["name"] == UNTRAINED else arm
        rows.append({
            "method": method, "arm": name, "seed": asked["seed"], "stages": of_stage, "steps": asked["steps"],
            "seconds": run.summary["seconds"], "images": run.config["resolved"]["training_images"],
        })  # fmt: skip
    return rows


def table(found: Sequence[dict[str, Any]]) -> None:
    """Print means over seeds of the probes of every stage, and the difference of one image to all, paired by seed."""
    stages = list(found[0]["stages"])
    print(f"\n| method | trained on | {' | '.join(stages)} | seeds | minutes each |\n|{'---|' * (len(stages) + 4)}")
    for method in dict.fromkeys(row["method"] for row in found):
        arms = {
            arm: {row["seed"]: row for row in found if (row["method"], row["arm"]) == (method, arm)}
            for arm in (UNTRAINED, ONE, ALL)
        }
        for arm, rows in arms.items():
            minutes = "-" if arm == UNTRAINED else f"{statistics.mean(r['seconds'] for r in rows.values()) / 60:.1f}"
            line = cells(stages, rows, lambda row, stage: row["stages"][stage])
            print(f"| {method} | {arm} | {' | '.join(line)} | {len(rows)} | {minutes} |")
        both = {seed: (arms[ONE][seed], row) for seed, row in arms[ALL].items()}
        line = cells(stages, both, lambda pair, stage: pair[0]["stages"][stage] - pair[1]["stages"][stage], "+.1f")
        print(f"| {method} | one minus all | {' | '.join(line)} | {len(both)} | - |")
    print(flush=True)


def cells(
    stages: Sequence[str], rows: dict[int, Any], value: Callable[[Any, str], float], form: str = ".1f"
) -> list[str]:
    """Write the mean of a value over seeds and its standard deviation, for each stage."""
    written = []
    for stage in stages:
        values = [value(row, stage) for row in rows.values()]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        written.append(f"{statistics.mean(values):{form}}{spread}")
    return written


if __name__ == "__main__":
    main()
