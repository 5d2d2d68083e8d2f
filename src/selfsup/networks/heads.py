"""Heads: what a method puts on an encoder's vector and throws away afterwards."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn


class Projector(nn.Module):
    """Project vectors with bias-free linear layers, each followed by batch norm; the head of SimCLR.

    Hidden layers: Linear, BN (scale and bias), ReLU. Output: Linear, BN with scale only. Weights are
    drawn from N(0, 0.01^2).

    Args:
        in_width: of the encoder's vector.
        hidden: width of the hidden layers.
        out: width of the projection.
        layers: 2 as in the paper of SimCLR, 3 in its second version; 1 is linear.

    Source: google-research/simclr, model_util.py (projection_head).
    """

    def __init__(self, in_width: int, hidden: int, out: int, layers: int = 2) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"A projector needs at least 1 layer, got {layers}.")
        widths = [in_width, *[hidden] * (layers - 1), out]
        stack: list[nn.Module] = []
        for before, after in pairwise(widths):
            linear = nn.Linear(before, after, bias=False)
            nn.init.normal_(linear.weight, std=0.01)
            stack += [linear, nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
        stack.pop()
        stack[-1].register_parameter("bias", None)  # the output is centred: scale only
        self.layers = nn.Sequential(*stack)

    def forward(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B P"]:
        """Project vectors [B, D] to [B, P]."""
        projected: Tensor = self.layers(vectors)
        return projected
