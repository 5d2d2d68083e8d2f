"""A head that says something at every place of a grid: from an encoder's map to numbers per cell."""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

WIDEST, NARROWEST = 256, 32


class DenseHead(nn.Module):
    """Bring a map to the side of a grid by doubling, with no connection to earlier layers, and read each place.

    Each doubling is a transposed 4x4 convolution with stride 2, batch norm and ReLU; channels halve from at
    most 256 to no fewer than 32. Where there is nothing to double, a 3x3 convolution stands in. Sides that are
    no power of two apart are resized. A linear 1x1 convolution gives the numbers.

    Args:
        width: channels of the map.
        side: of the map.
        cells: along a side of the grid.
        out: numbers per cell.
        behind: width of the vector, of encoders with parameters behind their last map: it is added to every
            place of the map, or they would stay as they were drawn. 0: the map alone.
        widest: most channels of an upsampled map.

    Source: the transposed convolution and the 1x1 convolution of richzhang/colorization, with batch norm.
    """

    def __init__(self, width: int, side: int, cells: int, out: int, behind: int = 0, *, widest: int = WIDEST) -> None:
        super().__init__()
        self.cells = cells
        self.context = nn.Linear(behind, width) if behind else None
        layers: list[nn.Module] = []
        for _ in range(max(0, round(math.log2(cells / side)))):
            narrower = max(NARROWEST, min(widest, width // 2))
            layers += [nn.ConvTranspose2d(width, narrower, 4, 2, 1, bias=False), *_norm(narrower)]
            width = narrower
        if not layers:
            narrower = max(NARROWEST, min(widest, width))
            layers = [nn.Conv2d(width, narrower, 3, padding=1, bias=False), *_norm(narrower)]
            width = narrower
        self.upsample = nn.Sequential(*layers)
        self.numbers = nn.Conv2d(width, out, 1)

    def forward(self, last_map: Float[Tensor, "B C h w"], vector: Float[Tensor, "B D"]) -> Float[Tensor, "B K s s"]:
        """Give the numbers of each cell."""
        if self.context is not None:
            last_map = last_map + self.context(vector)[:, :, None, None]
        upsampled: Tensor = self.upsample(last_map)
        if upsampled.shape[2:] != (self.cells, self.cells):
            upsampled = F.interpolate(upsampled, (self.cells, self.cells), mode="bilinear")
        numbers: Tensor = self.numbers(upsampled)
        return numbers


def _norm(width: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
