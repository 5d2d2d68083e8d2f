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
        progress: told the number of images done.
    """
    wanted = tuple(encoder.stage_names) if stages is None else tuple(stages)
    found: dict[str, Float[np.ndarray, "N _"]] = {}
    with frozen(encoder):
        for start, batch in batches(images, encoder.image_size, batch_size, device_of(encoder)):
            maps = encoder.stages(batch)
            for name in wanted:
                rows = pooled(maps[name], max_width).float().cpu().numpy()
                found.setdefault(name, np.empty((len(images), rows.shape[1]), np.float32))
                found[name][start : start + len(rows)] = rows
            progress("features", start + len(batch), len(images))
    return found


def vectors(
    encoder: Encoder, images: ImageStore, *, batch_size: int = 256, progress: Tell = silent
) -> Float[np.ndarray, "N D"]:
    """Give the encoder's pooled vector for the centre view of every image."""
    rows: list[np.ndarray] = []
    with frozen(encoder):
        for start, batch in batches(images, encoder.image_size, batch_size, device_of(encoder)):
            rows.append(encoder.vector(batch).float().cpu().numpy())
            progress("vectors", start + len(batch), len(images))
    return np.concatenate(rows)


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
