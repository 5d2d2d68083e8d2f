"""Rescaling: layers of a chain learn equally fast, and what the chain computes stays."""

import torch
from torch import Tensor, nn

from selfsup.networks.built_in import Stack
from selfsup.networks.encoders import Encoder, build_encoder
from selfsup.networks.rescaling import rates, rescale


def test_rates_become_equal_and_vectors_stay() -> None:
    """Of layers drawn at very different scales: rates differ by hundreds before, by a few percent after."""
    encoder, images = chain(), torch.rand(16, 3, 32, 32)
    before = encoder.vector(images)
    at_first = spread(encoder, images)
    assert rescale(encoder, images, 0)
    assert torch.allclose(encoder.vector(images), before, rtol=1e-3, atol=1e-4 * before.abs().max().item())
    assert at_first > 1
    assert spread(encoder, images) < 0.02
    assert spread(encoder, images, seed=1) < 0.3  # gradients of another draw


def test_norms_and_branches_are_left_alone() -> None:
    """With batch norm the scale means nothing; in a branch it would change the function."""
    images = torch.rand(8, 3, 32, 32)
    branched = chain()
    branched.inner = Branch(**dict(branched.inner.named_children()))
    for encoder in (build_encoder("small", 32, seed=0), branched):
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        assert not rescale(encoder, images, 0)
        assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


class Branch(Stack):
    """A chain with a way around its second layer."""

    def forward(self, images: Tensor) -> Tensor:
        value = self.one(images)
        return self.three(self.two(value) + value)


def chain() -> Encoder:
    """Give three convolutions with biases, at scales of 1, 30 and 0.1."""
    encoder = build_encoder("small", 32, seed=0)
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 6, 3)]
    for layer, scale in zip(layers, (1.0, 30.0, 0.1), strict=True):
        nn.init.normal_(layer.weight, std=0.2 * scale)
        nn.init.normal_(layer.bias, std=0.1)
    names = ("one", "two", "three")
    encoder.inner = Stack(**{name: nn.Sequential(layer, nn.ReLU()) for name, layer in zip(names, layers, strict=True)})
    return encoder


def spread(encoder: Encoder, images: Tensor, seed: int = 0) -> float:
    """Give the deviation of the logarithms of the layers' rates."""
    layers = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    noise = torch.randn(encoder.vector(images).shape, generator=torch.Generator().manual_seed(seed))
    return rates(encoder, layers, images, noise).log().std(correction=0).item()
