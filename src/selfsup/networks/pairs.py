"""Decoders of pairs: what was done to a picture, from the vectors of the picture before and after."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PairDecoder(nn.Module):
    """Read numbers off two vectors that stand side by side, the original's first.

    Without a hidden layer each number is a sum of one share read off either vector, so that nothing can be
    compared: only what each picture shows by itself counts.

    Args:
        in_width: of either vector.
        out: how many numbers describe what was done.
        hidden: width of a hidden layer (Linear, batch norm, ReLU); 0: none.

    Source: one linear layer in maple-research-lab/AET, NetworkInNetwork.py; the hidden layer is ours.
    """

    def __init__(self, in_width: int, out: int, hidden: int = 0) -> None:
        super().__init__()
        before: list[nn.Module] = []
        if hidden:
            before = [nn.Linear(2 * in_width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*before, nn.Linear(hidden or 2 * in_width, out))

    def forward(self, original: Float[Tensor, "B D"], transformed: Float[Tensor, "B D"]) -> Float[Tensor, "B P"]:
        """Estimate what turned the first picture into the second."""
        numbers: Tensor = self.layers(torch.cat([original, transformed], dim=1))
        return numbers
