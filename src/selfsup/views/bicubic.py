"""Bicubic resizing of whole batches: antialiased, on floats, as MATLAB's imresize does it.

Pillow's is the same up to rounding; OpenCV's and torch's without `antialias` are not, and give other decibels.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from selfsup.views.precision import full_precision


@full_precision
def shrunk(images: Float[Tensor, "B C S S"], factor: int) -> Float[Tensor, "B C s s"]:
    """Shrink images in [0, 1] by a factor that divides their side, clipped to [0, 1]."""
    return _resized(images, images.shape[-1] // factor)


@full_precision
def enlarged(images: Float[Tensor, "B C s s"], factor: int) -> Float[Tensor, "B C S S"]:
    """Enlarge images in [0, 1] by a factor, clipped to [0, 1]; the line that super-resolution has to beat."""
    return _resized(images, images.shape[-1] * factor)


def _resized(images: Tensor, side: int) -> Tensor:
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp_(0, 1)
