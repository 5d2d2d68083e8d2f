"""Excerpts of signals: stretches of equal length out of longer ones, one random decision per signal."""

import torch
from jaxtyping import Float
from torch import Tensor

from selfsup import draws


def random_excerpt(signals: Float[Tensor, "B C L"], length: int) -> Float[Tensor, "B C {length}"]:
    """Cut `length` samples out of each signal, anywhere; signals of that length come back as they are."""
    room = signals.shape[2] - length
    if room == 0:
        return signals
    start = draws.integers(signals, below=room + 1)  # [B]
    steps = start[:, None] + torch.arange(length, device=signals.device)  # [B, length]
    return signals.gather(2, steps[:, None].expand(-1, signals.shape[1], -1))
