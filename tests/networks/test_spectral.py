"""Spectral norm: the weight in use has a largest singular value of 1, and only training moves the estimate."""

import pytest
import torch
from torch import nn

from selfsup.networks.spectral import SpectralNorm, spectral


@pytest.mark.parametrize("layer", [nn.Conv2d(6, 10, 4), nn.Linear(30, 7)])
def test_largest_singular_value_is_one(layer: nn.Conv2d | nn.Linear) -> None:
    """After some uses, of W as a matrix [out, in * k * k]; the scale of the weight does not matter."""
    torch.manual_seed(0)  # the two largest may lie close together, which takes long
    layer.reset_parameters()
    spectral(layer)
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(30.0)  # type: ignore[union-attr]
        for _ in range(200):
            weight = layer.weight
    assert torch.linalg.svdvals(weight.flatten(1))[0].item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", ["convolution", "linear"])
def test_ten_uses_find_the_largest_singular_value(kind: str, seed: int) -> None:
    """Of a weight drawn anew, so that nothing found before helps; to 5 %, as ten iterations of power give."""
    torch.manual_seed(seed)
    layer = spectral(nn.Conv2d(6, 10, 4) if kind == "convolution" else nn.Linear(30, 7))
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()  # type: ignore[union-attr]
        assert torch.linalg.svdvals(layer.eval().weight.flatten(1))[0] > 1.1
        layer.train()
        for _ in range(10):
            weight = layer.weight
    assert torch.linalg.svdvals(weight.flatten(1))[0].item() == pytest.approx(1, abs=0.05)


def test_only_training_moves_the_estimate() -> None:
    """One power iteration per use while training, none in eval mode; the estimate is a buffer."""
    torch.manual_seed(0)
    norm = SpectralNorm(torch.randn(8, 5))
    other = torch.randn(8, 5)
    before = norm.left.clone()
    norm.eval()(other)
    assert torch.equal(norm.left, before)
    norm.train()(other)
    right = nn.functional.normalize(other.T @ before, dim=0)
    assert torch.allclose(norm.left, nn.functional.normalize(other @ right, dim=0))
    assert "left" in norm.state_dict()


def test_gradient_takes_the_singular_vectors_as_constants() -> None:
    """For y = sum(A * W / sigma): A / sigma - <A, W> / sigma^2 * u v^T."""
    torch.manual_seed(0)
    weight, a = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    norm = SpectralNorm(weight)
    for _ in range(200):
        norm(weight)
    weight.requires_grad_()
    (a * norm(weight)).sum().backward()
    u, s, vt = torch.linalg.svd(weight.detach())
    expected = a / s[0] - (a * weight.detach()).sum() / s[0] ** 2 * torch.outer(u[:, 0], vt[0])
    assert weight.grad is not None
    assert torch.allclose(weight.grad, expected, atol=1e-6)


def test_autocast_does_not_reach_it() -> None:
    """Inside bfloat16 autocast the weight is that of float32."""
    norm = SpectralNorm(torch.randn(8, 5)).eval()
    weight = torch.randn(8, 5)
    with torch.autocast("cpu", torch.bfloat16):
        inside = norm(weight)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, norm(weight))
