"""A module's weights averaged over the steps of training: steadier than those of any one step."""

import copy

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """A copy of a module whose weights follow it slowly; buffers are copied as they are.

    While steps are few, fewer are averaged over: the n-th update keeps min(decay, n / (n + 9)) of the average, so that
    short runs forget their random start.

    Args:
        module: what is followed; it stays as it is.
        decay: share of the average that an update keeps; 0 copies, 1 never changes.
        warmup: whether few steps are averaged over fewer.

    Source: the warm-up is that of TensorFlow's ExponentialMovingAverage.
    """

    updates: Tensor

    def __init__(self, module: nn.Module, decay: float, warmup: bool = True) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"A moving average keeps a share in [0, 1], got {decay}.")
        self.average = copy.deepcopy(module).requires_grad_(False)
        self.decay, self.warmup = decay, warmup
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's present weights, and take over its buffers."""
        self.updates += 1
        kept = self.updates.new_tensor(self.decay, dtype=torch.float64)
        if self.warmup:
            kept = torch.minimum(kept, self.updates / (self.updates + 9.0))
        for weight, now in zip(self.average.parameters(), module.parameters(), strict=True):
            weight.lerp_(now, (1 - kept).to(weight.dtype))
        for buffer, present in zip(self.average.buffers(), module.buffers(), strict=True):
            buffer.copy_(present)

    def forward(self, *values: Tensor) -> Tensor:
        """Apply the averaged module."""
        result: Tensor = self.average(*values)
        return result
