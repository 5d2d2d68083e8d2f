"""Between encoder and decoder: layers through which every place of a map can tell every other what it saw."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

WIDEST_SIDE = 16
"""Maps of larger sides are averaged down first: the weights grow with the fourth power of the side."""


class ChannelwiseLinear(nn.Module):
    """Connect all places of each channel with one another and no channel with another: C * n^4 weights, C * n^2 biases.

    Starts as the identity plus small random weights: what a place holds is at its place, not spread all over.

    Args:
        width: channels C of the map.
        side: n of the map.

    Source: Pathak et al., 2016, section 3.1, https://arxiv.org/abs/1604.07379
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        places = side * side
        weight = torch.empty(width, places, places).uniform_(-1 / places, 1 / places)
        self.weight = nn.Parameter(weight + torch.eye(places))
        self.bias = nn.Parameter(torch.zeros(width, 1, places))

    def forward(self, maps: Float[Tensor, "B C n n"]) -> Float[Tensor, "B C n n"]:
        """Give maps of the same shape."""
        rows = maps.flatten(2).transpose(0, 1)  # [C, B, n*n]
        connected = torch.baddbmm(self.bias.to(rows.dtype), rows, self.weight.to(rows.dtype))
        return connected.transpose(0, 1).reshape(maps.shape)


class Bottleneck(nn.Module):
    """Connect the places of each channel, then the channels: channel-wise linear, 1x1 convolution, batch norm, ReLU.

    Args:
        width: channels of the map.
        side: of the map; above 16 it is averaged down by a whole factor.

    Attributes:
        side: of the result.
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.factor = math.ceil(side / WIDEST_SIDE)
        self.side = math.ceil(side / self.factor)
        self.layers = nn.Sequential(
            ChannelwiseLinear(width, self.side),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, maps: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C n n"]:
        """Give maps of side `side`."""
        if self.factor > 1:
            maps = F.avg_pool2d(maps, self.factor, ceil_mode=True)
        connected: Tensor = self.layers(maps)
        return connected
