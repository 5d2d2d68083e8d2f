"""How near an image is to another: decibels (PSNR) and structural similarity (SSIM), one number per image."""

import torch
from jaxtyping import Float
from torch import Tensor

from selfsup.views.precision import full_precision

LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
"""Shares of red, green and blue in the luma of BT.601."""
BLACK = 16 / 255
"""Luma of black; that of white is 235 / 255."""

WINDOW, SIGMA = 11, 1.5
"""Side and deviation in pixels of the Gaussian window of SSIM."""
K1, K2 = 0.01, 0.03

LEAST = 1e-10
"""Mean squared error that counts as none where decibels are compared: 100 dB."""


@full_precision
def luma(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Give the Y of BT.601 for images in [0, 1], from 16/255 for black to 235/255 for white.

    What papers on super-resolution measure; on RGB the same images are given other decibels.
    """
    return (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True) + BLACK


def trimmed(images: Float[Tensor, "B C H W"], border: int) -> Float[Tensor, "B C h w"]:
    """Leave out a border of so many pixels on every side."""
    return images[..., border : images.shape[-2] - border, border : images.shape[-1] - border]


@full_precision
def squared_error(images: Float[Tensor, "B C H W"], truth: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
    """Give the mean squared error of each image."""
    return (images - truth).square().mean((1, 2, 3))


def psnr(images: Float[Tensor, "B C H W"], truth: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
    """Give the peak signal-to-noise ratio of each image in decibels, for values in [0, 1]; equal images have inf."""
    return -10 * squared_error(images, truth).log10()


def psnr_gain(
    images: Float[Tensor, "B C H W"], baseline: Float[Tensor, "B C H W"], truth: Float[Tensor, "B C H W"]
) -> Float[Tensor, " B"]:
    """Say by how many decibels each image is nearer to the truth than the baseline is; 0 where both are exact."""
    before, left = squared_error(baseline, truth), squared_error(images, truth)
    return 10 * torch.log10(before.clamp(min=LEAST) / left.clamp(min=LEAST))


def pooled_gain(
    values: Float[Tensor, "B C H W"],
    baseline: Float[Tensor, "#B #C #H #W"],
    truth: Float[Tensor, "B C H W"],
    share: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Say by how many decibels images together are nearer to the truth than the baseline is; 0 where both are exact.

    Where the baseline is almost right on some images (gray ones, if it is gray) and far off on others, a mean
    over images of `psnr_gain` says little: it falls with every colour on the former.

    Args:
        values: any range.
        baseline: the same shape, or one that broadcasts to it.
        truth: what both should be.
        share: weight of each image; None: all alike.
    """
    share = truth.new_ones(len(truth)) if share is None else share.to(truth)
    before, left = ((share * (given - truth).square().mean((1, 2, 3))).sum() for given in (baseline, values))
    return 10 * torch.log10(before.clamp(min=LEAST) / left.clamp(min=LEAST))


@full_precision
def ssim(images: Float[Tensor, "B C H W"], truth: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
    """Give the mean structural similarity of each image, for values in [0, 1]; 1 where it equals the truth.

    Gaussian windows that lie inside the image, so the sides must have at least 11 pixels; channels count alike.

    Source: Wang, Bovik, Sheikh and Simoncelli, 2004, https://doi.org/10.1109/TIP.2003.819861
    """
    moments = torch.stack([images, truth, images.square(), truth.square(), images * truth])
    down, across = (_windows(side).to(images) for side in images.shape[-2:])
    mean, mean_true, square, square_true, product = down @ moments @ across.T
    variance, variance_true = square - mean.square(), square_true - mean_true.square()
    covariance = product - mean * mean_true
    light = (2 * mean * mean_true + K1**2) / (mean.square() + mean_true.square() + K1**2)
    structure = (2 * covariance + K2**2) / (variance + variance_true + K2**2)
    similarity: Tensor = (light * structure).mean((1, 2, 3))
    return similarity


def _windows(side: int) -> Float[Tensor, "h {side}"]:
    """Write the windows along a side as rows, each adding up to 1."""
    steps = torch.arange(side, dtype=torch.float64)
    first = torch.arange(side - WINDOW + 1, dtype=torch.float64)[:, None]
    inside = (steps >= first) & (steps < first + WINDOW)
    weights = torch.exp(-((steps - first - WINDOW // 2) ** 2) / (2 * SIGMA**2)) * inside
    return weights / weights.sum(1, keepdim=True)
