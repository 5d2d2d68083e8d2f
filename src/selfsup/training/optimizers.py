"""Optimizers by name, with the parts torch does not have."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from selfsup.recipe import Recipe


def build(recipe: Recipe, parameters: list[nn.Parameter]) -> Optimizer:
    """Give the recipe's optimizer over `parameters`."""
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    lr = recipe.peak_lr()
    match recipe.optimizer:
        case "sgd":
            nesterov = recipe.momentum > 0
            return SGD(parameters, lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=nesterov)
        case "adam":
            return Adam(parameters, lr, (recipe.momentum, 0.999), weight_decay=recipe.weight_decay, fused=False)
        case "adamw":
            # never fused: on CPU with channels_last it updates wrong elements after a reload, silently
            return AdamW(_sparing_norms(parameters, recipe.weight_decay), lr, (recipe.momentum, 0.999), fused=False)
        case "lars":
            return LARS(_sparing_norms(parameters, recipe.weight_decay), lr, recipe.momentum)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the rate of every group, times the group's own `lr_factor` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """List an optimizer's parameters in its own fixed order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


class LARS(Optimizer):
    """SGD whose step is scaled per tensor by 0.001 times the norm of the weight over the norm of the gradient.

    Groups with `adapt=False` (biases and norms) take plain momentum steps.

    Source: You et al., 2017, as coded in google-research/simclr.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        trust: float = 0.001,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            parameters, {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": weight_decay, "adapt": True}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                gradient = weight.grad.add(weight, alpha=group["weight_decay"])
                trust = weight.new_ones(())
                if group["adapt"]:
                    weight_norm, gradient_norm = weight.norm(), gradient.norm()
                    usable = (weight_norm > 0) & (gradient_norm > 0)
                    trust = torch.where(usable, group["trust"] * weight_norm / gradient_norm, trust)
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                velocity = state["momentum_buffer"]
                velocity.mul_(group["momentum"]).add_(gradient * (group["lr"] * trust))
                weight.sub_(velocity)


def _sparing_norms(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0, "adapt": False},
    ]
    return [group for group in groups if group["params"]]
