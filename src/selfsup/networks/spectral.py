"""Spectral norm: a layer's weight divided by its largest singular value, so that the layer cannot amplify."""

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

START = 15
"""Power iterations before the first use; afterwards one per use in training mode is enough (Miyato et al.)."""

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


class SpectralNorm(nn.Module):
    """Give W / sigma(W), W as a matrix with a row per output channel.

    The singular vector is a buffer: training mode moves it one power iteration per use, eval mode leaves it. It counts
    as a constant in the gradient. torch's own runs its products under autocast, in bfloat16; this one does not.

    Args:
        weight: of a convolution or linear layer, [out, in, ...]; not of a transposed convolution.

    Source: Miyato, Kataoka, Koyama and Yoshida, 2018, https://arxiv.org/abs/1802.05957
    """

    left: Tensor

    def __init__(self, weight: Float[Tensor, "O ..."]) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        left = F.normalize(torch.randn(len(matrix)), dim=0).to(matrix)
        for _ in range(START):
            left = F.normalize(matrix @ (matrix.T @ left), dim=0)
        self.register_buffer("left", left)

    def forward(self, weight: Float[Tensor, "O ..."]) -> Float[Tensor, "O ..."]:
        """Normalize the weight."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            with torch.no_grad():
                right = F.normalize(matrix.T @ self.left, dim=0)
                if self.training:
                    self.left.copy_(F.normalize(matrix @ right, dim=0))
                    right = F.normalize(matrix.T @ self.left, dim=0)
                # a copy: the next use moves the buffer before this one's gradient is taken
                left = self.left.clone()
            return weight / torch.dot(left, matrix @ right)


def spectral(layer: Layer) -> Layer:
    """Make a layer use its normalized weight; give the layer."""
    parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))
    return layer
