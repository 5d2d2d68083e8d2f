"""Augmentation that a generator can be trained through (DiffAugment), one random decision per image.

Real and generated images both pass through it, in the steps of both sides: were only real ones changed, the generator
would copy the changes.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from selfsup import draws
from selfsup.errors import InputError
from selfsup.views import crops
from selfsup.views.precision import full_precision

POLICIES = ("color", "translation", "cutout")


def check_policy(policy: str) -> tuple[str, ...]:
    """Read a policy such as `color,translation`; an empty one or `none` changes nothing.

    Raises:
        InputError: if a name is unknown.
    """
    names = tuple(name.strip() for name in policy.split(",") if name.strip() not in ("", "none"))
    unknown = [name for name in names if name not in POLICIES]
    if unknown:
        raise InputError(f"There is no augmentation {unknown[0]!r}; use none, or some of {','.join(POLICIES)}.")
    return names


@full_precision
def augment(images: Float[Tensor, "B C S S"], policy: str) -> Float[Tensor, "B C S S"]:
    """Change each image at random, differentiably.

    Colour: brightness moves by up to 0.5, saturation is scaled by 0 to 2 and contrast by 0.5 to 1.5; nothing is
    clipped. Translation: by up to an eighth of the side in both directions. Cutout: a square of half the side. What is
    laid bare becomes 0.

    Args:
        images: in [-1, 1].
        policy: names out of `color`, `translation` and `cutout`, with commas between them; empty changes nothing.

    Source: Zhao et al., 2020, https://arxiv.org/abs/2006.10738 (mit-han-lab/data-efficient-gans)
    """
    chosen = check_policy(policy)
    if "color" in chosen:
        images = _color(images)
    if "translation" in chosen:
        images = _translation(images)
    return _cutout(images) if "cutout" in chosen else images


def _color(images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B C S S"]:
    drawn = draws.uniform(images, 3, 1, 1, 1).to(images.dtype)
    brightness, saturation, contrast = drawn[:, 0] - 0.5, drawn[:, 1] * 2, drawn[:, 2] + 0.5
    images = images + brightness
    gray = images.mean(1, keepdim=True)
    images = (images - gray) * saturation + gray
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * contrast + mean


def _translation(images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B C S S"]:
    side = images.shape[-1]
    most = int(side / 8 + 0.5)
    top, left = draws.integers(images, 2, below=2 * most + 1).T
    stays = torch.zeros_like(top, dtype=torch.bool)
    return crops.cut(F.pad(images, [most] * 4), top, left, stays, side)


def _cutout(images: Float[Tensor, "B C S S"]) -> Float[Tensor, "B C S S"]:
    side = images.shape[-1]
    hole = int(side / 2 + 0.5)
    first = draws.integers(images, 2, below=side + (1 - hole % 2)) - hole // 2  # [B, 2], may lie outside
    steps = torch.arange(side, device=images.device)
    inside = (steps >= first[..., None]) & (steps < first[..., None] + hole)  # [B, 2, S]
    return images * ~(inside[:, 0, :, None] & inside[:, 1, None, :])[:, None]
