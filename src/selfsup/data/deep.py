"""Images with more than 8 bits per channel: one range of values for a whole folder becomes black to white."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Num, Shaped, UInt8

PERCENTILES = (0.1, 99.9)
SAMPLE = 64
"""Files, evenly spread over the sorted listing, that decide on the range."""


class Deep(NamedTuple):
    """The values of an image before they are scaled."""

    kind: str
    """16-bit, 32-bit or float: each has a range of its own."""
    values: Shaped[np.ndarray, "C H W"]


class NeedsRange(Exception):
    """Say that an image has more than 8 bits per channel, and that no range for it is known yet."""


def deep_square(values: Shaped[np.ndarray, "C H W"], size: int, low: float, high: float) -> UInt8[np.ndarray, "3 S S"]:
    """Map values from [low, high] to bytes and cut and resize the centre square; what is not finite becomes `low`."""
    import torch
    from torch.nn.functional import interpolate

    height, width = values.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    part = values[:3, top : top + side, left : left + side].astype(np.float32)
    part = np.nan_to_num(part, nan=low, posinf=high, neginf=low)
    part = np.clip((part - low) / max(high - low, 1e-12), 0, 1) * 255
    image = torch.from_numpy(part)[None]
    if side != size:
        image = interpolate(image, size=(size, size), mode="bilinear", antialias=True)
    scaled = image[0].round().clamp(0, 255).to(torch.uint8).numpy()
    return np.ascontiguousarray(np.broadcast_to(scaled[: 1 if len(scaled) < 3 else 3], (3, size, size)))


def value_range(values: Num[np.ndarray, " n"]) -> tuple[float, float]:
    """The range of values that becomes black to white: from the 0.1st to the 99.9th percentile."""
    if not len(values):
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, PERCENTILES))
    return low, high if high > low else low + 1.0


def range_sentence(kind: str, count: int, low: float, high: float) -> str:
    """Say which values of the images of a kind become black and white."""
    images = "1 image has" if count == 1 else f"{count} images have"
    what = f"{kind} values" if kind == "float" else f"{kind.replace('-', ' ')}s per channel"
    became = f"{low:.6g} to {high:.6g} (0.1 to 99.9 percentile of all) became black to white"
    return f"{images} {what}: {became}, alike in every image."
