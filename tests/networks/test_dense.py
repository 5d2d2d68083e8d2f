"""Dense heads give numbers for every cell of a grid, from maps of any side."""

import pytest
import torch
from torch import nn

from selfsup.networks.dense import DenseHead


@pytest.mark.parametrize(("side", "cells"), [(4, 16), (4, 8), (8, 8), (7, 8), (1, 16), (16, 8), (6, 24), (3, 16)])
def test_any_map_to_any_grid(side: int, cells: int) -> None:
    """The grid has the side asked for, and every parameter takes part in it."""
    head = DenseHead(20, side, cells, out=5, behind=7)
    numbers = head(torch.rand(2, 20, side, side), torch.rand(2, 7))
    assert numbers.shape == (2, 5, cells, cells)
    numbers.square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_layout() -> None:
    """Channels halve with each doubling, between 256 and 32; where nothing is doubled a 3x3 convolution stands."""
    for width, side, cells, expected in [
        (512, 4, 16, [(512, 256), (256, 128)]),
        (128, 4, 32, [(128, 64), (64, 32), (32, 32)]),
        (64, 8, 8, [(64, 64)]),
    ]:
        head = DenseHead(width, side, cells, out=3)
        found = [m for m in head.upsample if isinstance(m, nn.ConvTranspose2d | nn.Conv2d)]
        assert [(m.in_channels, m.out_channels) for m in found] == expected
        assert head.numbers.kernel_size == (1, 1)
        assert head.context is None


def test_cells_stand_where_their_place_in_the_map_does() -> None:
    """The upper left of the map decides the upper left of the grid, not the lower right."""
    head = DenseHead(8, 8, 32, out=2).eval()
    given = torch.rand(1, 8, 8, 8, requires_grad=True)
    head(given, torch.zeros(1, 1))[0, :, :4, :4].sum().backward()
    assert given.grad is not None
    reached = given.grad[0].abs().sum(0) > 0
    assert reached[0, 0]
    assert not reached[4:, 4:].any()
