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
from selfsup.evaluation.shortcuts import CHANGES, SHORTCUTS, Images, Shortcut, texture
from selfsup.method import Batch, Method
from selfsup.progress import Progress, silent
from selfsup.run import Run, write_json
from selfsup.training.loop import as_list
from selfsup.training.restored import restored

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
    name, family = config["method"], methods.entry(config["method"]).family
    looked_for = [shortcut for shortcut in SHORTCUTS if {name, family} & set(shortcut.tasks)]
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
    checks, changes = [], []
    for number, shortcut in enumerate(looked_for):
        values = asked.values(method, partial(_made, shortcut, asked.mean_image))
        checks.append({"images": shortcut.name, "would_use": shortcut.meaning} | _judged(method, values, level))
        progress("audit", number + 1, total)
    what_if = None if gapless is None else _judged(gapless, asked.values(gapless, texture), 0.95)
    real = asked.values(method, lambda images: images)
    for number, (change, make) in enumerate(CHANGES.items()):
        changes.append({"change": change} | _interval(asked.values(method, make) - real, 0.95))
        progress("audit", len(looked_for) + 3 + number, total)
    result = {
        "method": name,
        "measure": method.headline,
        "images": asked.batches * BATCH,
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


def _made(shortcut: Shortcut, mean_image: Tensor, images: Images) -> Images:
    return shortcut.make(images, mean_image)


def _judged(method: Method, values: np.ndarray, level: float) -> dict[str, Any]:
    """Give the interval and whether it lies on the better side of chance."""
    found = _interval(values, level)
    # not known before the first batch where it depends on the batch's size
    chance = method.headline_chance or 0.0
    above = found["low"] - chance if method.headline_rises else chance - found["high"]
    return found | {"leak": above > 1e-6}  # equal batches have an interval of no width, and rounding is no leak


class _Asked:
    """The images an audit is made of, and how a method is asked."""

    def __init__(self, images: ImageStore, count: int, seed: int, device: torch.device) -> None:
        self.images, self.seed, self.device = images, seed, device
        self.batches = count // BATCH
        # small folders are gone through more than once: views and textures differ each time
        order = np.random.default_rng(seed)
        rounds = -(-count // len(images))
        self.order = np.concatenate([order.permutation(len(images)) for _ in range(rounds)])
        self.mean_image = torch.stack([x.mean(0) for x in self._all()]).mean(0)

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
            rows = self.order[number * BATCH : (number + 1) * BATCH]
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
    cell, head = getattr(method, "cell", None), run.config.get("head")
    if cell is None or head == "cfn" or run.config["encoder"] == "alexnet":
        return None
    return restored(run, images, device, {"tile": cell})


def _interval(values: np.ndarray, level: float) -> dict[str, float]:
    """Give the mean over batches and its Student interval."""
    mean = float(values.mean())
    reach = float(student.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return {"mean": mean, "low": mean - reach, "high": mean + reach}
