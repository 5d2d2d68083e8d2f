"""What fixed wavelets find in an image, as a picture: strength is brightness, direction is colour."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from selfsup.networks.scattering import Scattering
from selfsup.views import hsv, sheets


def orders_sheet(network: Scattering, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "3 H W"]:
    """Draw for each image, in a column: itself, its averages, and its first orders, the finest scale first.

    The colour of a place is the mean direction of its edges (lying ones green, upright ones violet), its brightness
    their strength, its paleness how much all directions are alike.

    Args:
        network: of the images' size.
        images: in [0, 1].
    """
    side = images.shape[-1]
    network = Scattering(side, network.scales, network.angles)  # on the images' device
    with torch.no_grad():
        zeroth, first = network.maps(images)["order1"].tensor_split((3,), dim=1)
    first = first.unflatten(1, (3, network.scales, network.angles)).mean(1)  # [B, J, L, s, s]
    drawn = [_enlarged(_directions(first[:, scale]), side) for scale in range(network.scales)]
    return sheets.rows([images, _enlarged(zeroth, side), *drawn])


def _directions(strengths: Float[Tensor, "B L s s"]) -> Float[Tensor, "B 3 s s"]:
    """Give colours: hue of the doubled mean angle, saturation by how much one angle leads, value by strength."""
    angles = torch.arange(strengths.shape[1]) * (2 * math.pi / strengths.shape[1])
    total = strengths.sum(1)
    across, along = ((strengths * turn[:, None, None]).sum(1) for turn in (angles.cos(), angles.sin()))
    hue = torch.atan2(along, across) / (2 * math.pi) % 1
    saturation = (across.square() + along.square()).sqrt() / total.clamp_min(1e-6)
    value = total / total.amax((1, 2), keepdim=True).clamp_min(1e-6)
    return hsv.to_rgb(torch.stack([hue, (2 * saturation).clamp(0, 1), value], dim=1))


def _enlarged(maps: Float[Tensor, "B 3 s s"], side: int) -> Float[Tensor, "B 3 S S"]:
    return F.interpolate(maps, side, mode="nearest")
