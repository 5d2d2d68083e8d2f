"""Turned, moved and scaled windows of whole batches; what lies outside a picture is its mirror image, never a fill."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from selfsup.views.precision import full_precision


@full_precision
def window(
    images: Float[Tensor, "B C S S"],
    shifts: Float[Tensor, "B 2"],
    scales: Float[Tensor, " B"],
    angles_degrees: Float[Tensor, " B"],
    size: int,
) -> Float[Tensor, "B C {size} {size}"]:
    """Cut a square out of each picture and show it at `size`, with bilinear weights.

    Args:
        images: any range.
        shifts: of the square's middle from the picture's, to the right and down, in shares of `size`.
        scales: side of the square in shares of `size`; 1 keeps the scale of things.
        angles_degrees: by which what is seen is turned counter-clockwise.
        size: side of the result in pixels.

    Samples without antialiasing, so scales well above 1 alias.
    """
    side = images.shape[-1]
    angles = torch.deg2rad(angles_degrees.to(images.dtype))
    cosine, sine = angles.cos() * scales, angles.sin() * scales
    across, down = (2 * shifts).unbind(1)
    rows = torch.stack([cosine, -sine, across, sine, cosine, down], dim=1).view(-1, 2, 3) * (size / side)
    grid = F.affine_grid(rows.to(images.dtype), [len(images), images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
