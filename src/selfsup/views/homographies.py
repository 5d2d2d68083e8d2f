"""Affine and projective maps of the plane as 3x3 matrices, and the random ones of AET.

All matrices act on points (x, y, 1) whose coordinates run from -1 to 1 between the outer edges of the picture, x to
the right and y down, whatever its size. A transformation stands as the matrix that samples it: it takes a point of
the transformed picture to the point of the original that is shown there. The last entry is 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from selfsup.views.precision import full_precision

FRAME = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))
"""The corners of a picture: top left, top right, bottom right, bottom left."""

TURN, SHIFT, SHRINK, GROW, SHEAR = 180.0, 0.2, 0.7, 1.3, 30.0
"""Ranges of AET's affine maps: degrees either way, share of the side either way, factors, degrees either way."""

NEAR, FAR, JITTER = 0.8, 1.2, 8
"""Ranges of AET's projective maps: factors of the corners' distance, and the side over the largest corner shift."""


@full_precision
def affine(
    angles_degrees: Float[Tensor, " B"],
    shifts: Float[Tensor, "B 2"],
    scales: Float[Tensor, " B"],
    shears_degrees: Float[Tensor, " B"],
) -> Float[Tensor, "B 3 3"]:
    """Give the maps that shear, scale and turn a picture about its middle and then shift it.

    Args:
        angles_degrees: clockwise.
        shifts: right and down, in half sides.
        scales: factors of the picture; above 1 it grows.
        shears_degrees: turn the vertical axis alone, clockwise.

    Source: torchvision 0.2.1, which AET's released code uses; later versions stretch the sheared axis.
    """
    angle, leaned = torch.deg2rad(angles_degrees), torch.deg2rad(angles_degrees + shears_degrees)
    columns = [scales * angle.cos(), scales * angle.sin(), -scales * leaned.sin(), scales * leaned.cos()]
    a, c, b, d = columns  # the picture's axes go to the columns (a, c) and (b, d)
    zero, one = torch.zeros_like(scales), torch.ones_like(scales)
    forward = torch.stack([a, b, shifts[:, 0], c, d, shifts[:, 1], zero, zero, one], dim=1).view(-1, 3, 3)
    return inverse(forward)


@full_precision
def onto(corners: Float[Tensor, "B 4 2"]) -> Float[Tensor, "B 3 3"]:
    """Give the maps that take the corners of the frame, in its order, to four points of which no three are in line.

    Each point is a combination of the other three. Weighing the first three of both squares so that the fourth is
    their plain sum fixes the map; the frame's own weights are 1, -1 and 1.
    """
    points = torch.cat([corners, torch.ones_like(corners[..., :1])], dim=2).mT  # [B, 3, 4]
    first, second, third, fourth = points.unbind(2)
    weights = [_volume(fourth, second, third), -_volume(first, fourth, third), _volume(first, second, fourth)]
    to_points = torch.stack([first, second, third], dim=2) * torch.stack(weights, dim=1)[:, None]  # [B, 3, 3]
    # inverse of the matrix whose columns are the frame's first three corners
    from_frame = corners.new_tensor([[-0.5, 0.0, 0.5], [0.5, -0.5, 0.0], [0.0, 0.5, 0.5]])
    return _scaled(to_points @ from_frame)


