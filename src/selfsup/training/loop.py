"""The loop: step each loss a method yields before it is asked for the next."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from selfsup import processes
from selfsup.draws import reseed
from selfsup.method import Batch, Method, Objective
from selfsup.recipe import Recipe
from selfsup.training.optimizers import parameters_of, set_lr


class NonFiniteLoss(RuntimeError):
    """A loss was not a number; the step was not taken."""


class Step(NamedTuple):
    """What one batch gave, still on the device."""

    number: int
    objectives: list[Objective]


def train(
    method: Method,
    batches: Iterable[Batch],
    optimizers: dict[str, Optimizer],
    recipe: Recipe,
    seed: int,
    autocast: Callable[[], AbstractContextManager[object]],
) -> Iterator[Step]:
    """Train on each batch; give what happened after it.

    Randomness is a function of (seed, step, turn), where turn counts the losses of a batch.

    Raises:
        NonFiniteLoss: before a step with it is taken, in all processes alike.
    """
    parts = {part: parameters_of(optimizer) for part, optimizer in optimizers.items()}
    for batch in batches:
        lr = recipe.peak_lr() * recipe.lr_factor(batch.progress)
        done: list[Objective] = []
        losses = method.losses(batch)
        for turn in itertools.count():
            reseed(seed, batch.step, turn)
            with autocast():
                objectives = as_list(next(losses, []))
            if not objectives:
                break
            _refuse_non_finite(objectives, batch.step)
            _step_together(objectives, optimizers, parts, lr, recipe.clip)
            done += [_detached(objective) for objective in objectives]
        method.after_step(batch.progress)
        yield Step(batch.step, done)


def as_list(yielded: Objective | list[Objective]) -> list[Objective]:
    """Give what a method yielded as a list."""
    return [yielded] if isinstance(yielded, Objective) else yielded


def total_chance(objectives: list[Objective]) -> float | None:
    """Loss of a blind guess over all objectives, where each has one."""
    chances = [objective.chance for objective in objectives]
    return math.fsum(c for c in chances if c is not None) if chances and None not in chances else None


def autocast_of(device: torch.device, precision: str) -> Callable[[], AbstractContextManager[object]]:
    """Give the context each forward pass runs in."""
    return lambda: torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _step_together(
    objectives: list[Objective],
    optimizers: dict[str, Optimizer],
    parts: dict[str, list[torch.nn.Parameter]],
    lr: float,
    clip: float | None,
) -> None:
    for part in {objective.part: None for objective in objectives}:
        optimizers[part].zero_grad(set_to_none=True)
    for objective in objectives:
        inputs = parts[objective.part]
        objective.loss.backward(inputs=inputs, retain_graph=objective is not objectives[-1])
    for part in {objective.part: None for objective in objectives}:
        processes.average_gradients(parts[part])
        if clip is not None:
            clip_grad_norm_(parts[part], clip)
        set_lr(optimizers[part], lr)
        optimizers[part].step()


def _refuse_non_finite(objectives: list[Objective], step: int) -> None:
    total = torch.stack([objective.loss.detach().float() for objective in objectives]).sum()
    if processes.any_of(not math.isfinite(total.item()), total.device):
        raise NonFiniteLoss(f"the loss is not a finite number at step {step}")


def _detached(objective: Objective) -> Objective:
    metrics: dict[str, Tensor] = {name: value.detach() for name, value in objective.metrics.items()}
    return objective._replace(loss=objective.loss.detach(), metrics=metrics)
