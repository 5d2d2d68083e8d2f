"""Features of a frozen encoder: every stage in one pass over the images, without touching the encoder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from selfsup.data.batches import as_floats
from selfsup.data.images import ImageStore
from selfsup.errors import InputError
from selfsup.networks.encoders import Encoder
from selfsup.progress import silent
from selfsup.views import crops

Tell = Callable[[str, int, int], None]
"""Is told what is done, how much of it, and of how much."""


def stage_features(
    encoder: Encoder,
    images: ImageStore,
    *,
    max_width: int = 1024,
    batch_size: int = 256,
    stages: Sequence[str] | None = None,
    per_clip: bool = False,
    progress: Tell = silent,
) -> dict[str, Float[np.ndarray, "N _"]]:
    """Give the features [N, C*s*s] of every stage for the centre view of every image.

    Maps are average-pooled to the largest side s with C*s*s <= max_width, at least 1 and at most their own.

    Args:
        encoder: is run in eval mode and left exactly as it was, batch norms and modes included.
        images: read in order, all of them.
        max_width: largest number of features of a stage (a stage with more channels keeps its channels).
        batch_size: images per forward pass.
        stages: names of the stages wanted; default all.
        per_clip: whether the images are frames, and a row is the mean over a clip.
        progress: told the number of images done.
    """
    wanted = tuple(encoder.stage_names) if stages is None else tuple(stages)
    rows = _Rows(images, per_clip)
    found = {name: rows.empty() for name in wanted}
    with frozen(encoder):
        for start, batch in batches(images, encoder.image_size, batch_size, device_of(encoder)):
            maps = encoder.stages(batch)
            for name in wanted:
                found[name] = rows.put(found[name], start, pooled(maps[name], max_width).float().cpu().numpy())
            progress("features", start + len(batch), len(images))
    return {name: rows.done(values) for name, values in found.items()}


def vectors(
    encoder: Encoder,
    images: ImageStore,
    *,
    batch_size: int = 256,
    per_clip: bool = False,
    progress: Tell = silent,
) -> Float[np.ndarray, "N D"]:
    """Give the encoder's pooled vector for the centre view of every image, or its mean over every clip."""
    rows = _Rows(images, per_clip)
    found = rows.empty()
    with frozen(encoder):
        for start, batch in batches(images, encoder.image_size, batch_size, device_of(encoder)):
            found = rows.put(found, start, encoder.vector(batch).float().cpu().numpy())
            progress("vectors", start + len(batch), len(images))
    return rows.done(found)


class _Rows:
    """Where what is found of each image goes: to a row of its own, or into the mean over its clip."""

    def __init__(self, images: ImageStore, per_clip: bool) -> None:
        self.clips = images.clips if per_clip else None
        self.count = len(images) if self.clips is None else self.clips.count

    def empty(self) -> np.ndarray:
        """Nothing yet; how wide rows are is known with the first."""
        return np.empty((0, 0))

    def put(self, found: np.ndarray, start: int, rows: Float[np.ndarray, "n D"]) -> np.ndarray:
        if not len(found):  # sums of many frames are kept exactly
            found = np.zeros((self.count, rows.shape[1]), np.float32 if self.clips is None else np.float64)
        if self.clips is None:
            found[start : start + len(rows)] = rows
        else:
            np.add.at(found, self.clips.clip[start : start + len(rows)], rows)
        return found

    def done(self, found: np.ndarray) -> Float[np.ndarray, "N D"]:
        if self.clips is not None:
            found /= np.diff(self.clips.starts)[:, None]
        return found.astype(np.float32, copy=False)


def pooled(maps: Float[Tensor, "B C *s"], max_width: int) -> Float[Tensor, "B _"]:
    """Average-pool maps to the largest square with at most max_width features, never above their own size.

    Maps [B, C, l] of signals are pooled to the greatest length.
    """
    if maps.ndim == 3:
        return F.adaptive_avg_pool1d(maps, max(1, min(max_width // maps.shape[1], maps.shape[2]))).flatten(1)
    side = max(1, min(int((max_width / maps.shape[1]) ** 0.5), *maps.shape[2:]))
    return F.adaptive_avg_pool2d(maps, side).flatten(1)


def batches(
    images: ImageStore, size: int | None, batch_size: int, device: torch.device
) -> Iterator[tuple[int, Float[Tensor, "B C *S"]]]:
    """Give (first position, centre views) over all images or signals in order; size None: each as it is stored."""
    for start in range(0, len(images), batch_size):
        rows = images.rows(np.arange(start, min(start + batch_size, len(images))))
        yield start, center_views(rows, size, device)


def center_views(rows: np.ndarray, size: int | None, device: torch.device) -> Float[Tensor, "B C *S"]:
    """Give stored uint8 images [B, 3, s, s], or signals [B, C, L], as the encoder sees them when it is tested."""
    floats = as_floats(torch.from_numpy(np.ascontiguousarray(rows)).to(device))
    return floats if size is None else crops.center(floats, size)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Run a module in eval mode and without gradients; afterwards the mode of each part is as before."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def device_named(name: str) -> torch.device:
    """Find a device by name: `auto`, `cpu` or `cuda`."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"There is no device {name!r}; choose auto, cpu or cuda.")
    if name != "cpu" and not torch.cuda.is_available():
        raise InputError("The device cuda was asked for, but torch finds no GPU here; use --device cpu.")
    return torch.device(name)


def device_of(module: nn.Module) -> torch.device:
    """Say where a module's parameters are, or where there are none its buffers."""
    return next(chain(module.parameters(), module.buffers())).device
