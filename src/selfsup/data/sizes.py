"""The image size to train at when none was asked for."""

from pathlib import Path
from statistics import median
from typing import Any

from selfsup.values import is_drawn

SMALLEST, LARGEST = 32, 96
"""Sides in pixels chosen by themselves; larger ones are for those who ask, for they cost."""


def natural_size(source: Any) -> int:
    """Give the typical short side of the images, rounded down to a multiple of 32, from 32 to 96 pixels.

    Only headers are read. Scenes are made for 64 pixels.

    Raises:
        InputError: if there are no images.
    """
    return rounded(_typical_side(source))


def rounded(side: int) -> int:
    """Round a side in pixels down to a multiple of 32, from 32 to 96."""
    return min(LARGEST, max(SMALLEST, side // 32 * 32))


def _typical_side(source: Any) -> int:
    import numpy as np

    from selfsup.data import videos
    from selfsup.data.cifar import cifar_files
    from selfsup.data.clip_folders import is_video, videos_in
    from selfsup.data.folder import short_sides
    from selfsup.data.listing import check_folder, list_files, list_folder
    from selfsup.data.single import SingleImage

    if isinstance(source, SingleImage):
        return source.size
    if is_drawn(source):
        return 64
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if path.suffix == ".npy" and path.is_file():
            return _side(np.load(path, mmap_mode="r", allow_pickle=False).shape)
        if path.is_file() and not is_video(path):  # a list of paths and labels
            return _typical_side(path.parent)
        if not path.is_file():
            check_folder(path)
            if cifar_files(path):
                return 32
        root, listing = (
            (path.parent, list_files(path.parent, [path.name])) if path.is_file() else (path, list_folder(path))
        )
        films = videos_in(root, listing, "images")
        sides = videos.short_sides(root, films) if films else short_sides(root, listing.entries)
        return round(median(sides)) if sides else SMALLEST
    if hasattr(source, "shape"):
        return _side(tuple(source.shape))
    first = source[0]
    image = first[0] if isinstance(first, tuple | list) else first
    return min(image.size) if hasattr(image, "getbands") else _side(tuple(np.asarray(image).shape))


def _side(shape: tuple[int, ...]) -> int:
    """Short side of images [..., 3, H, W], [..., H, W, 3] or [..., H, W]."""
    sides = [n for n in shape[-3:] if n > 4] if len(shape) >= 3 else list(shape)
    return min(sides[-2:], default=SMALLEST)
