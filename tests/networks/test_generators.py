"""Generators: pictures of any side from codes, in the range of images."""

import pytest
import torch
from torch import nn

from selfsup.networks.generators import Generator


@pytest.mark.parametrize("size", [8, 32, 48, 64, 96, 100, 128, 224])
def test_any_side(size: int) -> None:
    """Values in [-1, 1] of the side asked for; every parameter takes part."""
    images = (generator := Generator(7, size, width=4))(torch.rand(2, 7) * 2 - 1)
    assert images.shape == (2, 3, size, size)
    assert images.abs().max() <= 1
    images.square().sum().backward()
    assert all(p.grad is not None for p in generator.parameters())


def test_layout() -> None:
    """At 32 px 256 channels of 4x4, then 128 and 64; at 64 px the paper's 512, 256, 128 and 64."""
    for size, expected in ((32, [256, 128, 64]), (64, [512, 256, 128, 64]), (96, [512, 256, 128, 64])):
        generator = Generator(100, size)
        layers = [m for m in generator.modules() if isinstance(m, nn.Conv2d)]
        assert [layer.in_channels for layer in layers] == expected
        assert [layer.bias is not None for layer in layers] == [False] * (len(expected) - 1) + [True]


def test_other_codes_give_other_images() -> None:
    """The code decides the picture, and in eval mode nothing else does."""
    generator = Generator(5, 32, width=8)
    codes = torch.rand(4, 5)
    for _ in range(20):
        generator(torch.rand(16, 5))
    images = generator.eval()(codes)
    assert torch.allclose(images[:1], generator(codes[:1]), atol=1e-6)
    assert (images[0] - images[1]).abs().max() > 1e-3
