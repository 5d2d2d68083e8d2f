"""Write folders as `pretrain`, `evaluate` and `advise` leave them, with numbers and pictures of a plausible trial."""

import csv
import io
import json
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from PIL import Image, ImageDraw

ODD = '<script>alert("1")</script> & "quotes\'.jpg'
"""A file name that would break a page that did not escape it."""
METHODS = ("rotation", "dae", "simclr")
STAGES = ("stage1", "stage2", "stage3", "stage4")
BUDGETS: tuple[tuple[int | None, int], ...] = ((1, 10), (5, 50), (10, 100), (50, 500), (100, 1000), (None, 3000))
COLOURS = ((214, 73, 51), (46, 110, 196), (242, 186, 60), (58, 150, 96), (140, 78, 168), (230, 130, 170))


class Task(NamedTuple):
    """How a method did: its headline, its loss at the start and the end, and a blind guess at both."""

    headline: str
    value: float
    headline_chance: float | None
    losses: tuple[float, float]
    chance: float | None
    passes: int


TASKS = {
    "rotation": Task("accuracy", 0.71, 0.25, (1.386, 0.74), math.log(4), 4),
    "dae": Task("psnr", 24.3, None, (1.1, 0.21), None, 1),
    "simclr": Task("accuracy", 0.58, 1 / 255, (5.54, 2.6), math.log(255), 2),
}
REACHED = {  # accuracy with 1 label per class, and with all
    "simclr": (0.41, 0.705),
    "rotation": (0.39, 0.66),
    "dae": (0.31, 0.575),
    "untrained": (0.27, 0.505),
    "pixels": (0.235, 0.42),
    "scratch": (0.215, 0.69),
    "simclr fine-tuned": (0.44, 0.755),
}


