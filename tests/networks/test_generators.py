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
    """Two convolutions per doubling: at 32 px from 256 to 32 channels, from 64 px on from the paper's 512."""
    large = [512, 256, 256, 128, 128, 64, 64, 32, 32]
    for size, expected in ((32, [256, *large[3:]]), (64, large), (96, large)):
        generator = Generator(100, size)
        layers = [m for m in generator.modules() if isinstance(m, nn.Conv2d)]
        assert generator.first.out_features == expected[0] * generator.start**2
        assert [layer.in_channels for layer in layers] == expected
        assert [layer.bias is not None for layer in layers] == [False] * (len(layers) - 1) + [True]


@pytest.mark.parametrize("size", [32, 50, 100])
def test_no_frame(size: int) -> None:
    """Where a code asks for the same everywhere, edges look like the middle, at sides that are cut out too."""
    torch.manual_seed(0)
    generator = Generator(3, size, width=16).eval()
    with torch.no_grad():
        weight = generator.first.weight.unflatten(0, (-1, generator.start**2))
        weight.copy_(weight[:, :1].expand_as(weight).clone())
        for layer in generator.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(10)
        images = generator(torch.rand(4, 3))
    assert images.abs().max() > 1e-3
    assert torch.allclose(images, images[:, :, :1, :1].expand_as(images), atol=1e-6)


def test_other_codes_give_other_images() -> None:
    """The code decides the picture, and in eval mode nothing else does."""
    generator = Generator(5, 32, width=8)
    codes = torch.rand(4, 5)
    for _ in range(100):  # until running statistics have forgotten that they began at 1
        generator(torch.rand(16, 5))
    images = generator.eval()(codes)
    assert torch.allclose(images[:1], generator(codes[:1]), atol=1e-6)
    assert (images[0] - images[1]).abs().max() > 1e-3
