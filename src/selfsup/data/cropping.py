"""Cut augmented crops out of large pictures: from a box to bytes, each a function of (seed, number) alone.

A pyramid of halved pictures is made once, so that a crop, however large, is read from some ten thousand pixels.
What follows is done for a whole batch, because one by one the calls would cost more than the work.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from selfsup import draws
from selfsup.views import color, crops, warps
from selfsup.views.color import Changes

if TYPE_CHECKING:
    from selfsup.data.single import SingleImage

GAP = 2
"""How many times larger than its result a crop is at least when it is read, where the picture is large enough."""
_NOISE = 0x401


class Pyramid:
    """A picture at full size, at a half, a quarter and so on."""

    def __init__(self, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        from PIL import Image

        self.height, self.width = picture.shape[:2]
        level, self.levels = Image.fromarray(picture), [torch.from_numpy(np.require(picture, requirements=["C", "W"]))]
        while min(level.size) > 1:
            level = level.reduce(2)  # means of two by two pixels
            self.levels.append(torch.from_numpy(np.array(level)))

    def cut(self, box: Sequence[float], side: int) -> UInt8[Tensor, "1 3 {side} {side}"]:
        """Resize a box (top, left, height, width in pixels of the full size) to a square, antialiased and bicubic."""
        gap = min(box[2:]) / (GAP * side)
        level = min(int(math.log2(max(1.0, gap))), len(self.levels) - 1)
        top, left, height, width = (round(value / 2**level) for value in box)
        part = self.levels[level][top : top + max(1, height), left : left + max(1, width)]
        # bytes with the channels last: four times as fast as floats, or as Pillow
        return interpolate(part.permute(2, 0, 1)[None], size=(side, side), mode="bicubic", antialias=True)


class Drawn(NamedTuple):
    """What was decided for each of n crops."""

    boxes: Float[np.ndarray, "n 4"]
    """Top, left, height and width in pixels of the picture."""
    matrices: Float[Tensor, "n 2 3"]
    """From the crop to the resized box, as `warps.affine` takes them."""
    changes: Changes
    """Of the colours."""


def oversize(size: int) -> int:
    """Side to which a box is resized: √2 of the crop's, rounded up to the crop's parity.

    A square turned by any angle finds all of its pixels in it, and without a turn each falls on a pixel.
    """
    side = math.ceil(math.sqrt(2) * size)
    return side + (side - size) % 2


def draw(single: "SingleImage", numbers: Int64[np.ndarray, " n"], height: int, width: int) -> Drawn:
    """Decide where crops lie in a picture of that size, how they are warped, and how their colours change."""
    drawn = torch.from_numpy(draws.hashed(single.seed, numbers, 12 + 2 * crops.TRIES))
    windows, places, angles, coloured, amounts, order, areas, aspects = drawn.split(
        [2, 2, 2, 1, 4, 1, crops.TRIES, crops.TRIES], dim=1
    )
    side = single.window_of(height, width)
    low = min(max(single.area[0], (single.least / side) ** 2), single.area[1])
    boxes = crops.fitting_boxes(
        (low + areas * (single.area[1] - low)) * side**2,
        torch.exp(aspects * math.log(single.ratio[1] / single.ratio[0]) + math.log(single.ratio[0])),
        places, side, side, single.ratio,
    )  # fmt: skip
    boxes[:, :2] += windows * torch.tensor([height - side, width - side])
    turn, shear = torch.deg2rad((2 * angles - 1) * torch.tensor([single.rotation_degrees, single.shear_degrees])).T
    strengths = torch.tensor(single.jitter, dtype=torch.float64)
    amounts = (2 * amounts - 1) * strengths + torch.tensor([1.0, 1.0, 1.0, 0.0])
    changes = Changes(
        amounts.float(),
        torch.tensor(color.ORDERS)[(order[:, 0] * len(color.ORDERS)).long()],
        coloured[:, 0] < single.jitter_probability,
    )
    return Drawn(boxes.numpy(), _inverse(turn, shear, single.size / oversize(single.size)).float(), changes)


def cut(single: "SingleImage", pyramid: Pyramid, numbers: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3 S S"]:
    """Make the crops of these numbers from one picture."""
    drawn = draw(single, numbers, pyramid.height, pyramid.width)
    images = torch.cat([pyramid.cut(box, oversize(single.size)) for box in drawn.boxes.tolist()]).float() / 255
    images = warps.affine(images, drawn.matrices, single.size, mirrored=single.outside == "mirror")
    images = color.adjust(images.clamp_(0, 1), *drawn.changes)
    if single.noise > 0:
        images += single.noise * _noise(single, numbers)
    return (images.clamp_(0, 1) * 255).round_().byte().numpy()


def _inverse(turn: Float[Tensor, " n"], shear: Float[Tensor, " n"], scale: float) -> Float[Tensor, "n 2 3"]:
    """Undo a shear along x followed by a turn (torchvision's RandomAffine), and cut out the middle `scale`."""
    cosine, sine, slope, zero = turn.cos(), turn.sin(), shear.tan(), torch.zeros_like(turn)
    rows = [cosine - slope * sine, sine + slope * cosine, zero, -sine, cosine, zero]
    return scale * torch.stack(rows, dim=1).view(-1, 2, 3)


def _noise(single: "SingleImage", numbers: Int64[np.ndarray, " n"]) -> Float[Tensor, "n 3 S S"]:
    shape = (3, single.size, single.size)
    generators = (np.random.default_rng(draws.mix(single.seed, int(number), _NOISE)) for number in numbers)
    return torch.from_numpy(np.stack([generator.standard_normal(shape, np.float32) for generator in generators]))