@full_precision
def corners_of(matrices: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 4 2"]:
    """Give the points to which maps take the corners of the frame."""
    frame = torch.tensor(FRAME, dtype=matrices.dtype, device=matrices.device)
    points = frame @ matrices[:, :, :2].mT + matrices[:, None, :, 2]  # [B, 4, 3]
    return points[..., :2] / points[..., 2:]


@full_precision
def inverse(matrices: Float[Tensor, "B 3 3"]) -> Float[Tensor, "B 3 3"]:
    """Give the maps that undo maps; not finite where the map flattens the plane."""
    first, second, third = matrices.unbind(1)
    columns = [torch.linalg.cross(second, third), torch.linalg.cross(third, first), torch.linalg.cross(first, second)]
    return _scaled(torch.stack(columns, dim=2))


@full_precision
def in_pixels(matrices: Float[Tensor, "B 3 3"], side: int) -> Float[Tensor, "B 3 3"]:
    """Give the same maps in pixels of a picture, counted from its top left corner to its middle at side / 2."""
    half = side / 2
    to_pixels = matrices.new_tensor([[half, 0, half], [0, half, half], [0, 0, 1]])
    from_pixels = matrices.new_tensor([[1 / half, 0, -1], [0, 1 / half, -1], [0, 0, 1]])
    return _scaled(to_pixels @ matrices @ from_pixels)


@full_precision
def from_pixels(matrices: Float[Tensor, "B 3 3"], side: int) -> Float[Tensor, "B 3 3"]:
    """Undo `in_pixels`."""
    half = side / 2
    to_pixels = matrices.new_tensor([[half, 0, half], [0, half, half], [0, 0, 1]])
    to_frame = matrices.new_tensor([[1 / half, 0, -1], [0, 1 / half, -1], [0, 0, 1]])
    return _scaled(to_frame @ matrices @ to_pixels)


class Family(NamedTuple):
    """Maps from which one is drawn."""

    numbers: int
    """How many uniform numbers decide on a map."""
    pick: Callable[[Tensor, int], Tensor]
    """Turn uniform numbers [B, numbers] in [0, 1), and the side in pixels, into matrices [B, 3, 3]."""


@full_precision
def pick_affine(uniform: Float[Tensor, "B 5"], side: int) -> Float[Tensor, "B 3 3"]:
    """Turn, shift by whole pixels, scale and shear, each evenly within AET's range; 0.5 changes nothing.

    Where the largest shift is no whole number of pixels, the one below is the largest.
    """
    angle, scale, shear = uniform[:, 0], uniform[:, 3], uniform[:, 4]
    reach = int(SHIFT * side)
    shift = ((uniform[:, 1:3] * 2 - 1) * (SHIFT * side)).round().clamp(-reach, reach) * (2 / side)
    return affine((angle * 2 - 1) * TURN, shift, SHRINK + scale * (GROW - SHRINK), (shear * 2 - 1) * SHEAR)


@full_precision
def pick_projective(uniform: Float[Tensor, "B 10"], side: int) -> Float[Tensor, "B 3 3"]:
    """Move the corners of a picture: scale, turn clockwise by a quarter or more, shift each by whole pixels.

    Scale is even in [0.8, 1.2]; shifts reach an eighth of the side, so that the corners stay convex. The first
    number at 0.5, the second below 0.25 and the others at 0.5 change nothing.
    """
    reach = side // JITTER
    scale = NEAR + uniform[:, 0] * (FAR - NEAR)
    turns = (uniform[:, 1] * 4).long()
    shift = ((uniform[:, 2:] * (2 * reach + 1)).floor() - reach) * (2 / side)
    frame = torch.tensor(FRAME, dtype=uniform.dtype, device=uniform.device)
    order = (torch.arange(4, device=uniform.device) + turns[:, None]) % 4  # [B, 4]
    corners = frame[order] * scale[:, None, None] + shift.view(-1, 4, 2)
    return inverse(onto(corners))


FAMILIES = {"affine": Family(5, pick_affine), "projective": Family(10, pick_projective)}
"""The transformations of AET."""


def _volume(one: Tensor, two: Tensor, three: Tensor) -> Tensor:
    """Give the determinant of the matrix of three columns."""
    return torch.linalg.vecdot(one, torch.linalg.cross(two, three))  # type: ignore[no-any-return]


def _scaled(matrices: Tensor) -> Tensor:
    """Make the last entry 1, which changes nothing about the map."""
    return matrices / matrices[:, 2:, 2:]
