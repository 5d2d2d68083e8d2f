"""The encoder of this package for 1-D signals, and the decoder that goes with it."""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.networks.built_in import Stack
from selfsup.networks.decoders import NARROWEST, WIDEST

WIDTHS = (16, 32, 64, 128)
"""Channels of the four stages of `small1d`."""
KERNEL = 9
"""Samples that a convolution sees; 7 to 15 are usual."""


def small1d(length: int, channels: int) -> Stack:
    """Give four stages of convolutions along time, /16 in length; above 1024 samples /32, above 4096 /64.

    The layout of `small`, with longer kernels: along one axis they are cheap, and neighbouring samples say
    little more than one of them.

    Args:
        length: samples of a signal.
        channels: of a signal.
    """
    one, two, three, four = WIDTHS
    stride = 2 if length <= 1024 else 4 if length <= 4096 else 8
    network = Stack(
        stage1=nn.Sequential(*_conv(channels, one, stride)),
        stage2=nn.Sequential(nn.MaxPool1d(2), *_conv(one, two)),
        stage3=nn.Sequential(nn.MaxPool1d(2), *_conv(two, three), *_conv(three, three)),
        stage4=nn.Sequential(nn.MaxPool1d(2), *_conv(three, four), *_conv(four, four)),
    )
    for module in network.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.normal_(module.weight, std=math.sqrt(2 / (KERNEL * module.out_channels)))
    return network


class SignalDecoder(nn.Module):
    """Upsample a map to a signal by doubling, with no connection to earlier layers.

    The layout of `decoders.Decoder` along one axis: transposed convolutions of 8 taps with stride 2, batch
    norm and ReLU, then a linear convolution that gives the channels.

    Args:
        width: channels of the map.
        side: length of the map.
        length: samples of the signal.
        channels: of the signal.
    """

    def __init__(self, width: int, side: int, length: int, channels: int) -> None:
        super().__init__()
        self.length = length
        layers: list[nn.Module] = []
        for _ in range(max(0, round(math.log2(length / side)))):
            narrower = max(NARROWEST, min(WIDEST, width // 2))
            layers += [
                nn.ConvTranspose1d(width, narrower, 8, 2, 3, bias=False),
                nn.BatchNorm1d(narrower),
                nn.ReLU(True),
            ]
            width = narrower
        self.upsample = nn.Sequential(*layers)
        self.values = nn.Conv1d(width, channels, KERNEL, padding=KERNEL // 2)

    def forward(self, last_map: Float[Tensor, "B C l"]) -> Float[Tensor, "B c L"]:
        """Give signals in the units they are compared in; nothing limits their range."""
        upsampled: Tensor = self.upsample(last_map)
        if upsampled.shape[2] != self.length:
            upsampled = F.interpolate(upsampled, self.length, mode="linear")
        values: Tensor = self.values(upsampled)
        return values


def _conv(width_in: int, width: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv1d(width_in, width, KERNEL, stride, KERNEL // 2, bias=False)
    return [convolution, nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
