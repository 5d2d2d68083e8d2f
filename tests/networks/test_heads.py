"""The projector is that of SimCLR."""

import pytest
import torch
from torch import nn

from selfsup.networks.heads import Projector


def test_layout() -> None:
    """Linear layers without bias, batch norm after each, the last with scale only, weights N(0, 0.01)."""
    torch.manual_seed(0)
    head = Projector(64, 128, 32, layers=3)
    kinds = [type(layer).__name__ for layer in head.layers]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    linears = [layer for layer in head.layers if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linears] == [(64, 128), (128, 128), (128, 32)]
    assert all(layer.bias is None for layer in linears)
    assert linears[1].weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert head.layers[1].bias is not None
    assert head.layers[-1].bias is None
    assert head.layers[-1].weight.shape == (32,)


def test_output_is_centred() -> None:
    """Batch norm with scale only: each value has mean 0 and deviation 1 over the batch."""
    projected = Projector(16, 32, 8)(torch.rand(64, 16) + 5)
    assert projected.shape == (64, 8)
    assert torch.allclose(projected.mean(0), torch.zeros(8), atol=1e-5)
    assert torch.allclose(projected.std(0, correction=0), torch.ones(8), atol=0.1)


def test_at_least_one_layer() -> None:
    """No layers is no projection."""
    with pytest.raises(ValueError, match="at least 1 layer"):
        Projector(4, 4, 4, layers=0)
