"""Turns, affine and projective warps of whole batches by bilinear sampling."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from selfsup.views.precision import full_precision

NEAREST, OUTSIDE = 1e-6, 16.0
"""Depth from which a point is seen; coordinate, far outside the picture, of points that are not."""


@full_precision
def turn(images: Float[Tensor, "B C H W"], angles_degrees: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """Turn each image about its middle by its own angle, counter-clockwise like `torch.rot90`; black outside."""
    height, width = images.shape[-2:]
    angles = torch.deg2rad(angles_degrees.to(images.dtype))
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # rows and columns run over [-1, 1] whatever the picture's shape, hence the ratios
    rows = [cosine, -sine * (height / width), zero, sine * (width / height), cosine, zero]
    return affine(images, torch.stack(rows, dim=1).view(-1, 2, 3))


@full_precision
def affine(
    images: Float[Tensor, "B C H W"], matrices: Float[Tensor, "B 2 3"], size: int | None = None, mirrored: bool = False
) -> Float[Tensor, "B C h w"]:
    """Warp each image by an affine map of its own, with black outside.

    Args:
        images: any range.
        matrices: map (x, y, 1) in the result to (x, y) in the image; both run from -1 to 1 between the
            outer edges of the picture, x to the right and y down.
        size: side of the result; None: as the image.
        mirrored: whether the image is mirrored outside, in place of black.

    Samples without antialiasing: crop or resize first where the map shrinks the picture.
    """
    height, width = (size, size) if size else (images.shape[-2], images.shape[-1])
    shape = [len(images), images.shape[1], height, width]
    grid = F.affine_grid(matrices.to(images.dtype), shape, align_corners=False)
    outside = "reflection" if mirrored else "zeros"
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=outside, align_corners=False)


@full_precision
def project(
    images: Float[Tensor, "B C H W"], matrices: Float[Tensor, "B 3 3"], outside: float | None = 0.0
) -> Float[Tensor, "B C H W"]:
    """Warp each image by a projective map of its own.

    Args:
        images: any range.
        matrices: map (x, y, 1) in the result to a multiple of (x, y, 1) in the image, in the coordinates of `affine`.
        outside: value of what lies outside the image; None: the image is mirrored there.

    Like `affine` it samples without antialiasing. What a map puts behind the viewer counts as outside.
    """
    height, width = images.shape[-2:]
    matrices = matrices.to(images.dtype)
    across, down = _middles(width, images), _middles(height, images)
    linear = [matrices[:, row, 0, None, None] * across + matrices[:, row, 1, None, None] * down[:, None]
              for row in range(3)]  # fmt: skip
    x, y, depth = (part + matrices[:, row, 2, None, None] for row, part in enumerate(linear))  # [B, H, W] each
    visible = depth > NEAREST
    grid = torch.stack([torch.where(visible, part / depth, OUTSIDE) for part in (x, y)], dim=3)  # [B, H, W, 2]
    grid = grid.clamp_(-OUTSIDE, OUTSIDE)
    mode = "zeros" if outside is not None else "reflection"
    sampled = F.grid_sample(images, grid, mode="bilinear", padding_mode=mode, align_corners=False)
    if outside:
        covered = _covered(grid[..., 0], width) * _covered(grid[..., 1], height)
        sampled += (1 - covered)[:, None] * outside
    return sampled


def _middles(count: int, like: Tensor) -> Float[Tensor, " {count}"]:
    """Give where the middles of pixels lie along a side from -1 to 1."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) * 2 + (1 - count)) / count


def _covered(places: Float[Tensor, "B H W"], count: int) -> Float[Tensor, "B H W"]:
    """Give what share of the bilinear weights falls on pixels of the image, along one side."""
    pixels = ((places + 1) * count - 1) / 2
    return torch.minimum(pixels + 1, count - pixels).clamp_(0, 1)
