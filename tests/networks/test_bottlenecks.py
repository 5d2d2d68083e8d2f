"""Bottlenecks connect the places of a map: each channel within itself, then the channels with one another."""

import pytest
import torch

from selfsup.networks.bottlenecks import Bottleneck, ChannelwiseLinear


def test_each_channel_has_a_matrix_of_its_own() -> None:
    """The layer equals a loop over images, channels and places."""
    torch.manual_seed(0)
    layer, maps = ChannelwiseLinear(3, 2), torch.rand(2, 3, 2, 2)
    torch.nn.init.normal_(layer.bias)
    expected = torch.zeros(2, 3, 4)
    for b, c, q in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        expected[b, c, q] = sum(maps[b, c].flatten()[p] * layer.weight[c, p, q] for p in range(4)) + layer.bias[c, 0, q]
    assert torch.allclose(layer(maps).flatten(2), expected, atol=1e-6)


def test_channels_do_not_mix() -> None:
    """Map c depends on map c, on all its places, and on no other map."""
    layer = ChannelwiseLinear(5, 4)
    given = torch.rand(1, 5, 4, 4, requires_grad=True)
    layer(given)[0, 2, 0, 0].backward()
    assert given.grad is not None
    reached = given.grad[0] != 0
    assert reached[2].all()
    assert reached.sum() == 16


@pytest.mark.parametrize(("width", "side", "weights"), [(256, 6, 331_776), (512, 4, 131_072)])
def test_number_of_weights_is_m_times_n_to_the_fourth(width: int, side: int, weights: int) -> None:
    """That of the paper's AlexNet, and of ResNet-18 at 32 px."""
    layer = ChannelwiseLinear(width, side)
    assert layer.weight.numel() == weights
    assert layer.bias.numel() == width * side**2


def test_starts_near_the_identity() -> None:
    """What is added to a map of unit spread is small: of variance 1 / (3 n^2)."""
    torch.manual_seed(0)
    for side in (2, 8):
        maps = torch.randn(16, 200, side, side)
        added = ChannelwiseLinear(200, side)(maps) - maps
        assert added.var().item() == pytest.approx(1 / (3 * side**2), rel=0.1)


@pytest.mark.parametrize(("side", "result"), [(1, 1), (4, 4), (16, 16), (17, 9), (28, 14), (56, 14)])
def test_large_maps_are_averaged_down(side: int, result: int) -> None:
    """To at most 16, with gradients for every parameter and from every place."""
    layer = Bottleneck(4, side)
    given = torch.rand(3, 4, side, side, requires_grad=True)
    out = layer(given)
    assert layer.side == result
    assert out.shape == (3, 4, result, result)
    (out * torch.rand_like(out)).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    assert given.grad is not None
    assert (given.grad != 0).float().mean() > 0.9
