"""What the papers' protocols train on the maps of a frozen trunk."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

WIDE = 4096
"""Units of AlexNet's fully connected layers."""


def build_head(
    kind: str, norm: bool, depth: int, initial: str, example: Tensor, classes: int, is_last: bool
) -> nn.Module:
    """Build what a protocol trains on one stage; `kind` to `initial` are those of `protocols.Protocol`.

    Args:
        kind: `linear`, `layers`, `block` or `alexnet`.
        norm: of a linear head.
        depth: of a `layers` head; each hidden layer has 20 units per class, at most 2,048, as in RotNet's code.
        initial: `torch` or `fan_out`.
        example: what the stage gives for a few images, [B, D] for a linear head and [B, C, h, w] for others.
        classes: number of classes.
        is_last: whether the stage is the trunk's last.
    """
    hidden = min(20 * classes, 2048)
    width = example[0].numel()
    if kind == "linear":
        first = [nn.BatchNorm1d(width, affine=False)] if norm else []
        head = nn.Sequential(*first, nn.Linear(width, classes))
    elif kind == "layers":
        head = nn.Sequential(nn.Flatten(), *_connected([width, *[hidden] * depth]), nn.Linear(hidden, classes))
    elif kind == "block":
        third = _convolution(example.shape[1], 192, 3)
        rest = [_convolution(192, 192, 1), _convolution(192, 192, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        head = nn.Sequential(third, *rest, nn.Linear(192, classes))
    else:
        # conv4 is followed by a new conv5, conv5 by nothing but its pooling
        fifth = [] if is_last else [_convolution(example.shape[1], 256, 3)]
        side = min(6, *example.shape[2:])
        width = (example.shape[1] if is_last else 256) * side**2
        pool = [nn.AdaptiveMaxPool2d(side), nn.Flatten()]
        head = nn.Sequential(*fifth, *pool, *_connected([width, WIDE, WIDE]), nn.Linear(WIDE, classes))
    if initial == "fan_out":
        _initialize(head)
    return head


def _connected(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    return layers


def _convolution(before: int, after: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def _initialize(head: nn.Module) -> None:
    """Draw weights as in RotNet's code: variance 2 / fan out, biases 0."""
    for layer in head.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            fan_out = layer.weight.shape[0] * layer.weight[0, 0].numel()
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
