"""Corruptions of images and signals for denoising, drawn afresh at each step; what is given is never changed.

Noise is measured in units of the encoder's per-channel standard deviation, and an erased value becomes
the encoder's mean, which is 0 once the encoder has normalized its input. Signals [B, C, L] are corrupted like
images of one row: what is a pixel there is a sample here, and a square is a span.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selfsup import draws
from selfsup.views.precision import full_precision


@full_precision
def gaussian(images: Float[Tensor, "B C *S"], sigma: float, std: Float[Tensor, " C"]) -> Float[Tensor, "B C *S"]:
    """Add normal noise to every value.

    Args:
        images: in [0, 1].
        sigma: standard deviation of the noise in units of `std`.
        std: standard deviation of each channel over the data, as the encoder normalizes with it.

    Returns:
        Values outside [0, 1] too: clipping would change the law of the noise at black and white.
    """
    noise = draws.normal(images, *images.shape[1:]).to(images.dtype)
    return torch.addcmul(images, noise, _per_channel(sigma * std, images))


@full_precision
def masking(
    images: Float[Tensor, "B C *S"], share: float, block: int = 1, *, mean: Float[Tensor, " C"]
) -> tuple[Float[Tensor, "B C *S"], Bool[Tensor, "B 1 *S"]]:
    """Erase a fixed share of each image, picked at random: whole pixels, or blocks of them.

    Args:
        images: in [0, 1].
        share: share of pixels or blocks that is erased, exact up to rounding (2010 paper; the tutorial's code
            erases each with this probability instead).
        block: side of a block in pixels.
        mean: mean colour, which replaces what is erased. Kept values are not rescaled.

    Returns:
        The corrupted images, and which pixels were kept, the same in all channels: a pixel of which
        one channel is left gives the others away.
    """
    erased = _picked(images, share, block)
    return torch.where(erased, _per_channel(mean, images), images), ~erased


@full_precision
def salt_and_pepper(
    images: Float[Tensor, "B C *S"], share: float
) -> tuple[Float[Tensor, "B C *S"], Bool[Tensor, "B 1 *S"]]:
    """Turn a fixed share of each image's pixels, picked at random, white or black with equal chances.

    Samples of a signal become the greatest or the least value that their channel has in that signal.

    Args:
        images: in [0, 1].
        share: share of pixels that is changed, exact up to rounding.

    Returns:
        The corrupted images, and which pixels were changed (all their channels alike).
    """
    changed = _picked(images, share, 1)
    salt = draws.uniform(images, 1, *images.shape[2:]) < 0.5
    extremes = salt.to(images.dtype)
    if images.ndim == 3:
        extremes = torch.where(salt, images.amax(2, keepdim=True), images.amin(2, keepdim=True))
    return torch.where(changed, extremes, images), changed


def _picked(images: Float[Tensor, "B C *S"], share: float, block: int) -> Bool[Tensor, "B 1 *S"]:
    """Pick exactly round(share * blocks) blocks of each image; those at the right and lower edge may be narrower."""
    blocks = [-(-side // block) for side in images.shape[2:]]
    lots = draws.uniform(images, math.prod(blocks))
    winners = lots.topk(round(share * math.prod(blocks)), dim=1, sorted=False).indices
    picked = torch.zeros_like(lots, dtype=torch.bool).scatter_(1, winners, True).view(-1, 1, *blocks)
    if block > 1:
        for axis in range(2, images.ndim):
            picked = picked.repeat_interleave(block, axis).narrow(axis, 0, images.shape[axis])
    return picked


def _per_channel(values: Float[Tensor, " C"], like: Float[Tensor, "B C *S"]) -> Float[Tensor, "C *ones"]:
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 2))
