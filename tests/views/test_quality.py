"""PSNR and SSIM have the values of the literature."""

import math

import pytest
import torch
from torch import Tensor

from selfsup.views import quality


def test_decibels_of_known_errors() -> None:
    """One level of 256 is 48.13 dB, half the error 6.02 dB more, equal images infinite."""
    truth = torch.full((1, 3, 12, 12), 0.5, dtype=torch.float64)
    assert quality.psnr(truth + 1 / 255, truth).item() == pytest.approx(48.13, abs=0.005)
    half, whole = quality.psnr(truth + 0.05, truth), quality.psnr(truth + 0.1, truth)
    assert (half - whole).item() == pytest.approx(6.02, abs=0.001)
    assert math.isinf(quality.psnr(truth, truth).item())


def test_gain_is_the_difference_of_decibels() -> None:
    """A tenth of the squared error is 10 dB nearer; exact against exact is no gain, and no nan."""
    truth = torch.rand(2, 3, 12, 12)
    noise = torch.randn(2, 3, 12, 12)
    near, far = truth + 0.01 * noise, truth + 0.01 * math.sqrt(10) * noise
    assert torch.allclose(quality.psnr_gain(near, far, truth), torch.full((2,), 10.0), atol=1e-3)
    expected = quality.psnr(near, truth) - quality.psnr(far, truth)
    assert torch.allclose(quality.psnr_gain(near, far, truth), expected, atol=1e-3)
    assert quality.psnr_gain(truth, truth, truth).tolist() == [0, 0]


def test_luma_has_the_range_of_television() -> None:
    """Black is 16 and white 235 of 255; the shares of red, green and blue are those of BT.601."""
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).float().view(5, 3, 1, 1)
    expected = torch.tensor([16, 235, 16 + 65.481, 16 + 128.553, 16 + 24.966]) / 255
    assert torch.allclose(quality.luma(colours).flatten(), expected, atol=1e-6)


def test_border_is_left_out() -> None:
    """What differs in the border only does not count."""
    truth = torch.rand(1, 1, 20, 24)
    images = truth.clone()
    images[..., :4, :] += 0.3
    images[..., -4:] += 0.3
    assert quality.trimmed(images, 4).shape == (1, 1, 12, 16)
    assert torch.equal(quality.trimmed(images, 4), quality.trimmed(truth, 4))
    assert quality.trimmed(images, 0).shape == images.shape


def test_similarity_equals_a_loop_over_windows() -> None:
    """The formula of the paper, one window at a time."""
    torch.manual_seed(0)
    truth = torch.rand(2, 3, 14, 13, dtype=torch.float64)
    images = (truth + 0.2 * torch.randn_like(truth)).clamp(0, 1)
    assert torch.allclose(quality.ssim(images, truth), by_windows(images, truth), atol=1e-12)


def test_similarity_agrees_with_kornia() -> None:
    """To a millionth, where that library is installed."""
    metrics = pytest.importorskip("kornia").metrics
    truth = torch.rand(3, 3, 40, 36)
    images = (truth + 0.2 * torch.randn_like(truth)).clamp(0, 1)
    theirs = metrics.ssim(images, truth, 11, padding="valid").mean((1, 2, 3))
    assert torch.allclose(quality.ssim(images, truth), theirs, atol=1e-6)


def test_similarity_has_its_limits() -> None:
    """1 for equal images, symmetric, below 0 for the negative of an image."""
    truth = torch.rand(2, 1, 16, 16)
    other = torch.rand(2, 1, 16, 16)
    assert torch.allclose(quality.ssim(truth, truth), torch.ones(2), atol=1e-6)
    assert torch.allclose(quality.ssim(truth, other), quality.ssim(other, truth), atol=1e-6)
    assert (quality.ssim(1 - truth, truth) < 0).all()


def by_windows(images: Tensor, truth: Tensor) -> Tensor:
    """Weigh the pixels of every 11x11 window by a Gaussian of deviation 1.5, and average the windows."""
    steps = torch.arange(-5, 6, dtype=torch.float64)
    weights = torch.exp(-(steps[:, None] ** 2 + steps**2) / (2 * 1.5**2))
    weights /= weights.sum()
    count, channels, height, width = images.shape
    found = torch.zeros(count, channels, height - 10, width - 10, dtype=torch.float64)
    for b, c, top, left in torch.cartesian_prod(*(torch.arange(n) for n in found.shape)).tolist():
        x, y = (picture[b, c, top : top + 11, left : left + 11] for picture in (images, truth))
        mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
        var_x, var_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
        both = (weights * (x - mean_x) * (y - mean_y)).sum()
        found[b, c, top, left] = ((2 * mean_x * mean_y + 1e-4) * (2 * both + 9e-4)) / (
            (mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4)
        )
    return found.mean((1, 2, 3))
