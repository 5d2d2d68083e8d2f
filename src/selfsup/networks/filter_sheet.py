"""A picture of what an encoder's first layer looks for."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.networks.encoders import Encoder
from selfsup.views import sheets

COLUMNS = 16
SIDE = 42
"""Pixels of a tile, about."""


def filter_sheet(encoder: Encoder) -> Float[Tensor, "3 H W"] | None:
    """Draw the filters of the first convolution over images, each scaled to its own largest weight; gray is 0.

    Channels are red, green and blue; of two (edges, colours) blue stays 0. None where the first convolution looks at
    single pixels, or at signals.
    """
    first = next((m for m in encoder.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or first.kernel_size[0] == 1:
        return None
    weights = first.weight.detach().float().cpu()[:, :3]
    weights = F.pad(weights, (0, 0, 0, 0, 0, 3 - weights.shape[1]))  # [K, 3, k, k]
    tiles = 0.5 + 0.5 * weights / weights.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    tiles = tiles.repeat_interleave(-(-SIDE // tiles.shape[2]), 2).repeat_interleave(-(-SIDE // tiles.shape[3]), 3)
    columns = min(COLUMNS, len(tiles))
    tiles = F.pad(tiles, (0, 0, 0, 0, 0, 0, 0, -len(tiles) % columns), value=1.0)
    return sheets.rows(list(torch.split(tiles, columns)))
