"""Patches of whole batches: where they are cut, and what keeps their borders, colours and sharpness from telling it.

Patches are [B, P, C, s, s]: P of each image. Nothing here loops over images or patches.
"""

import math
from functools import cache

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from selfsup import draws
from selfsup.views.precision import full_precision

GREEN_MAGENTA = (-1.0, 2.0, -1.0)
"""The direction in which a lens shifts colours against each other."""


def cells(like: Shaped[Tensor, "B *rest"], grid: int, cell: int) -> tuple[Int[Tensor, "B P"], Int[Tensor, "B P"]]:
    """Give the top and left pixel of each cell of a grid that starts at (0, 0), row by row; P = grid * grid."""
    starts = torch.arange(grid, device=like.device) * cell
    top, left = torch.meshgrid(starts, starts, indexing="ij")
    return top.flatten().expand(len(like), -1), left.flatten().expand(len(like), -1)


def jittered(starts: Int[Tensor, "B P"], room: int) -> Int[Tensor, "B P"]:
    """Move each start by a whole number of pixels of its own, uniform in 0 to `room`."""
    return starts + draws.integers(starts, *starts.shape[1:], below=room + 1)


@full_precision
def cut(
    images: Float[Tensor, "B C H W"],
    top: Int[Tensor, "B P *c"],
    left: Int[Tensor, "B P *c"],
    size: int,
) -> Float[Tensor, "B P C {size} {size}"]:
    """Cut squares of side `size` out of each image, pixel for pixel.

    Args:
        images: any range.
        top: first row of each patch, [B, P], or [B, P, C] where the channels of a patch are cut in different places.
        left: first column, likewise.
        size: side of a patch.

    A patch that would stick out is moved in.
    """
    count, channels, height, width = images.shape
    steps = torch.arange(size, device=images.device)
    top, left = (place[:, :, None] if place.ndim == 2 else place for place in (top, left))  # [B, P, 1 or C]
    down = (top.clamp(0, height - size)[..., None] + steps) * width  # [B, P, 1 or C, size]
    index = down[..., :, None] + (left.clamp(0, width - size)[..., None] + steps)[..., None, :]
    patches = index.shape[1]
    index = index.expand(-1, -1, channels, -1, -1).transpose(1, 2).reshape(count, channels, -1)
    made = images.reshape(count, channels, -1).gather(2, index)
    return made.view(count, channels, patches, size, size).transpose(1, 2).contiguous()


def channel_shifts(places: Int[Tensor, "B P"], channels: int, most: int) -> Int[Tensor, "B P C"]:
    """Move each channel of each patch by a whole number of pixels of its own, uniform in -most to most."""
    shifts = draws.integers(places, places.shape[1], channels, below=2 * most + 1) - most
    return places[:, :, None] + shifts


@full_precision
def standardize(patches: Float[Tensor, "*P C h w"], eps: float = 1e-4) -> Float[Tensor, "*P C h w"]:
    """Give each channel of each patch mean 0 and standard deviation 1; a flat channel becomes 0.

    `eps` is added to the deviation in squares: far below a gray level of images in [0, 1], far above rounding.
    """
    centred = patches - patches.mean(dim=(-2, -1), keepdim=True)
    variance = centred.square().mean(dim=(-2, -1), keepdim=True)
    return centred * (variance + eps**2).rsqrt()


@full_precision
def equalize(patches: Float[Tensor, "*P C h w"], eps: float = 1e-4) -> Float[Tensor, "*P C h w"]:
    """Take each channel's mean from each patch and divide it by the root mean square of all channels together."""
    centred = patches - patches.mean(dim=(-2, -1), keepdim=True)
    return centred * (centred.square().mean(dim=(-3, -2, -1), keepdim=True) + eps**2).rsqrt()


