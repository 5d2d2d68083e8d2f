"""Heads that see several frames: what each one's vector says about the others'."""

from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Concatenation(nn.Module):
    """Read an answer off vectors that stand side by side: Linear, batch norm, ReLU, Linear.

    Args:
        frames: how many vectors.
        in_width: of each.
        hidden: width of the layer that sees all.
        out: number of answers.
    """

    def __init__(self, frames: int, in_width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(frames * in_width, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, out),
        )

    def forward(self, vectors: Float[Tensor, "B K D"]) -> Float[Tensor, "B A"]:
        """Give the logits of the answers."""
        logits: Tensor = self.layers(vectors.flatten(1))
        return logits


class Pairwise(nn.Module):
    """Compare all pairs of vectors by one layer, then read an answer off what was found of them.

    Args:
        frames: how many vectors.
        in_width: of each.
        hidden: width of the layer that sees a pair; the one that sees a single vector has twice that.
        out: number of answers.

    Source: Lee, Huang, Singh and Yang, 2017, https://arxiv.org/abs/1708.01246, without dropout.
    """

    def __init__(self, frames: int, in_width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.each = nn.Sequential(
            nn.Linear(in_width, 2 * hidden, bias=False), nn.BatchNorm1d(2 * hidden), nn.ReLU(inplace=True)
        )
        self.pair = nn.Sequential(
            nn.Linear(4 * hidden, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)
        )
        self.pairs = list(combinations(range(frames), 2))
        self.all = nn.Linear(len(self.pairs) * hidden, out)

    def forward(self, vectors: Float[Tensor, "B K D"]) -> Float[Tensor, "B A"]:
        """Give the logits of the answers."""
        each = self.each(vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])
        first, second = (each[:, list(numbers)] for numbers in zip(*self.pairs, strict=True))  # [B, P, 2 * hidden]
        compared = self.pair(torch.cat([first, second], dim=2).flatten(0, 1))
        logits: Tensor = self.all(compared.view(len(vectors), -1))
        return logits