def write_json(path: Path, content: object) -> None:
    """Write JSON, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def scene(generator: np.random.Generator, size: int = 40) -> Image.Image:
    """Draw a floor, a wall and one shape, antialiased."""
    big = size * 4
    wall, floor, shape = (COLOURS[index] for index in generator.choice(len(COLOURS), 3, replace=False))
    image = Image.new("RGB", (big, big), tuple(channel // 2 + 110 for channel in wall))
    draw = ImageDraw.Draw(image)
    horizon = int(big * generator.uniform(0.5, 0.7))
    draw.rectangle((0, horizon, big, big), fill=tuple(channel // 2 + 60 for channel in floor))
    x, y, radius = generator.uniform(0.3, 0.7) * big, horizon, generator.uniform(0.16, 0.3) * big
    draw.ellipse((x - radius, y + radius * 0.5, x + radius * 1.6, y + radius), fill=(40, 40, 46))
    if generator.random() < 0.4:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=shape)
    else:
        draw.regular_polygon((x, y, radius), int(generator.integers(3, 7)), fill=shape)
    return image.resize((size, size), Image.Resampling.LANCZOS)


def sheet(rows: list[list[Image.Image]], gap: int = 2) -> Image.Image:
    """Lay images out in rows on white."""
    size = rows[0][0].width
    whole = Image.new("RGB", (len(rows[0]) * (size + gap) - gap, len(rows) * (size + gap) - gap), "white")
    for down, row in enumerate(rows):
        for across, image in enumerate(row):
            whole.paste(image, (across * (size + gap), down * (size + gap)))
    return whole


def noisy(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Add Gaussian noise."""
    pixels = np.asarray(image) + generator.normal(0, 40, (*image.size, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@cache
def drawing(method: str) -> tuple[str, bytes]:
    """Draw what a task looked like, at the size that training draws: name and PNG."""
    generator = np.random.default_rng(0)
    images = [scene(generator) for _ in range(8)]
    spoilt = [noisy(one, generator) for one in images]
    turned = [one.rotate(90 * (place % 4)) for place, one in enumerate(images)]
    closer = [one.crop((8, 4, 36, 32)).resize((40, 40)) for one in images]
    undone = [*images[:6], turned[6], images[7]]
    cleaned = [Image.blend(one, other, 0.2) for one, other in zip(images, spoilt, strict=True)]
    name, rows = {
        "rotation": ("turned, and turned back as predicted", [turned, undone]),
        "dae": ("noisy, cleaned, original", [spoilt, cleaned, images]),
        "simclr": ("a view, its partner, and the nearest view", [images, closer]),
    }[method]
    drawn = sheet(rows)
    return name, png(drawn.resize((drawn.width * 2, drawn.height * 2), Image.Resampling.NEAREST))


@cache
def neighbours() -> bytes:
    """Draw a sheet of neighbours."""
    generator = np.random.default_rng(7)
    return png(sheet([[scene(generator) for _ in range(9)] for _ in range(4)]))


def png(image: Image.Image) -> bytes:
    """Write a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def metrics(method: str, seed: int, last: int, steps: int) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl up to a step."""
    task, generator = TASKS[method], np.random.default_rng(seed)
    start, end = task.losses
    rows: list[dict[str, Any]] = []
    for step in range(0, last + 1, 40):
        progress = step / steps
        loss = end + (start - end) * math.exp(-4 * progress)
        seen = loss + float(generator.normal(0, 0.03 * start))
        row = {"step": step, "progress": progress, "seconds": step / 12, "loss": seen, "chance": task.chance}
        rows.append({**row, "metrics": {}, "lr": 0.1, "images_per_second": 1540.0, "waiting": 0.01})
        if step % 240 == 0:
            held = {"step": step, "kind": "held_out", "loss": 1.04 * loss, "metrics": {}, "width": 192}
            rank = 20 + (60 + 10 * (seed % 10)) * progress**0.5
            rows.append({**held, "feature_std": 0.9 - 0.3 * progress - 0.02 * (seed % 10), "rank": rank})
    return rows


def summary(method: str, seed: int, steps: int) -> dict[str, Any]:
    """What summary.json holds."""
    task = TASKS[method]
    odd = method == "dae" and seed == 1
    warning = {"level": "warning", "text": "The features use few directions: effective rank 4.1 of 192."}
    return {
        "method": method,
        "steps": steps,
        "seconds": 201.4 + 3 * (seed % 10),
        "seconds_per_step": 0.084,
        "images_per_second": 1525.0 - 80 * len(method),
        "images_seen": steps * 128,
        "trunk_gflops": 16400.0 * task.passes,
        "peak_memory_mb": 734.0 + 60 * len(method),
        "waiting": 0.01,
        "headline": {
            "name": task.headline,
            "value": task.value + 0.01 * (seed % 10),
            "chance": task.headline_chance,
            "rises": True,
            "held_out_images": 500,
        },
        "loss": task.losses[1],
        "chance": task.chance,
        "health": [warning if odd else {"level": "ok", "text": "Nothing unusual was seen."}],
        "device": "cpu",
        "threads": 1,
        "precision": "float32",
        "versions": {"selfsup": "0.1.0", "torch": "2.9.0", "python": "3.11.9"},
    }


def write_run(
    folder: Path, method: str = "rotation", seed: int = 0, *, finished: bool = True, steps: int = 2400
) -> Path:
    """Write a run folder of a method, finished or stopped at 40 %."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"method": method, "data": "photos/", "encoder": "small", "image_size": 40, "seed": seed, "lr": 0.1}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    write_json(folder / "encoder.json", {"name": "small", "image_size": 40})
    rows = metrics(method, seed, steps if finished else int(0.4 * steps), steps)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    write_skipped(folder, [("holiday/IMG_0231.jpg", "truncated: 61 % of the file is there"), (ODD, "not an image")])
    if finished:
        name, picture = drawing(method)
        (folder / "figures").mkdir()
        (folder / "figures" / f"{name}.png").write_bytes(picture)
        write_json(folder / "summary.json", summary(method, seed, steps))
    return folder


def write_skipped(folder: Path, skipped: list[tuple[str, str]]) -> None:
    """Write skipped.csv."""
    with (folder / "skipped.csv").open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows([("name", "reason"), *skipped])


def reached(arm: str, labels: float) -> float:
    """A saturating curve over the logarithm of the labels."""
    start, end = REACHED[arm]
    share = math.log(labels / 10) / math.log(300)
    return start + (end - start) * share ** (1.35 if arm == "scratch" else 0.85)


def around(mean: float, labels: float) -> dict[str, float]:
    """A mean with an interval that narrows with more labels, rounded as JSON has it."""
    half = 0.012 + 0.06 / math.sqrt(labels / 10)
    return {"mean": round(mean, 5), "low": round(mean - half, 5), "high": round(mean + 0.9 * half, 5)}


def kind_of(arm: str) -> str:
    """Say what an arm is."""
    return "method" if arm in METHODS else "finetuned" if arm.endswith("fine-tuned") else "control"


def stage_rows(arm: str, per_class: int | None, labels: int) -> list[dict[str, Any]]:
    """Rows of the stages of an arm at one budget."""
    fall = (0.82, 0.93, 1.0, 0.9)
    row = {"arm": arm, "kind": kind_of(arm), "per_class": per_class}
    mean = reached(arm, labels)
    if arm == "pixels":
        return [{**row, "stage": "pixels", **around(mean, labels)}]
    return [{**row, "stage": stage, **around(mean * fall[place], labels)} for place, stage in enumerate(STAGES)]


def write_evaluation(folder: Path) -> Path:
    """Write what `evaluate` finds of a run."""
    arms = ["rotation", "untrained"]
    found: list[dict[str, Any]] = []
    for arm in arms:
        for per_class, labels in BUDGETS:
            gain = {"mean": reached(arm, labels) - reached("untrained", labels)}
            gain = (
                {}
                if arm == "untrained"
                else {"vs_untrained": {**gain, "low": gain["mean"] - 0.02, "high": gain["mean"] + 0.02}}
            )
            chosen = {
                "arm": arm,
                "per_class": per_class,
                "probe": "linear",
                "stage": "chosen",
                "stages": ["stage3", "stage2"],
            }
            found.append({**chosen, **around(reached(arm, labels), labels), **gain})
            for row in stage_rows(arm, per_class, labels):
                found += [{**row, "probe": probe, "stages": [row["stage"]]} for probe in ("linear", "knn10")]
    rows = [
        {"stage": "stage3", "per_class": n, "labels": labels, "draw": 0, "probe": "linear"} for n, labels in BUDGETS
    ]
    labels_facts = {
        "source": "labelled/",
        "classes": list("abcdefghij"),
        "pool": 3000,
        "test": 1000,
        "notes": ["No duplicates."],
    }
    content = {
        "labels": {**labels_facts, "skipped": [["labelled/a/broken.png", "zero bytes"]]},
        "arms": [{"name": arm, "seed": 0, "rows": rows} for arm in arms],
        "chosen": {},
        "intervals": found,
    }
    write_json(folder / "evaluation" / "labelled.json", content)
    return folder


def write_trials(folder: Path, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    """Write the run of each method and seed, and list them."""
    runs = []
    for method in METHODS:
        for seed in seeds:
            write_run(folder / "trials" / f"{method}-seed{seed}", method, seed)
            runs.append({"arm": method, "seed": seed, "folder": f"trials/{method}-seed{seed}", "role": "reported"})
        (folder / "sheets").mkdir(exist_ok=True)
        (folder / "sheets" / f"{method}-neighbours.png").write_bytes(neighbours())
    return runs


def write_plan(folder: Path, *, labels: str | None, seeds: tuple[int, ...]) -> None:
    """Write plan.json."""
    plan = {
        "data": "photos/",
        "labels": labels,
        "count": 10000,
        "methods": list(METHODS),
        "seeds": list(seeds),
        "budget": "3m",
    }
    excluded = {"jigsaw": "it needs at least 48 pixels, and the images have 40"}
    write_json(
        folder / "plan.json",
        {**plan, "excluded": excluded, "screening_seed": None, "finalists": 3, "transductive": False},
    )


def write_unlabelled(folder: Path) -> Path:
    """Write an advice without labels."""
    runs = write_trials(folder, (1000,))
    write_plan(folder, labels=None, seeds=(0, 1, 2))
    write_json(
        folder / "results.json", {"curves": [], "stages": [], "cost": [], "runs": runs, "failed": [], "notes": []}
    )
    said = "Without labels it cannot be known which task gives the better features for your question."
    ask = "Label a few images of each class, one folder per class, and ask again with --labels."
    verdict = {"verdict": "unknown", "sentences": [said, "Rotation: accuracy 0.71 (a blind guess: 0.25)."], "next": ask}
    write_json(
        folder / "verdict.json", {**verdict, "winner": None, "ties": [], "table": [], "caveats": [], "command": ""}
    )
    return folder


def write_advice(folder: Path, *, seeds: tuple[int, ...] = (0, 1, 2)) -> Path:
    """Write an advice with labels: trials, results and verdict."""
    runs = write_trials(folder, seeds)
    write_plan(folder, labels="labelled/", seeds=seeds)
    write_json(folder / "results.json", {**results(), "runs": runs})
    write_json(folder / "verdict.json", verdict())
    return folder


def results() -> dict[str, Any]:
    """What results.json holds, without the runs."""
    arms = [*METHODS, "simclr fine-tuned", "untrained", "pixels", "scratch"]
    frozen = [*METHODS, "untrained", "pixels"]
    at = [(arm, n, labels) for n, labels in BUDGETS for arm in arms if n is None or arm != "simclr fine-tuned"]
    saving = {"arm": "simclr", "per_class": 10, "labels": 100, "factor": 4.8, "text": "scratch needs 4.8x the labels"}
    return {
        "measure": "balanced accuracy",
        "chance": 0.1,
        "test_images": 1000,
        "detectable_points": 2.1,
        "transductive": False,
        "notes": ["3 pairs of near-identical images were found; they stand on the same side of the split."],
        "curves": [
            {**row_of(arm, n), "labels": labels, **around(reached(arm, labels), labels)} for arm, n, labels in at
        ],
        "stages": [row for n, labels in BUDGETS for arm in frozen for row in stage_rows(arm, n, labels)],
        "neighbours": [{**row_of(arm, None), "probe": "knn10", "mean": reached(arm, 1000)} for arm in frozen],
        "label_saving": [saving],
        "cost": [cost("rotation", 201.4, 734), cost("dae", 199.8, 864), cost("simclr", 203.1, 994)],
        "failed": [{"arm": "rotation", "seed": 3, "error": f"no space left for {ODD}"}],
    }


def row_of(arm: str, per_class: int | None) -> dict[str, Any]:
    """What rows of results share."""
    return {"arm": arm, "kind": kind_of(arm), "per_class": per_class}


def cost(arm: str, seconds: float, megabytes: float) -> dict[str, Any]:
    """A row of the cost."""
    gflops = 16400.0 * TASKS[arm].passes
    measured = {"seconds": seconds, "trunk_gflops": gflops, "memory_mb": megabytes}
    return {"arm": arm, "kind": "method", **measured, "steps": 2400.0, "images_per_second": 1525.4}


def verdict() -> dict[str, Any]:
    """What verdict.json holds."""
    return {
        "verdict": "pretrain",
        "best": "simclr",
        "winner": "simclr",
        "stage": "stage3",
        "ties": [],
        "per_class": None,
        "table": [compared(arm) for arm in REACHED],
        "sentences": [
            "SimCLR, stage 3: 70.5 ± 1.5 % with all 3,000 labels, 20.0 points (17.9 to 22.1) above an "
            "untrained network.",
            "It is better than rotation and denoising.",
            "With 10 labels per class, scratch needs 4.8x the labels.",
        ],
        "next": "Train it longer on all images:",
        "caveats": ["With 1,000 test images, differences below 2.1 points cannot be seen."],
        "command": "selfsup pretrain simclr photos/ --encoder small --budget 30m --out runs/simclr-longer",
        "transductive": False,
    }


def compared(arm: str) -> dict[str, Any]:
    """A row of the verdict's table."""
    mean, stage = reached(arm, 3000), "stage3" if arm in METHODS else None
    row = {"arm": arm, "kind": kind_of(arm), "stage": stage, **around(mean, 3000)}
    if arm != "untrained":
        gain = mean - reached("untrained", 3000)
        row["vs_untrained"] = {"mean": gain, "low": gain - 0.021, "high": gain + 0.021}
    if kind_of(arm) != "control":
        gain = mean - reached("scratch", 3000)
        row["vs_controls"] = {
            "control": "scratch",
            "mean": gain,
            "low": gain - 0.02,
            "high": gain + 0.02,
            "shown": gain > 0.03,
        }
    return row
