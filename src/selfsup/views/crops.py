"""Crops, flips and resizing of whole batches, one random decision per image.

Crop, flip and antialiased resize are one linear map along each side, so a view is two batched products
Wy·X·Wxᵀ with triangle weights of its own for each image; Wy has few entries and is kept as such.
"""

import math
from functools import partial

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from selfsup import draws
from selfsup.views.pieces import in_pieces
from selfsup.views.precision import full_precision

TRIES = 10
"""Boxes drawn per image before the whole image is taken, as in torchvision and Inception's crop."""


@full_precision
def random_resized_crop(
    images: Float[Tensor, "B C H W"],
    size: int,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = True,
) -> Float[Tensor, "B C {size} {size}"]:
    """Cut a random box out of each image and resize it to `size`, antialiased; flip half of them left to right.

    Args:
        images: any range.
        size: side of the result.
        scale: range of the box's share of the image's area, uniform.
        ratio: range of the box's width over its height, uniform in its logarithm.
        flip: whether to flip with probability 1/2.
    """
    height, width = images.shape[-2:]
    boxes = random_boxes(images, height, width, scale=scale, ratio=ratio)
    values = images.shape[1] * size * size
    return in_pieces(partial(crop_resize, size=size), images, boxes, random_flips(images, flip), values=values)


def random_boxes(
    like: Shaped[Tensor, "B *rest"],
    height: float,
    width: float,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Float[Tensor, "B 4"]:
    """Draw a box (top, left, height, width) in pixels for each row of `like`, anywhere inside an image.

    Boxes that stick out are drawn again, at most ten times; then the largest centred box of an allowed ratio is taken.

    Args:
        like: any tensor with a row for each box.
        height: of the images, in pixels.
        width: of the images, in pixels.
        scale: range of the box's share of the image's area, uniform.
        ratio: range of the box's width over its height, uniform in its logarithm.
    """
    area = draws.uniform(like, TRIES, low=scale[0], high=scale[1]) * (height * width)
    aspect = draws.uniform(like, TRIES, low=math.log(ratio[0]), high=math.log(ratio[1])).exp()
    return fitting_boxes(area, aspect, draws.uniform(like, 2), height, width, ratio)


def fitting_boxes(
    area: Float[Tensor, "B T"],
    aspect: Float[Tensor, "B T"],
    place: Float[Tensor, "B 2"],
    height: float,
    width: float,
    ratio: tuple[float, float],
) -> Float[Tensor, "B 4"]:
    """Take the first of T boxes that fits into an image; if none does, the largest centred one of an allowed ratio.

    Args:
        area: of the boxes, in pixels.
        aspect: their width over their height.
        place: where in the room there is, from 0 (top, left) to 1.
        height: of the images, in pixels.
        width: of the images, in pixels.
        ratio: range of the aspect.

    Returns: top, left, height, width in pixels.
    """
    tries = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], dim=2)  # [B, T, 2], height and width
    fits = (tries[..., 0] <= height) & (tries[..., 1] <= width)  # [B, T]
    first = fits.int().argmax(dim=1)
    sides = tries[torch.arange(len(tries), device=tries.device), first]  # [B, 2]
    whole_ratio = min(max(width / height, ratio[0]), ratio[1])
    whole_width = min(width, height * whole_ratio)
    whole = sides.new_tensor([whole_width / whole_ratio, whole_width])
    none_fits = ~fits.any(dim=1, keepdim=True)
    sides = torch.where(none_fits, whole, sides)
    place = torch.where(none_fits, 0.5, place)
    corner = place * (sides.new_tensor([height, width]) - sides)
    return torch.cat([corner, sides], dim=1)


def random_flips(like: Shaped[Tensor, "B *rest"], flip: bool = True) -> Bool[Tensor, " B"]:
    """Decide for each row of `like` whether it is flipped; drawn even if unused, so that later draws stay the same."""
    return draws.happens(like, 0.5) & flip


@full_precision
def crop_resize(
    images: Float[Tensor, "B C H W"], boxes: Float[Tensor, "B 4"], flip: Bool[Tensor, " B"], size: int
) -> Float[Tensor, "B C {size} {size}"]:
    """Resize a box of each image to `size` with triangle weights, flipped left to right where `flip` says so.

    Args:
        images: any range.
        boxes: top, left, height, width in pixels, fractions allowed; inside the image.
        flip: which images to flip.
        size: side of the result.

    Equals cropping and then torchvision's antialiased bilinear resize, for boxes of whole pixels.
    """
    count, channels, height, width = images.shape
    corners, lengths = boxes.to(images.dtype).T.split(2)  # [2, B] each: along the columns, along the rows
    sides = corners.new_tensor([height, width])[:, None].expand_as(corners)
    mirrored = torch.stack([torch.zeros_like(flip), flip])
    taps = _taps(corners.flatten(), lengths.flatten(), sides.flatten(), max(height, width), size, mirrored.flatten())
    (pixels, column), (weights, row) = (tensor.chunk(2) for tensor in taps)  # [B, size, T] each
    # Down the columns each row of the result is a weighted sum of the few whole rows it touches, and
    # whole rows are next to each other in memory: many times faster than a matrix of mostly zeros.
    first_row = torch.arange(count * channels, device=images.device).view(count, channels, 1, 1) * height
    rows = (first_row + pixels.unsqueeze(1)).view(count * channels * size, -1)
    shares = weights.unsqueeze(1).expand(-1, channels, -1, -1).reshape(rows.shape)
    short = F.embedding_bag(rows, images.reshape(-1, width), per_sample_weights=shares, mode="sum")
    # along the rows the channels share their weights: as rows of one tall matrix they are one product
    across = _matrix(column, row, width)  # [B, size, W]
    return short.view(count, -1, width).bmm(across.transpose(1, 2)).view(count, channels, size, size)


