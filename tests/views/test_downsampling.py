"""Halving: each filter is the known one, flat images stay flat, and each image gets a filter of its own."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from selfsup import processes
from selfsup.views.downsampling import FILTERS, halve, random_halves

NAMES = list(FILTERS)


def images(count: int = 4, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2


def by(name: str, x: torch.Tensor) -> torch.Tensor:
    return halve(x, torch.full((len(x),), NAMES.index(name)))


def test_area_of_a_four_by_four_image() -> None:
    """The mean of each 2 x 2 block, by eye."""
    x = torch.tensor([[0.0, 0.2, 1.0, 1.0], [0.4, 0.6, 1.0, 1.0], [0.5, 0.5, 0.0, 1.0], [0.5, 0.5, 0.0, 1.0]])
    torch.testing.assert_close(by("area", x.expand(1, 1, 4, 4))[0, 0], torch.tensor([[0.3, 1.0], [0.5, 0.5]]))


@pytest.mark.parametrize(
    ("name", "mode", "antialias"),
    [
        ("area", "area", False),
        ("area", "bilinear", False),
        ("bilinear", "bilinear", True),
        ("bicubic", "bicubic", True),
        ("sharp", "bicubic", False),
    ],
)
def test_filters_agree_with_torch(name: str, mode: str, antialias: bool) -> None:
    """The last one but for the outermost pixels, where torch repeats the border."""
    x = images()
    expected = F.interpolate(x, scale_factor=0.5, mode=mode, antialias=antialias)
    inner = slice(1, -1) if name == "sharp" else slice(None)
    torch.testing.assert_close(by(name, x)[..., inner, inner], expected[..., inner, inner], atol=1e-5, rtol=0)


def test_lanczos_agrees_with_pillow() -> None:
    x = images(1)
    channel = Image.fromarray(x[0, 0].numpy(), mode="F").resize((16, 16), Image.Resampling.LANCZOS)
    torch.testing.assert_close(by("lanczos", x)[0, 0], torch.from_numpy(np.array(channel)), atol=1e-5, rtol=0)


def test_filters_give_different_images() -> None:
    made = torch.stack([by(name, images(1)) for name in NAMES])
    distances = torch.cdist(made.flatten(1), made.flatten(1)) + torch.eye(len(NAMES))
    assert distances.min() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_flat_images_stay_flat_to_the_border(name: str) -> None:
    torch.testing.assert_close(by(name, torch.full((1, 3, 8, 8), 0.3)), torch.full((1, 3, 4, 4), 0.3))


def test_overshoot_is_clipped() -> None:
    x = torch.zeros(5, 1, 16, 16)
    x[..., 7:] = 1
    made = halve(x, torch.arange(5))
    assert made.min() == 0
    assert made.max() == 1


def test_every_filter_is_drawn_and_two_processes_draw_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(1).expand(60, -1, -1, -1)
    torch.manual_seed(3)
    alone = random_halves(x)
    assert len(alone.flatten(1).unique(dim=0)) == len(NAMES)
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "rank", lambda: 1)
    torch.manual_seed(3)
    assert torch.equal(random_halves(x[:30]), alone[30:])
