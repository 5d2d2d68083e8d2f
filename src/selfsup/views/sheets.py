"""Contact sheets: rows of images in one picture."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def rows(images: Sequence[Float[Tensor, "B 3 S S"]], gap: int = 2) -> Float[Tensor, "3 H W"]:
    """Lay batches out as rows of tiles on white, values clipped to [0, 1].

    Args:
        images: one batch per row, all of one shape.
        gap: white pixels between tiles.
    """
    grid = torch.stack([row.detach().float().clamp(0, 1) for row in images])  # [R, B, 3, S, S]
    padded = torch.nn.functional.pad(grid, (0, gap, 0, gap), value=1.0)
    return padded.permute(2, 0, 3, 1, 4).reshape(3, grid.shape[0] * (grid.shape[3] + gap), -1)[:, :-gap, :-gap]
