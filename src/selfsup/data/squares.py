"""Cut and resize: the centre square of images of bytes, antialiased."""

from typing import Any

import numpy as np
from jaxtyping import UInt8


def square(image: UInt8[np.ndarray, "H W 3"] | Any, size: int) -> UInt8[np.ndarray, "3 S S"]:
    """Cut the centre square of one image, an array or a tensor [H, W, 3], and resize it.

    In this layout torch resizes bytes five times faster than planes [3, H, W].
    """
    import torch
    from torch.nn.functional import interpolate

    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = image[top : top + side, left : left + side]
    if side != size:
        if isinstance(image, np.ndarray):
            image = torch.frombuffer(bytearray(np.ascontiguousarray(image)), dtype=torch.uint8).view(side, side, 3)
        planes = image.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
        return np.asarray(interpolate(planes, size=(size, size), mode="bilinear", antialias=True)[0])
    return np.asarray(image).transpose(2, 0, 1)


def squares(batch: UInt8[np.ndarray, "n 3 H W"], size: int) -> UInt8[np.ndarray, "n 3 S S"]:
    """Cut the centre squares of images of one size and resize them."""
    import torch
    from torch.nn.functional import interpolate

    height, width = batch.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    batch = batch[:, :, top : top + side, left : left + side]
    if side == size:
        return batch
    tensor = torch.from_numpy(np.array(batch))
    return np.asarray(interpolate(tensor, size=(size, size), mode="bilinear", antialias=True))
