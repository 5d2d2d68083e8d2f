"""Whether a trained pretext model solves its task by a shortcut."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from selfsup import methods
from selfsup.data.batches import as_floats
from selfsup.data.images import ImageStore, open_images
from selfsup.draws import reseed
from selfsup.errors import InputError
from selfsup.evaluation.features import device_named
from selfsup.evaluation.shortcuts import CHANGES, SHORTCUTS, Images, Shortcut, marks_of, texture
from selfsup.method import Batch, Method
from selfsup.progress import Progress, silent
from selfsup.run import Run, write_json
from selfsup.training.loop import as_list
from selfsup.training.restored import restored, step_of_run

BATCH = 64
FEWEST = 8
"""Batches without which an interval would mean little."""


def audit(
    run: Run | Path | str,
    data: Any,
    *,
    count: int = 2048,
    seed: int = 0,
    cache: Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run a trained pretext model on images that show nothing, where only a shortcut is better than chance.

    Textures, flat colours, turn-symmetric images and the like are made from the folder's images; which of them say
    something depends on the task. Intervals hold for all of them together at 95 %. Puzzles are also asked with tiles
    that touch. Then the folder's own images, as they are and with colours, channels or compression changed: how much
    the task leans on those. Written to `audit.json` in the run folder.

    Args:
        run: run folder with its checkpoint.
        data: folder of images, or what else `pretrain` takes; best the one the run was trained on.
        count: images of each kind.
        seed: of the textures and the views.
        cache: folder of decoded images; by default the user's cache.
        device: `auto`, `cpu` or `cuda`.
        progress: told what is being done.

    Returns: the task's accuracy, chance and interval for each kind of image, and `leaks`: the kinds above chance.

    Raises:
        InputError: for runs without a checkpoint, too few images, and tasks without a known shortcut.
    """
    found = run if isinstance(run, Run) else Run.open(run)
    config = found.config
    if found.is_baseline:
        raise InputError(f"Nothing was trained in the baseline {str(found.folder)!r}, so there is no task to audit.")
    missing = {"method", "encoder", "image_size", "store_size", "seed", "resolved"} - set(config)
    if missing:
        raise InputError(f"The run {str(found.folder)!r} has a config.yaml without {', '.join(sorted(missing))}.")
    name, family = config["method"], methods.entry(config["method"]).family
    looked_for = [shortcut for shortcut in SHORTCUTS if {name, family} & set(shortcut.tasks)]
    _refuse_other_questions(name)
    if not looked_for:
        raise InputError(f"There is no shortcut to look for in {name}; an audit is for tasks that ask a question.")
    if count < BATCH * FEWEST:
        raise InputError(f"An audit needs at least {BATCH * FEWEST} images of each kind, got {count}.")
    images = open_images(data, config["image_size"], store_size=config["store_size"], cache=cache, progress=progress)
    place = device_named(device)
    method = restored(found, images, place)
    gapless = _without_gaps(found, method, images, place)
    asked = _Asked(images, count, seed, place)
    total = len(looked_for) + 2 + len(CHANGES)
    level = 1 - 0.05 / len(looked_for)
    real = asked.values(method, lambda images: images)
    answers: dict[str, np.ndarray] = {}
    checks, changes = [], []
    for number, shortcut in enumerate(looked_for):
        values = answers[shortcut.name] = asked.values(method, partial(_made, shortcut, asked.marks))
        above = leak = _above(method, values, level)
        if shortcut.on_noise:  # the table has texture before what is made of it
            leak = leak and _better(method, values - answers["texture"], level)
        if shortcut.by_content:
            leak = not _better(method, real - values, level)
        check = {"images": shortcut.name, "would_use": shortcut.meaning, "above_chance": above}
        checks.append(check | _interval(values, level) | {"leak": leak})
        progress("audit", number + 2, total)
    what_if = None
    if gapless is not None:
        values = asked.values(gapless, texture)
        what_if = _interval(values, 0.95) | {"leak": _above(gapless, values, 0.95)}
    for change, make in CHANGES.items():
        changes.append({"change": change} | _interval(asked.values(method, make) - real, 0.95))
    progress("audit", total, total)
    result = {
        "method": name,
        "step": step_of_run(found),
        "measure": method.headline,
        "images": asked.batches * asked.batch,
        "chance": method.headline_chance,
        "real": _interval(real, 0.95),
        "checks": checks,
        "texture_if_tiles_touched": what_if,
        "changes": changes,
        "leaks": [check["images"] for check in checks if check["leak"]],
        "seed": seed,
    }
    write_json(found.folder / "audit.json", result)
    return result