@full_precision
def drop_colours(
    patches: Float[Tensor, "B P 3 h w"], probability: float = 1.0, noise: float = 0.01
) -> Float[Tensor, "B P 3 h w"]:
    """Keep one channel of some patches, picked at random for each; the other two become noise around its mean.

    Args:
        patches: any range.
        probability: share of patches that lose their colours.
        noise: standard deviation of the noise, in units of the kept channel's.

    Source: Doersch, Gupta and Efros, 2015, section 3.1.
    """
    count = patches.shape[1]
    kept = draws.integers(patches, count, below=3)
    dropped = draws.uniform(patches, count) < probability
    index = kept[:, :, None, None, None].expand(-1, -1, 1, *patches.shape[3:])
    channel = patches.gather(2, index)  # [B, P, 1, h, w]
    mean = channel.mean(dim=(-2, -1), keepdim=True)
    spread = (channel - mean).square().mean(dim=(-2, -1), keepdim=True).sqrt()
    drawn = draws.normal(patches, *patches.shape[1:]).to(patches.dtype)
    is_kept = torch.arange(3, device=patches.device) == kept[:, :, None]  # [B, P, 3]
    replaced = torch.where(is_kept[..., None, None], patches, mean + noise * spread * drawn)
    return torch.where(dropped[:, :, None, None, None], replaced, patches)


def projection(like: Tensor) -> Float[Tensor, "3 3"]:
    """Give the matrix that removes the green-magenta axis from colours and leaves gray as it is."""
    axis = like.new_tensor(GREEN_MAGENTA)
    return torch.eye(3, device=like.device, dtype=like.dtype) - torch.outer(axis, axis) / axis.dot(axis)


@full_precision
def project_colours(patches: Float[Tensor, "*P 3 h w"]) -> Float[Tensor, "*P 3 h w"]:
    """Remove the green-magenta axis from every pixel.

    Source: Doersch, Gupta and Efros, 2015, section 3.1.
    """
    return torch.einsum("ij,...jhw->...ihw", projection(patches), patches)


@full_precision
def blunt(
    patches: Float[Tensor, "B P C s s"], probability: float = 1 / 3, smallest: float = 10 / 96
) -> Float[Tensor, "B P C s s"]:
    """Shrink some patches to a random side and enlarge them again, so that sharpness tells nothing.

    Args:
        patches: any range.
        probability: share of patches that are treated.
        smallest: smallest side, as a share of the patch's; the number of pixels is uniform between its square and 1.

    Source: Doersch, Gupta and Efros, 2015, and their code.
    """
    size = patches.shape[-1]
    chosen = draws.uniform(patches, patches.shape[1]) < probability
    area = draws.uniform(patches, patches.shape[1], low=smallest**2, high=1.0)
    sides = (area.sqrt() * size).round().long().clamp(1, size)
    maps = _there_and_back(size, patches.device, patches.dtype)[torch.where(chosen, sides, size)]  # [B, P, s, s]
    # both directions are one linear map each, so every patch can have a side of its own in one product
    return maps.unsqueeze(2) @ patches @ maps.unsqueeze(2).transpose(-1, -2)


@cache
def _there_and_back(size: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "sides s s"]:
    """For each side n from 0 to `size`, give the matrix that resizes `size` values to n and back, antialiased."""
    unit = torch.eye(size, device=device, dtype=dtype)[None, None]  # [1, 1, s, s]
    maps = [unit[0, 0]]
    for side in range(1, size + 1):
        small = F.interpolate(unit, (side, size), mode="bilinear", antialias=True)
        maps.append(F.interpolate(small, (size, size), mode="bilinear")[0, 0])
    return torch.stack(maps)


def assemble(patches: Float[Tensor, "B P C s s"], gap: int = 0) -> Float[Tensor, "B C h h"]:
    """Lay the P = n * n patches of each image out as a square, row by row, with `gap` white pixels between them."""
    count, pieces, channels, size, _ = patches.shape
    grid = math.isqrt(pieces)
    padded = F.pad(patches, (0, gap, 0, gap), value=1.0)
    square = padded.view(count, grid, grid, channels, size + gap, size + gap).permute(0, 3, 1, 4, 2, 5)
    whole = square.reshape(count, channels, grid * (size + gap), grid * (size + gap))
    return whole[..., : grid * (size + gap) - gap, : grid * (size + gap) - gap]
