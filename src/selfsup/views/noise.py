"""Corruptions of images for denoising, drawn afresh for each image and step; the images given are never changed.

Noise is measured in units of the encoder's per-channel standard deviation, and an erased value becomes
the encoder's mean, which is 0 once the encoder has normalized its input.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selfsup import draws
from selfsup.views.precision import full_precision


@full_precision
def gaussian(images: Float[Tensor, "B C H W"], sigma: float, std: Float[Tensor, " C"]) -> Float[Tensor, "B C H W"]:
    """Add normal noise to every value.

    Args:
        images: in [0, 1].
        sigma: standard deviation of the noise in units of `std`.
        std: standard deviation of each channel over the data, as the encoder normalizes with it.

    Returns:
        Values outside [0, 1] too: clipping would change the law of the noise at black and white.
    """
    noise = draws.normal(images, *images.shape[1:]).to(images.dtype)
    return torch.addcmul(images, noise, (sigma * std.to(images.dtype)).view(-1, 1, 1))


@full_precision
def masking(
    images: Float[Tensor, "B C H W"], share: float, block: int = 1, *, mean: Float[Tensor, " C"]
) -> tuple[Float[Tensor, "B C H W"], Bool[Tensor, "B 1 H W"]]:
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
    return torch.where(erased, mean.to(images.dtype).view(-1, 1, 1), images), ~erased


@full_precision
def salt_and_pepper(
    images: Float[Tensor, "B C H W"], share: float
) -> tuple[Float[Tensor, "B C H W"], Bool[Tensor, "B 1 H W"]]:
    """Turn a fixed share of each image's pixels, picked at random, white or black with equal chances.

    Args:
        images: in [0, 1].
        share: share of pixels that is changed, exact up to rounding.

    Returns:
        The corrupted images, and which pixels were changed (all their channels alike).
    """
    changed = _picked(images, share, 1)
    salt = draws.uniform(images, 1, *images.shape[2:]) < 0.5
    return torch.where(changed, salt.to(images.dtype), images), changed


def _picked(images: Float[Tensor, "B C H W"], share: float, block: int) -> Bool[Tensor, "B 1 H W"]:
    """Pick exactly round(share * blocks) blocks of each image; those at the right and lower edge may be narrower."""
    height, width = images.shape[-2:]
    rows, columns = -(-height // block), -(-width // block)
    lots = draws.uniform(images, rows * columns)
    winners = lots.topk(round(share * rows * columns), dim=1, sorted=False).indices
    picked = torch.zeros_like(lots, dtype=torch.bool).scatter_(1, winners, True).view(-1, 1, rows, columns)
    if block > 1:
        picked = picked.repeat_interleave(block, 2).repeat_interleave(block, 3)[..., :height, :width]
    return picked
