"""Changes of colour for whole batches, one random decision per image; images are RGB in [0, 1]."""

import itertools
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from selfsup import draws
from selfsup.views.pieces import in_pieces
from selfsup.views.precision import full_precision

LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in a gray picture, as in torchvision (ITU-R 601)."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
ORDERS = tuple(itertools.permutations(range(4)))


def one_channel(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Show red, green or blue of each image, drawn at random, in all three channels."""
    chosen = draws.integers(images, below=3)
    shown = images[torch.arange(len(images), device=images.device), chosen]
    return shown[:, None].expand_as(images).contiguous()


@full_precision
def jitter(
    images: Float[Tensor, "B 3 H W"],
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    probability: float = 0.8,
) -> Float[Tensor, "B 3 H W"]:
    """Change brightness, contrast, saturation and hue of some images, in an order of its own for each.

    Args:
        images: in [0, 1]; clipped to it after every change.
        brightness: factors are uniform in [max(0, 1 - brightness), 1 + brightness].
        contrast: likewise.
        saturation: likewise.
        hue: shifts are uniform in [-hue, hue] turns of the colour circle, at most 0.5.
        probability: share of images that are changed.

    Source: torchvision's ColorJitter, which equals the second version of SimCLR's.
    """
    changes = random_changes(images, brightness, contrast, saturation, hue, probability)
    return in_pieces(adjust, images, *changes, values=images[0].numel(), order=by_hue(changes))


class Changes(NamedTuple):
    """What is done to the colours of each image."""

    amounts: Float[Tensor, "B 4"]
    """Factors of brightness, contrast and saturation (1: unchanged), shift of hue in turns (0: unchanged)."""
    order: Int[Tensor, "B 4"]
    """Which change comes when: 0 brightness, 1 contrast, 2 saturation, 3 hue."""
    chosen: Bool[Tensor, " B"]
    """Which images are changed at all."""


def random_changes(
    like: Shaped[Tensor, "B *rest"],
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    probability: float = 0.8,
) -> Changes:
    """Draw changes of colour for each row of `like`; arguments as in `jitter`."""
    strengths = (brightness, contrast, saturation)
    ranges = [(max(0.0, 1 - strength), 1 + strength) for strength in strengths] + [(-hue, hue)]
    low, high = torch.tensor(ranges, device=like.device).T
    amounts = draws.uniform(like, 4) * (high - low) + low
    order = torch.tensor(ORDERS, device=like.device)[draws.integers(like, below=len(ORDERS))]
    return Changes(amounts, order, draws.happens(like, probability))


def by_hue(changes: Changes) -> Int[Tensor, " B"]:
    """Give the order of rows in which `adjust` has least to do when it is called piece by piece."""
    return _time_of_hue(changes.order, changes.chosen).argsort()


def _time_of_hue(order: Int[Tensor, "B 4"], chosen: Bool[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Say how many changes come before that of hue; 4 for images that are not changed."""
    return (order == HUE).int().argmax(dim=1).masked_fill_(~chosen, 4)


@full_precision
def adjust(
    images: Float[Tensor, "B 3 H W"],
    amounts: Float[Tensor, "B 4"],
    order: Int[Tensor, "B 4"],
    chosen: Bool[Tensor, " B"],
) -> Float[Tensor, "B 3 H W"]:
    """Apply the four changes of `Changes` to each image in its own order, clipped to [0, 1] after each."""
    # Hue costs more than the others together. Sorted by when it comes, each image pays for it once and
    # every step works in place on neighbours.
    when = _time_of_hue(order, chosen)
    if not bool((when.diff() >= 0).all()):
        rows = when.argsort()
        return adjust(images[rows], amounts[rows], order[rows], chosen[rows]).index_select(0, rows.argsort())
    sizes = (when == torch.arange(5, device=when.device)[:, None]).sum(dim=1).tolist()
    amounts = amounts.to(images.dtype)
    kinds = order[order != HUE].view(-1, 3)  # [B, 3]
    spot = kinds[..., None, None, None]
    factors = (1 - amounts.gather(1, kinds))[..., None, None, None]  # [B, 3, 1, 1, 1]
    to_gray, to_mean = (spot == SATURATION).to(images.dtype), (spot == CONTRAST).to(images.dtype)
    shifts = amounts[:, HUE, None, None, None]
    work = images.clone(memory_format=torch.contiguous_format)
    groups = zip(*(torch.split(tensor, sizes) for tensor in (work, factors, to_gray, to_mean, shifts)), strict=True)
    for before, (group, factor, pixel, whole, shift) in enumerate(groups):
        if before == 4 or len(group) == 0:
            continue
        for step in range(3):
            if step == before:
                _turn_hue(group, shift)
            _blend(group, factor[:, step], pixel[:, step], whole[:, step])
        if before == 3:
            _turn_hue(group, shift)
    return work


def _blend(
    images: Float[Tensor, "B 3 H W"],
    share: Float[Tensor, "B 1 1 1"],
    to_gray: Float[Tensor, "B 1 1 1"],
    to_mean: Float[Tensor, "B 1 1 1"],
) -> None:
    """Move images in place by a share of the way to their gray version, to its mean, or (if neither) to black."""
    target = gray(images)
    mean = target.mean(dim=(2, 3), keepdim=True)
    # addcmul would be one call, but with operands that broadcast it takes twice as long as these two
    images.lerp_(target.mul_(to_gray).add_(mean.mul_(to_mean)), share).clamp_(0, 1)


def _turn_hue(images: Float[Tensor, "B 3 H W"], shifts: Float[Tensor, "B 1 1 1"]) -> None:
    """Turn the hue in place by `shifts` of the colour circle, keeping HSV's value and saturation.

    Closed form without branches. With the spread C = max - min, a = (max - red) / C and d = (green - blue) / C,
    the hue in sixths of the circle is 3a + |d|(1 - 2a) with the sign of d; each channel is then
    max - C at a distance of 2 sixths or more from its own hue, max at 1 or less, linear between.
    """
    red, green, blue = images[:, 0:1], images[:, 1:2], images[:, 2:3]
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    spread = high - low
    scale = (spread + torch.finfo(images.dtype).tiny).reciprocal_()
    side = (green - blue).mul_(scale)
    away = (high - red).mul_(scale)
    turned = (away * -2).add_(1).mul_(side.abs()).add_(away, alpha=3)
    turned = turned.copysign_(side).div_(6).add_(shifts)
    peaks = images.new_tensor([0, 1 / 3, 2 / 3]).view(1, 3, 1, 1)
    far = torch.sub(turned, peaks, out=images)
    far.sub_(far.round()).abs_().clamp_(1 / 6, 1 / 3)
    far.mul_(spread * -6).add_(torch.add(low, spread, alpha=2)).clamp_(0, 1)


def gray(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Weigh red, green and blue to one channel."""
    red, green, blue = LUMA
    weighed = images[:, 0:1] * red
    return weighed.add_(images[:, 1:2], alpha=green).add_(images[:, 2:3], alpha=blue)


@full_precision
def grayscale(images: Float[Tensor, "B 3 H W"], probability: float) -> Float[Tensor, "B 3 H W"]:
    """Make some images gray, with three equal channels."""
    return gray_chosen(images, draws.happens(images, probability))


@full_precision
def gray_chosen(images: Float[Tensor, "B 3 H W"], chosen: Bool[Tensor, " B"]) -> Float[Tensor, "B 3 H W"]:
    """Make the chosen images gray, with three equal channels."""
    return images.lerp(gray(images), chosen.to(images.dtype)[:, None, None, None])


@full_precision
def blur(
    images: Float[Tensor, "B 3 H W"], kernel: int, sigma: tuple[float, float] = (0.1, 2.0), probability: float = 0.5
) -> Float[Tensor, "B 3 H W"]:
    """Blur some images with a Gaussian of their own.

    Args:
        images: any range.
        kernel: side of the filter in pixels, odd; see `kernel_for`.
        sigma: range of its standard deviation in pixels, uniform.
        probability: share of images that are blurred.
    """
    chosen = draws.happens(images, probability)
    return blur_chosen(images, draws.uniform(images, low=sigma[0], high=sigma[1]), chosen, kernel)


@full_precision
def blur_chosen(
    images: Float[Tensor, "B 3 H W"], sigmas: Float[Tensor, " B"], chosen: Bool[Tensor, " B"], kernel: int
) -> Float[Tensor, "B 3 H W"]:
    """Blur the chosen images, each with its own sigma in pixels."""
    rows = chosen.nonzero().squeeze(1)
    return images.index_copy(0, rows, gaussian_blur(images[rows], kernel, sigmas[rows]))


def kernel_for(side: int) -> int:
    """Side of SimCLR's blur filter for images of this side: a tenth of it, made odd (23 at 224)."""
    return side // 10 // 2 * 2 + 1


@full_precision
def gaussian_blur(
    images: Float[Tensor, "B C H W"], kernel: int, sigmas: Float[Tensor, " B"]
) -> Float[Tensor, "B C H W"]:
    """Blur each image with a Gaussian of its own sigma in pixels, cut off at `kernel`; borders are mirrored."""
    if len(images) == 0:
        return images
    count, channels, height, width = images.shape
    reach = kernel // 2
    steps = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = (-0.5 * (steps / sigmas.to(images.dtype)[:, None]).square()).softmax(dim=1)  # [B, kernel]
    weights = weights.repeat_interleave(channels, dim=0)[:, None, None, :]  # [B*C, 1, 1, kernel]
    padded = F.pad(images, [reach] * 4, mode="reflect").flatten(0, 1).unsqueeze(0)
    across = F.conv2d(padded, weights, groups=count * channels)
    return F.conv2d(across, weights.transpose(2, 3), groups=count * channels).view(count, channels, height, width)
