"""Encoders of this package: `small` for CPUs, `alexnet` and `nin` as in the papers of their time.

Each is a stack of named stages, so its weights are named `stage1.0.weight` and so on.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn

SMALL_WIDTHS = (16, 32, 64, 128)
"""Channels of the four stages of `small`."""


class Stack(nn.Module):
    """Named stages in a row; the vector is the spatial mean of the last map."""

    def __init__(self, **stages: nn.Module) -> None:
        super().__init__()
        for name, stage in stages.items():
            self.add_module(name, stage)

    def maps(self, images: Float[Tensor, "B c *S"]) -> dict[str, Tensor]:
        """Give the map [B, C, h, w] of every stage, first to last; [B, C, l] of signals."""
        maps = {}
        value: Tensor = images
        for name, stage in self.named_children():
            value = maps[name] = stage(value)
        return maps

    def forward(self, images: Float[Tensor, "B c *S"]) -> Float[Tensor, "B C *s"]:
        """Give the last map."""
        value: Tensor = images
        for stage in self.children():
            value = stage(value)
        return value


def small(image_size: int, channels: int = 3, divisor: int = 1) -> Stack:
    """Give four stages of 3x3 convolutions, /8 in side, 8.7 million multiplications at 32 px.

    Made for CPUs: in the time that strided convolutions of the same cost take, max pooling learned
    clearly more, and thin early stages matter because large maps cost time by their memory, not by
    their multiplications. Above 64 px the first stage works at half the side, above 128 px at a quarter.

    Args:
        image_size: side of the images in pixels.
        channels: of the images.
        divisor: of the number of channels of every layer.
    """
    one, two, three, four = (width // divisor for width in SMALL_WIDTHS)
    stride = 1 if image_size <= 64 else 2
    stem = [*_conv(channels, one, 3, stride=stride), *([nn.MaxPool2d(2)] if image_size > 128 else [])]
    network = Stack(
        stage1=nn.Sequential(*stem),
        stage2=nn.Sequential(nn.MaxPool2d(2), *_conv(one, two, 3)),
        stage3=nn.Sequential(nn.MaxPool2d(2), *_conv(two, three, 3), *_conv(three, three, 3)),
        stage4=nn.Sequential(nn.MaxPool2d(2), *_conv(three, four, 3), *_conv(four, four, 3)),
    )
    return _initialized(network)


def alexnet(image_size: int, channels: int = 3, divisor: int = 1) -> Stack:
    """Give the five convolutions of AlexNet with batch norm, without LRN and groups, in RotNet's widths.

    A stage is a convolution's map before the pooling that follows it. The fully connected layers
    belong to a method's head. At 64 px and below the first convolution is 3x3 with stride 1.

    Args:
        image_size: side of the images in pixels.
        channels: of the images.
        divisor: of the number of channels of every layer.

    Source: FeatureLearningRotNet, architectures/AlexNet.py.
    """
    one, two, three, four, five = (width // divisor for width in (64, 192, 384, 256, 256))
    stem = _conv(channels, one, 3) if image_size <= 64 else _conv(channels, one, 11, stride=4, padding=2)
    network = Stack(
        conv1=nn.Sequential(*stem),
        conv2=nn.Sequential(nn.MaxPool2d(3, 2), *_conv(one, two, 5)),
        conv3=nn.Sequential(nn.MaxPool2d(3, 2), *_conv(two, three, 3)),
        conv4=nn.Sequential(*_conv(three, four, 3)),
        conv5=nn.Sequential(*_conv(four, five, 3)),
    )
    return _initialized(network)


def nin(channels: int = 3, divisor: int = 1) -> Stack:
    """Give RotNet's network in network with four blocks; block 2 is 192 x 8 x 8 at 32 px.

    Args:
        channels: of the images.
        divisor: of the number of channels of every layer.

    Source: FeatureLearningRotNet, architectures/NetworkInNetwork.py.
    """
    wide, middle, narrow = (width // divisor for width in (192, 160, 96))

    def block(width_in: int, kernel: int, first: int, second: int, third: int, *pool: nn.Module) -> nn.Sequential:
        convolutions = (*_conv(width_in, first, kernel), *_conv(first, second, 1), *_conv(second, third, 1))
        return nn.Sequential(*convolutions, *pool)

    network = Stack(
        block1=block(channels, 5, wide, middle, narrow, nn.MaxPool2d(3, 2, padding=1)),
        block2=block(narrow, 5, wide, wide, wide, nn.AvgPool2d(3, 2, padding=1)),
        block3=block(wide, 3, wide, wide, wide),
        block4=block(wide, 3, wide, wide, wide),
    )
    return _initialized(network)


def _conv(width_in: int, width: int, kernel: int, *, stride: int = 1, padding: int | None = None) -> list[nn.Module]:
    padding = (kernel - 1) // 2 if padding is None else padding
    convolution = nn.Conv2d(width_in, width, kernel, stride, padding, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


def _initialized(network: Stack) -> Stack:
    """Draw convolutions from N(0, 2 / (k * k * C_out)), as RotNet does; batch norms stay at 1 and 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
    return network
