"""Scattering: a cascade of wavelets, moduli and averages that knows images by design and learns nothing."""

import copy
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from selfsup.errors import InputError
from selfsup.networks.fixed import Fixed
from selfsup.views.precision import full_precision

ANGLES = 8
"""Over 180 degrees. The shape of the wavelets depends on it, and all published numbers have 8."""
CACHED = 1 << 18
"""Numbers in the images of a piece on a CPU, for each thread: pieces that stay near the cache are faster."""
HELD = 1 << 23
"""The same on an accelerator; temporaries are a few times as large."""


class Scattering(Fixed):
    """Average the image, its wavelet moduli, and the wavelet moduli of those; each colour by itself.

    Maps are cumulative, as published rows are: `order1` is everything up to the first order, `order2` everything, with
    C * (1 + J L + L^2 J (J - 1) / 2) channels: the averages of all colours, then for each colour its first orders (from
    fine to coarse, each by angle), then for each colour its second orders, sorted by their first path. Maps have
    S // 2^J places a side. Pairs that do not go from finer to coarser are left out: they are nearly zero.

    Args:
        image_size: side S of the images in pixels.
        scales: octaves J; averages reach over 2^J pixels. None: 2 below 64 pixels, 3 below 128, else 4.
        angles: L; the first stands (1/2 - 1/L) * 180 degrees from the rows, and they turn towards the columns.

    Raises:
        InputError: if Kymatio cannot be imported.

    Source: Oyallon and Mallat, 2015, https://arxiv.org/abs/1412.8659; computed by Kymatio,
        https://arxiv.org/abs/1812.11214
    """

    def __init__(self, image_size: int, scales: int | None = None, angles: int = ANGLES) -> None:
        super().__init__("order0", "order1", "order2")
        self.scales = scales_for(image_size) if scales is None else scales
        self.angles = angles
        self.transform = copy.deepcopy(_transform(image_size, self.scales, angles))

    def maps(self, images: Float[Tensor, "B c S S"]) -> dict[str, Tensor]:
        """Give the maps [B, C, s, s] up to each order."""
        on_cpu = images.device.type == "cpu"
        most = max(1, (CACHED * torch.get_num_threads() if on_cpu else HELD) // images[0].numel())
        first = 1 + self.scales * self.angles
        whole = torch.cat([_scattered(piece, self.transform, first) for piece in images.split(most)])
        widths = images.shape[1], images.shape[1] * first, whole.shape[1]
        return {name: whole[:, :width] for name, width in zip(self.stage_names, widths, strict=True)}


def scales_for(image_size: int) -> int:
    """Give the octaves for images of a side, so that maps have 8 to 16 places a side."""
    return 2 if image_size < 64 else 3 if image_size < 128 else 4


@full_precision
def _scattered(images: Float[Tensor, "B c S S"], transform: nn.Module, first: int) -> Float[Tensor, "B C s s"]:
    """Give all orders in the precision of the images, which Kymatio wants its filters to have too.

    Args:
        images: of the size of the transform.
        transform: Kymatio's.
        first: channels of a colour up to the first order.
    """
    filters = {name: value.to(images.dtype) for name, value in transform.named_buffers()}
    found: Tensor = functional_call(transform, filters, (images.contiguous(),))  # [B, c, K, s, s]
    return torch.cat([order.flatten(1, 2) for order in found.tensor_split((1, first), dim=2)], dim=1)


@lru_cache(maxsize=8)
def _transform(image_size: int, scales: int, angles: int) -> nn.Module:
    """Build Kymatio's network, which takes seconds for large images: its filters are thinned out in Python."""
    try:
        # `kymatio.torch` brings its 3-D part along, which wants a function that SciPy 1.17 has no more
        from kymatio.scattering2d.frontend.torch_frontend import ScatteringTorch2D
    except ImportError as error:
        raise InputError(
            f"Scattering needs Kymatio, which could not be imported ({error}); try `pip install kymatio`."
        ) from error
    transform: nn.Module = ScatteringTorch2D(scales, (image_size, image_size), L=angles)
    # no state: a file of weights has nothing of the filters, which follow from the size
    for name, filters in list(transform.named_buffers()):
        transform.register_buffer(name, filters, persistent=False)
    return transform
