"""Bicubic resizing: constants stay, nothing aliases, and enlarging is the same for a mirror image."""

import numpy as np
import pytest
import torch
from PIL import Image

from selfsup.views import bicubic


@pytest.mark.parametrize("factor", [2, 4])
def test_constant_images_stay_constant(factor: int) -> None:
    """Weights add up to 1 everywhere, also at the border."""
    images = torch.tensor([0.0, 0.3, 1.0]).view(3, 1, 1, 1).expand(3, 3, 16, 16)
    small = bicubic.shrunk(images, factor)
    assert small.shape == (3, 3, 16 // factor, 16 // factor)
    assert torch.allclose(small, images[..., : 16 // factor, : 16 // factor], atol=1e-6)
    assert torch.allclose(bicubic.enlarged(small, factor), images, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4])
def test_mirroring_commutes(factor: int) -> None:
    """The mirror image of the small image is the small image of the mirror image."""
    images = torch.rand(2, 3, 16, 16)
    assert torch.allclose(bicubic.shrunk(images.flip(3), factor), bicubic.shrunk(images, factor).flip(3), atol=1e-6)
    assert torch.allclose(bicubic.enlarged(images.flip(3), factor), bicubic.enlarged(images, factor).flip(3), atol=1e-6)


def test_small_images_come_back_nearly_as_they_were() -> None:
    """Enlarging and shrinking again changes smooth images little."""
    waves = torch.sin(torch.linspace(0, 6, 16)).mul(0.4).add(0.5)
    images = (waves[:, None] * waves).expand(1, 3, 16, 16)
    assert torch.allclose(bicubic.shrunk(bicubic.enlarged(images, 4), 4), images, atol=0.02)


@pytest.mark.parametrize("factor", [2, 4])
def test_shrinking_is_antialiased_as_in_pillow(factor: int) -> None:
    """Pillow on floats gives the same; without antialiasing the difference is a hundred times larger."""
    image = torch.rand(24, 24)
    side = 24 // factor
    theirs = Image.fromarray(image.numpy()).resize((side, side), Image.Resampling.BICUBIC)
    ours = bicubic.shrunk(image.expand(1, 3, 24, 24), factor)[0, 0]
    assert torch.allclose(ours, torch.from_numpy(np.array(theirs)).clamp(0, 1), atol=1e-5)
    larger = Image.fromarray(image.numpy()).resize((24 * factor, 24 * factor), Image.Resampling.BICUBIC)
    found = bicubic.enlarged(image.expand(1, 3, 24, 24), factor)[0, 0]
    assert torch.allclose(found, torch.from_numpy(np.array(larger)).clamp(0, 1), atol=1e-5)


def test_overshoot_is_clipped() -> None:
    """Next to an edge bicubic weights give values outside [0, 1], which no image has."""
    edge = torch.cat([torch.zeros(1, 3, 16, 8), torch.ones(1, 3, 16, 8)], dim=3)
    for made in (bicubic.shrunk(edge, 2), bicubic.enlarged(edge, 2)):
        assert made.min() == 0
        assert made.max() == 1
