"""A decoder with the encoder's own weights: its convolutions transposed, from last to first."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.networks.built_in import Stack

_CONVOLUTIONS = nn.Conv1d | nn.Conv2d
_POOLS = nn.MaxPool1d | nn.MaxPool2d | nn.AvgPool2d


class TiedDecoder(nn.Module):
    """Undo a stack of convolutions layer by layer, each convolution by its transpose with the same weight.

    The weights stay the encoder's, which is given at every call: one parameter each, with gradients from both uses.
    Where the encoder pools, values are repeated up to the size before. Norms, and a bias for each channel of the
    input, are the decoder's own; the last layer is linear.

    Args:
        stack: a built-in network of plain convolutions, norms and poolings.
        shape: of its input, without the batch.
    """

    def __init__(self, stack: Stack, shape: tuple[int, ...]) -> None:
        super().__init__()
        layers = _layers(stack)
        self.sizes = _sizes(stack, layers, shape)
        inner = [layer.in_channels for layer in layers if isinstance(layer, _CONVOLUTIONS)][1:]
        norm = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
        self.norms = nn.ModuleList(norm(width) for width in inner)
        self.bias = nn.Parameter(torch.zeros(shape[0], *[1] * (len(shape) - 1)))

    def forward(self, last_map: Float[Tensor, "B C *s"], stack: Stack) -> Float[Tensor, "B c *S"]:
        """Give inputs in the units the stack reads; nothing limits their range."""
        value, norms = last_map, list(self.norms)
        for layer, size in reversed(list(zip(_layers(stack), self.sizes, strict=True))):
            if not isinstance(layer, _CONVOLUTIONS):
                value = F.interpolate(value, size, mode="nearest")
                continue
            value = transposed(layer, value, size)
            if norms:
                value = F.relu(norms.pop()(value))
        return value + self.bias


def transposed(layer: Any, value: Float[Tensor, "B C *s"], size: tuple[int, ...]) -> Float[Tensor, "B c *S"]:
    """Apply the transpose of a convolution's linear map; `size` is that of the convolution's input."""
    sides = zip(value.shape[2:], size, layer.stride, layer.padding, layer.kernel_size, strict=True)
    rest = [wanted - ((side - 1) * stride - 2 * padding + kernel) for side, wanted, stride, padding, kernel in sides]
    undo = F.conv_transpose1d if len(size) == 1 else F.conv_transpose2d
    result: Tensor = undo(value, layer.weight, None, layer.stride, layer.padding, rest)
    return result


def _layers(stack: Stack) -> list[nn.Module]:
    """List convolutions and poolings, first to last."""
    return [module for module in stack.modules() if isinstance(module, _CONVOLUTIONS | _POOLS)]


@torch.no_grad()
def _sizes(stack: Stack, layers: list[nn.Module], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Give the size of the input of each layer, by a trial with zeros that changes nothing."""
    sizes: list[tuple[int, ...]] = []
    hooks = [layer.register_forward_hook(lambda _, given, __: sizes.append(given[0].shape[2:])) for layer in layers]
    was_training = stack.training
    weight = next(stack.parameters())
    stack.eval()(weight.new_zeros(1, *shape))
    stack.train(was_training)
    for hook in hooks:
        hook.remove()
    return sizes