def _refuse_other_questions(method: str) -> None:
    """Raise an InputError for a method whose question cannot be put about a single image."""
    reads = methods.load(method).reads
    other = {
        "clips": "about frames of clips, where time is the content and no still image has any",
        "scenes": "for what is true of rendered scenes, which of an image without content is not known",
    }
    why = next((words for kind, words in other.items() if kind in reads.split(" and ")), None)
    if why is not None:
        raise InputError(
            f"An audit asks a task about single images that show nothing, and {method} asks {why}; whether it learned"
            " more than a shortcut is seen by its features: selfsup evaluate RUN --labels FOLDER compares them with"
            " those of the untrained network."
        )


def _made(shortcut: Shortcut, marks: Tensor, images: Images) -> Images:
    return shortcut.make(images, marks)


def _above(method: Method, values: np.ndarray, level: float) -> bool:
    """Say whether the interval lies on the better side of chance."""
    # not known before the first batch where it depends on the batch's size
    return _better(method, values - (method.headline_chance or 0.0), level)


def _better(method: Method, differences: np.ndarray, level: float) -> bool:
    """Say whether the interval of differences lies on the better side of 0."""
    found = _interval(differences if method.headline_rises else -differences, level)
    return found["low"] > 1e-6  # equal batches have an interval of no width, and rounding is no leak


class _Asked:
    """The images an audit is made of, and how a method is asked."""

    def __init__(self, images: ImageStore, count: int, seed: int, device: torch.device) -> None:
        self.images, self.seed, self.device = images, seed, device
        self.batch = min(BATCH, len(images))
        self.batches = count // self.batch
        # small folders are gone through more than once, but no image stands twice in a batch: it would match itself
        whole = len(images) // self.batch * self.batch
        order = np.random.default_rng(seed)
        rounds = -(-self.batches * self.batch // whole)
        self.order = np.concatenate([order.permutation(len(images))[:whole] for _ in range(rounds)])
        sums = torch.stack([torch.stack([x.mean(0), x.square().mean(0)]) for x in self._all()]).mean(0)
        deviation = (sums[1] - sums[0].square()).clamp_min(0).sqrt()
        self.marks = marks_of(sums[0], deviation, min(len(images), len(self.order)))

    def values(self, method: Method, make: Callable[[Images], Images]) -> np.ndarray:
        """Give the headline of each batch of changed images; views are drawn alike for every change."""
        found = []
        for number, images in enumerate(self._all()):
            reseed(self.seed, 0xA0D1, number)
            changed = make(images)
            index = torch.arange(len(images), device=self.device)
            reseed(self.seed, 0xA0D2, number)
            found.append(_headline(method, Batch(changed, index, number, 1.0)))
        return np.array(found)

    def _all(self) -> Iterator[Images]:
        for number in range(self.batches):
            rows = self.order[number * self.batch : (number + 1) * self.batch]
            yield as_floats(torch.from_numpy(self.images.rows(rows)).to(self.device))


@torch.no_grad()
def _headline(method: Method, batch: Batch) -> float:
    metrics: dict[str, Tensor] = {}
    for yielded in method.losses(batch):
        for objective in as_list(yielded):
            metrics.update(objective.metrics)
    return float(metrics[method.headline])


def _without_gaps(run: Run, method: Method, images: ImageStore, device: torch.device) -> Method | None:
    """Give the same model with tiles that touch, if it cuts tiles and its head takes them at any size."""
    cell = getattr(method, "cell", None)
    if cell is None or type(method.head).__name__ == "CFNHead":
        return None
    return restored(run, images, device, {"tile": cell})


def _interval(values: np.ndarray, level: float) -> dict[str, float]:
    """Give the mean over batches and its Student interval."""
    mean = float(values.mean())
    reach = float(student.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return {"mean": mean, "low": mean - reach, "high": mean + reach}
