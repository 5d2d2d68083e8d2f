"""Decoders give images of any size from maps of any side."""

import pytest
import torch
from torch import nn

from selfsup.networks.decoders import Decoder


@pytest.mark.parametrize(
    ("side", "size"), [(1, 32), (2, 32), (4, 32), (7, 32), (8, 32), (32, 32), (15, 64), (3, 96), (7, 224), (6, 100)]
)
def test_any_map_to_any_size(side: int, size: int) -> None:
    """The image has the size asked for, and every parameter takes part in it."""
    decoder = Decoder(20, side, size)
    image = decoder(torch.rand(2, 20, side, side))
    assert image.shape == (2, 3, size, size)
    image.square().sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_layout_at_32_pixels() -> None:
    """From 4x4 of 512 channels: transposed convolutions to 256, 128 and 64, then a linear 3x3 convolution."""
    assert widths(Decoder(512, 4, 32)) == [(512, 256), (256, 128), (128, 64)]
    assert widths(Decoder(2048, 4, 32)) == [(2048, 256), (256, 128), (128, 64)]
    assert widths(Decoder(32, 4, 32)) == [(32, 16), (16, 16), (16, 16)]


def test_pixels_depend_on_their_place_in_the_map() -> None:
    """The upper left of the map decides the upper left of the image, not the lower right."""
    decoder = Decoder(8, 8, 64).eval()
    given = torch.rand(1, 8, 8, 8, requires_grad=True)
    decoder(given)[0, :, :8, :8].sum().backward()
    reached = given.grad[0].abs().sum(0) > 0
    assert reached[0, 0]
    assert not reached[4:, 4:].any()


def widths(decoder: Decoder) -> list[tuple[int, int]]:
    """List channels in and out of the doublings."""
    return [(m.in_channels, m.out_channels) for m in decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