def _taps(
    start: Float[Tensor, " R"],
    length: Float[Tensor, " R"],
    sides: Float[Tensor, " R"],
    longest: int,
    size: int,
    flip: Bool[Tensor, " R"],
) -> tuple[Int[Tensor, "R {size} T"], Float[Tensor, "R {size} T"]]:
    """Say which pixels of a side, with what weights, make each of `size` pixels of the stretch [start, start + length).

    A triangle around the middle of each new pixel, reaching one pixel, or further where the picture
    shrinks so that nothing aliases; cut off where the stretch ends, as if it had been cut out first.
    """
    start, length = start[:, None], length[:, None]
    step = length / size
    steps = torch.arange(size, device=start.device, dtype=start.dtype)
    centers = start + (torch.where(flip[:, None], size - 1 - steps, steps) + 0.5) * step  # [R, size]
    reach = step.clamp(min=1.0)
    count = int(2 * max(longest / size, 1.0)) + 1
    first = (centers - reach + 0.5).floor()
    pixels = first.unsqueeze(2) + torch.arange(count, device=start.device, dtype=start.dtype)  # [R, size, T]
    weights = 1 - (pixels + 0.5 - centers.unsqueeze(2)).abs() / reach.unsqueeze(2)
    touched = (pixels + 1 > start.unsqueeze(2)) & (pixels < (start + length).unsqueeze(2))
    weights = weights.clamp_(min=0.0).mul_(touched)
    inside = torch.minimum(pixels.clamp_(min=0.0), sides[:, None, None] - 1)
    return inside.long(), weights.div_(weights.sum(dim=2, keepdim=True))


def _matrix(pixels: Int[Tensor, "B S T"], weights: Float[Tensor, "B S T"], side: int) -> Float[Tensor, "B S {side}"]:
    """Write the weights of few pixels as rows over all of them."""
    return weights.new_zeros(*weights.shape[:2], side).scatter_add_(2, pixels, weights)


@full_precision
def random_crop(
    images: Float[Tensor, "B C H W"], size: int, *, pad: int | None = None, flip: bool = True
) -> Float[Tensor, "B C {size} {size}"]:
    """Cut a random `size` square out of each image, pixel for pixel; flip half of them left to right.

    Args:
        images: at least `size` on both sides.
        size: side of the result.
        pad: black pixels added on every side before cutting. None: `size // 8` if the image is no larger
            than `size`, else none, since there is room to move.
        flip: whether to flip with probability 1/2.
    """
    if pad is None:
        pad = size // 8 if min(images.shape[-2:]) == size else 0
    height, width = images.shape[-2] + 2 * pad, images.shape[-1] + 2 * pad
    place = draws.uniform(images, 2)
    top = (place[:, 0] * (height - size + 1)).long()
    left = (place[:, 1] * (width - size + 1)).long()
    return cut(F.pad(images, [pad] * 4), top, left, random_flips(images, flip), size)


def cut(
    images: Float[Tensor, "B C H W"],
    top: Int[Tensor, " B"],
    left: Int[Tensor, " B"],
    flip: Bool[Tensor, " B"],
    size: int,
) -> Float[Tensor, "B C {size} {size}"]:
    """Cut the square of side `size` at (top, left) out of each image, flipped where `flip` says so."""
    count, channels, height, width = images.shape
    steps = torch.arange(size, device=images.device)
    across = left[:, None] + torch.where(flip[:, None], steps.flip(0), steps)  # [B, size]
    down = (top[:, None] + steps) * width  # [B, size]
    index = (down[:, :, None] + across[:, None, :]).view(count, 1, size * size)
    flat = images.reshape(count, channels, height * width)
    return flat.gather(2, index.expand(-1, channels, -1)).view(count, channels, size, size)


def center(images: Float[Tensor, "B C *S"], size: int) -> Float[Tensor, "B C *s"]:
    """Cut the middle `size` square out of each image; images of that size come back as they are.

    Of signals [B, C, L] the middle `size` samples.
    """
    for axis in range(2, images.ndim):
        images = images.narrow(axis, (images.shape[axis] - size) // 2, size)
    return images


@full_precision
def resize(images: Float[Tensor, "B C H W"], size: int) -> Float[Tensor, "B C {size} {size}"]:
    """Resize whole images to a square of side `size`, antialiased."""
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    zeros, lengths = images.new_zeros(2), images.new_tensor([height, width])
    (down, across), weights = _taps(zeros, lengths, lengths, max(height, width), size, zeros.bool())
    down, across = _matrix(down[None], weights[:1], height)[0], _matrix(across[None], weights[1:], width)[0]
    return down @ (images @ across.T)
