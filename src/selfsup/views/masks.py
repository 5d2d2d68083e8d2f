"""Holes to be filled in: which pixels of each image are cut out, drawn afresh for each image and step.

A hole is true where a pixel is dropped, the same in all channels; `~hole` is what is kept.
"""

import math
from functools import partial
from itertools import accumulate

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from selfsup import draws
from selfsup.views.pieces import in_pieces

LARGEST = 1 / 4
"""Share of the image that a random hole never exceeds (paper; the released code takes 20 to 30 %)."""

SQUARES, LEAST_SIDE, MOST_SIDE = 5, 3 / 16, 5 / 16
"""Squares that are tried for a block hole, and their sides in shares of the image's: 6 to 10 px of 32."""

POLYGONS, CORNERS, INNERMOST, STRETCH = 2, 8, 0.3, 1.6
"""Polygons that make a region, their corners, the least radius of a corner in shares of the largest, and how
many times longer than broad they can be."""


def centre(images: Float[Tensor, "B C S S"], side: int) -> Bool[Tensor, "B 1 S S"]:
    """Cut the same square of `side` pixels out of the middle of every image."""
    first = (images.shape[-1] - side) // 2
    hole = images.new_zeros(len(images), 1, *images.shape[-2:], dtype=torch.bool)
    hole[..., first : first + side, first : first + side] = True
    return hole


def blocks(images: Float[Tensor, "B C S S"]) -> Bool[Tensor, "B 1 S S"]:
    """Cut squares out of each image, anywhere and possibly overlapping, as many of five as a quarter has room for."""
    side = images.shape[-1]
    drawn = draws.uniform(images, 3, SQUARES, 1)
    return in_pieces(partial(_blocks, side=side), drawn, drawn, values=SQUARES * side**2)


def region(images: Float[Tensor, "B C S S"]) -> Bool[Tensor, "B 1 S S"]:
    """Cut an irregular region out of each image, anywhere: two random polygons, grown until they cover a quarter.

    A polygon has its corners all around a middle point, so that how far it must be grown to reach a pixel
    has a closed form; the pixels it reaches first are cut out. What sticks out of the image does not count.
    """
    side = images.shape[-1]
    drawn = draws.uniform(images, POLYGONS, CORNERS + 5)
    return in_pieces(partial(_region, side=side), drawn, drawn, values=6 * POLYGONS * side**2)


def grown(hole: Bool[Tensor, "B 1 S S"], pixels: int) -> Bool[Tensor, "B 1 S S"]:
    """Let a hole grow by so many pixels on every side, in squares, within the image."""
    if pixels == 0:
        return hole
    return F.max_pool2d(hole.float(), 2 * pixels + 1, 1, pixels) > 0


def _blocks(_: Tensor, drawn: Float[Tensor, "B 3 K 1"], side: int) -> Bool[Tensor, "B 1 {side} {side}"]:
    least, most = max(1, round(LEAST_SIDE * side)), max(1, round(MOST_SIDE * side))
    size, down, across = drawn.unbind(1)  # [B, K, 1] each
    size = (least + size * (most - least + 1)).floor()
    rows, columns = (_within((place * (side - size + 1)).floor(), size, side) for place in (down, across))
    squares = rows[:, :, :, None] & columns[:, :, None, :]  # [B, K, S, S]
    covered = torch.stack(list(accumulate(squares.unbind(1), torch.logical_or)), dim=1)  # by the first k, each k
    fitting = (covered.sum((2, 3)) <= LARGEST * side**2).sum(1)  # at least 1: one square is a tenth of the image
    return covered[torch.arange(len(drawn), device=drawn.device), fitting - 1][:, None]


def _within(first: Float[Tensor, "B K 1"], size: Float[Tensor, "B K 1"], side: int) -> Bool[Tensor, "B K {side}"]:
    """Say which of the pixels of a line lie in a stretch."""
    pixels = torch.arange(side, device=first.device)
    return (pixels >= first) & (pixels < first + size)


def _region(_: Tensor, drawn: Float[Tensor, "B P D"], side: int) -> Bool[Tensor, "B 1 {side} {side}"]:
    reach = reaches(drawn, side).amin(1).flatten(1)  # [B, S*S]
    room = int(LARGEST * side**2)
    return (reach < reach.kthvalue(room + 1, dim=1, keepdim=True).values).view(-1, 1, side, side)


def reaches(drawn: Float[Tensor, "B P D"], side: int) -> Float[Tensor, "B P {side} {side}"]:
    """Say by which factor each polygon must be grown from its middle point to reach each pixel.

    Args:
        drawn: numbers in [0, 1): place (2), turn, stretch and size of each polygon, then the radii of its corners.
        side: of the image in pixels.
    """
    place, turn, stretch, size = drawn[..., :2], drawn[..., 2], drawn[..., 3], drawn[..., 4]
    # the others lie beside the first, so that they often make one region with it
    place = torch.cat([place[:, :1], place[:, :1] + (place[:, 1:] - 0.5) / 2], dim=1) * side
    pixels = torch.arange(side, device=drawn.device) + 0.5
    right = (pixels - place[..., :1])[:, :, None, :]  # [B, P, 1, S]
    down = (pixels - place[..., 1:])[:, :, :, None]  # [B, P, S, 1]
    turn, stretch = turn * 2 * math.pi, STRETCH ** (stretch - 0.5)
    cosine, sine = (part[..., None, None] for part in (turn.cos(), turn.sin()))
    x = (cosine * right + sine * down) * stretch[..., None, None]
    y = (cosine * down - sine * right) / stretch[..., None, None]
    sector = torch.atan2(y, x).mul_(CORNERS / (2 * math.pi)).floor_().long().remainder_(CORNERS).flatten(2)
    across, along = edges(INNERMOST + (1 - INNERMOST) * drawn[..., 5:]).unbind(3)  # [B, P, K] each
    reach = across.gather(2, sector).view_as(x) * x + along.gather(2, sector).view_as(y) * y
    return reach / (0.5 + 0.5 * size[..., None, None])


def edges(radii: Float[Tensor, "B P K"]) -> Float[Tensor, "B P K 2"]:
    """Give for each edge of a polygon the vector whose product with every point of that edge is 1.

    Args:
        radii: of the corners, which lie at even angles, the first to the right.
    """
    angles = torch.arange(radii.shape[-1], device=radii.device) * (2 * math.pi / radii.shape[-1])
    corners = radii[..., None] * torch.stack([angles.cos(), angles.sin()], dim=-1)
    following = corners.roll(-1, dims=2)
    (x, y), (to_x, to_y) = corners.unbind(3), following.unbind(3)
    return torch.stack([to_y - y, x - to_x], dim=3) / (x * to_y - y * to_x)[..., None]
