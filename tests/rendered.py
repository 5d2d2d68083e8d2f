"""Random scenes with random truth, as a batch brings them, for tests that train on no real ones."""

import torch
from torch import Tensor
from torch.nn import functional as F


def extra(count: int, side: int, seed: int = 0) -> dict[str, Tensor]:
    """Give smooth pictures, depth from 1 to 5 with nothing seen in some places, unit normals and sparse contours."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 8, 6, 6, generator=generator)
    smooth = F.interpolate(coarse, size=side, mode="bilinear")
    normals = F.normalize(2 * smooth[:, 3:6] - 1, dim=1)
    seen = smooth[:, 6] > 0.2
    return {
        "scenes": smooth[:, :3],
        "depth": (1 + 4 * smooth[:, 6]) * seen,
        "normals": normals * seen[:, None],
        "contours": (smooth[:, 7:] > 0.7).float(),
    }
