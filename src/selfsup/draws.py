"""Random draws per image that do not depend on the number of processes.

Every process draws for the whole batch from the same seed and keeps its own rows, so two processes of
B/2 images see exactly what one process of B images sees.
"""

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from selfsup import processes


def uniform(like: Tensor, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draw uniform float32 numbers [B, *shape] in [low, high), a row for each row of `like`, on its device."""
    drawn = torch.rand(_global_rows(like), *shape, device=like.device)
    return drawn[processes.rows(len(drawn))] * (high - low) + low


def normal(like: Tensor, *shape: int) -> Tensor:
    """Draw standard normal float32 numbers [B, *shape], a row for each row of `like`, on its device."""
    drawn = torch.randn(_global_rows(like), *shape, device=like.device)
    return drawn[processes.rows(len(drawn))]


def integers(like: Tensor, *shape: int, below: int) -> Tensor:
    """Draw int64 numbers [B, *shape] in [0, below), a row for each row of `like`, on its device."""
    drawn = torch.randint(below, (_global_rows(like), *shape), device=like.device)
    return drawn[processes.rows(len(drawn))]


def happens(like: Tensor, probability: float) -> Tensor:
    """Decide per image whether something happens: bool [B], true with `probability`."""
    return uniform(like) < probability


def _global_rows(like: Tensor) -> int:
    return len(like) * processes.count()


def reseed(*numbers: int) -> None:
    """Start all draws anew from these numbers (seed, step, turn...), on the CPU and on an accelerator in use."""
    seed = mix(*numbers)
    # torch.manual_seed also notes the call for accelerators that never wake up, and takes 0.4 ms for it
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)


def mix(*numbers: int) -> int:
    """Mix numbers (seed, step, turn...) into one 63-bit seed; near inputs give unrelated seeds."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ (number & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 30)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def hashed(seed: int, numbers: Int64[np.ndarray, " N"], count: int) -> Float64[np.ndarray, "N {count}"]:
    """Give `count` uniform numbers in [0, 1) for each of `numbers`: `mix` of seed, number and column, and nothing else.

    They depend on no batch, no order and no process, and thousands cost no more than one.
    """
    rows = numbers.astype(np.uint64)[:, None]
    state = np.array(0x9E3779B97F4A7C15, dtype=np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        for part in (np.uint64(seed & 0xFFFFFFFFFFFFFFFF), rows, np.arange(count, dtype=np.uint64)):
            state = (state ^ part) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
