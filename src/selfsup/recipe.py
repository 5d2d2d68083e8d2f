"""How a method is trained: optimizer, schedule, batch size and length."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from selfsup.errors import InputError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of the training loop, the same for every method.

    Args:
        optimizer: `sgd` (Nesterov momentum), `adam`, `adamw` or `lars`.
        lr: peak learning rate.
        lr_per: batch size that `lr` is meant for; it then grows in proportion to the batch. None: taken as given.
        momentum: of SGD and LARS; the first beta of Adam and AdamW.
        weight_decay: L2 penalty (decoupled in AdamW); biases and norms are spared by LARS and AdamW.
        schedule: `cosine` to 0, `steps` at the milestones, or `constant`.
        milestones: shares of training after which the rate is multiplied by `decay`.
        decay: factor of each milestone.
        warmup: share of training in which the rate rises linearly from 0.
        clip: largest norm of a part's gradient; None: not clipped.
        batch_size: images per step, over all processes.
        epochs: length in passes over the training images, unless `steps` or `budget` is given.
        steps: length in batches.
        budget: length as a time such as `90s`, `10m` or `2h`, turned into a fixed number of steps before the first.
    """

    optimizer: Literal["sgd", "adam", "adamw", "lars"] = "sgd"
    lr: float = 0.1
    lr_per: int | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "steps", "constant"] = "cosine"
    milestones: tuple[float, ...] = ()
    decay: float = 0.2
    warmup: float = 0.0
    clip: float | None = None
    batch_size: int = 128
    epochs: float = 100.0
    steps: int | None = None
    budget: str | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.budget is not None:
            raise InputError(
                f"A run has one length, got steps {self.steps} and budget {self.budget}; give one of them."
            )
        for name in ("batch_size", "epochs"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}.")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}.")
        for name in ("lr", "weight_decay"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise InputError(f"{name} must be 0 or above, got {value}.")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum must be in [0, 1), got {self.momentum}.")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup is a share of training in [0, 1), got {self.warmup}.")
        if self.clip is not None and not self.clip > 0:
            raise InputError(f"clip must be above 0, got {self.clip}; leave it out for no clipping.")
        if self.budget is not None:
            seconds(self.budget)

    def peak_lr(self) -> float:
        """Learning rate at the top of the schedule for this batch size."""
        return self.lr * (self.batch_size / self.lr_per if self.lr_per else 1.0)

    def lr_factor(self, progress: float) -> float:
        """Share of the peak rate at `progress` in [0, 1]."""
        if progress < self.warmup:
            return progress / self.warmup
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "steps":
            return self.decay ** sum(progress >= milestone for milestone in self.milestones)
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))

    def build(self, parameters: "Iterable[nn.Parameter]", lr_factor: float = 1.0) -> "Optimizer":
        """Give the optimizer of one part of a method; its rate, times `lr_factor`, is set before every step."""
        from selfsup.training.optimizers import build

        optimizer = build(self, list(parameters))
        for group in optimizer.param_groups:
            group["lr_factor"] = lr_factor
        return optimizer


def seconds(text: str) -> float:
    """Read a time such as `90s`, `10m`, `1.5h` or plain seconds."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        value = float(number) * units[unit]
    except ValueError:
        value = 0.0
    if not (value > 0 and math.isfinite(value)):
        raise InputError(f"A time is a number and s, m or h, such as 90s, 10m or 2h, got {text!r}.")
    return value
