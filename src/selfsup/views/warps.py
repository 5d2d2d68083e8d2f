"""Turns and affine warps of whole batches by bilinear sampling, with black outside the picture."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from selfsup.views.precision import full_precision


@full_precision
def turn(images: Float[Tensor, "B C H W"], angles_degrees: Float[Tensor, " B"]) -> Float[Tensor, "B C H W"]:
    """Turn each image about its middle by its own angle, counter-clockwise like `torch.rot90`."""
    height, width = images.shape[-2:]
    angles = torch.deg2rad(angles_degrees.to(images.dtype))
    cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # rows and columns run over [-1, 1] whatever the picture's shape, hence the ratios
    rows = [cosine, -sine * (height / width), zero, sine * (width / height), cosine, zero]
    return affine(images, torch.stack(rows, dim=1).view(-1, 2, 3))


@full_precision
def affine(
    images: Float[Tensor, "B C H W"], matrices: Float[Tensor, "B 2 3"], size: int | None = None
) -> Float[Tensor, "B C h w"]:
    """Warp each image by an affine map of its own.

    Args:
        images: any range.
        matrices: map (x, y, 1) in the result to (x, y) in the image; both run from -1 to 1 between the
            outer edges of the picture, x to the right and y down.
        size: side of the result; None: as the image.

    Samples without antialiasing: crop or resize first where the map shrinks the picture.
    """
    height, width = (size, size) if size else (images.shape[-2], images.shape[-1])
    shape = [len(images), images.shape[1], height, width]
    grid = F.affine_grid(matrices.to(images.dtype), shape, align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
