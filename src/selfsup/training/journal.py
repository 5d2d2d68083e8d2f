"""What is logged while training: rows averaged over the steps since the last, and the time they took."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch

from selfsup import processes
from selfsup.data.batches import Batches
from selfsup.training.loop import Step, total_chance
from selfsup.training.settings import Settings


def row_of(
    window: list[Step], done: int, total: int, spent: "Stopwatch", batches: Batches, settings: Settings
) -> dict[str, Any]:
    """Average what was seen since the last row."""
    losses = torch.stack([torch.stack([o.loss.float() for o in step.objectives]).sum() for step in window])
    names = list(dict.fromkeys(name for step in window for o in step.objectives for name in o.metrics))
    metrics = {
        name: torch.stack([o.metrics[name].float() for s in window for o in s.objectives if name in o.metrics]).mean()
        for name in names
    }
    return {
        "step": done,
        "progress": round(done / total, 6),
        "seconds": round(spent.total(), 3),
        "loss": processes.average(losses.mean()).item(),
        "chance": total_chance(window[-1].objectives),
        "metrics": {name: processes.average(value).item() for name, value in metrics.items()},
        "lr": settings.recipe.peak_lr() * settings.recipe.lr_factor((done - 1) / total),
        "images_per_second": round(len(window) * settings.recipe.batch_size / spent.lap(), 1),
        "waiting": round(batches.waited / max(spent.here(), 1e-9), 4),
        **({"preparing": round(spent.preparing, 3)} if spent.preparing >= 0.1 else {}),
    }


class Stopwatch:
    """Seconds of training, over all the pieces of an interrupted run."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._before = max((row.get("seconds", 0.0) for row in rows), default=0.0)
        self._began = self._lap = perf_counter()

        self.preparing = max((row.get("preparing", 0.0) for row in rows), default=0.0)
        """Seconds of them in which rounds were prepared."""

    @contextmanager
    def prepares(self) -> Iterator[None]:
        """Count the time of a block as that of preparing a round."""
        began = perf_counter()
        yield
        self.preparing += perf_counter() - began

    def here(self) -> float:
        """Seconds since this piece began."""
        return perf_counter() - self._began

    def total(self) -> float:
        """Seconds of all pieces."""
        return self._before + self.here()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = perf_counter()
        taken, self._lap = now - self._lap, now
        return max(taken, 1e-9)
