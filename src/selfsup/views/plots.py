"""Line plots of signals, drawn as pictures without a plotting library."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

COLOURS = ((31, 119, 180), (214, 96, 20), (44, 140, 60), (148, 80, 180), (140, 86, 75), (90, 90, 90))
"""Of the lines of the first six channels, sRGB; then they repeat."""
BEHIND = 0.8
"""Gray of the line behind the others."""
_THICK = 0.7  # half the thickness of a line in pixels


def rows(
    signals: Sequence[Float[Tensor, "B C L"]], *, behind: int | None = None, width: int = 300, height: int = 90
) -> Float[Tensor, "3 H W"]:
    """Draw batches of signals as rows of line plots on white, a colour for each channel.

    The plots of one signal share their scale, that of the first row with a margin; what leaves it is cut off.

    Args:
        signals: one batch per row, all of one shape, channels in units that can be compared.
        behind: a row that is drawn in gray behind all others, to compare them with.
        width: of a plot in pixels.
        height: of a plot in pixels.
    """
    first = signals[0].flatten(1).float()
    low, high = first.amin(1), first.amax(1)
    margin = 0.15 * (high - low).clamp(min=1e-6)
    drawn = []
    for number, row in enumerate(signals):
        picture = torch.ones(len(row), 3, height, width, device=row.device)
        if behind is not None and number != behind:
            gray = picture.new_full((3,), BEHIND)
            for line in _lines(signals[behind], low - margin, high + margin, width, height):
                picture = _over(picture, line, gray)
        for channel, line in enumerate(_lines(row, low - margin, high + margin, width, height)):
            picture = _over(picture, line, picture.new_tensor(COLOURS[channel % len(COLOURS)]) / 255)
        drawn.append(_framed(picture))
    grid = F.pad(torch.stack(drawn), (0, 4, 0, 4), value=1.0)  # [R, B, 3, H, W]
    return grid.permute(2, 0, 3, 1, 4).reshape(3, len(drawn) * grid.shape[3], -1)[:, :-4, :-4]


def _lines(
    signals: Float[Tensor, "B C L"], low: Float[Tensor, " B"], high: Float[Tensor, " B"], width: int, height: int
) -> list[Float[Tensor, "B {height} {width}"]]:
    """Give for each channel how much of every pixel its line covers.

    In a column of pixels a line reaches from the least to the greatest value there, so that no peak is lost.
    """
    scaled = (signals.detach().float() - low.view(-1, 1, 1)) / (high - low).view(-1, 1, 1)
    each = max(4, -(-signals.shape[2] // width))
    fine = F.interpolate(scaled, width * each + 1, mode="linear", align_corners=True)
    pieces = fine.unfold(2, each + 1, each)  # [B, C, width, each + 1], a column and where the next one begins
    greatest, least = pieces.amax(3), pieces.amin(3)
    if signals.shape[2] > width:  # peaks between the places of interpolation
        greatest = torch.maximum(greatest, F.adaptive_max_pool1d(scaled, width))
        least = torch.minimum(least, -F.adaptive_max_pool1d(-scaled, width))
    top, bottom = ((1 - value).clamp(-1, 2) * height for value in (greatest, least))  # downwards
    edges = torch.arange(height, device=signals.device).view(-1, 1)
    covered = torch.minimum(bottom[:, :, None] + _THICK, edges + 1) - torch.maximum(top[:, :, None] - _THICK, edges)
    return list(covered.clamp(0, 1).unbind(1))


def _over(
    picture: Float[Tensor, "B 3 H W"], covered: Float[Tensor, "B H W"], colour: Float[Tensor, " 3"]
) -> Float[Tensor, "B 3 H W"]:
    return torch.lerp(picture, colour.view(3, 1, 1).expand_as(picture), covered[:, None])


def _framed(picture: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Put a thin gray frame around each plot."""
    inside = picture[..., 1:-1, 1:-1]
    return F.pad(inside, (1, 1, 1, 1), value=0.75)
