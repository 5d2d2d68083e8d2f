"""Open data set objects, as torchvision has them: `len`, and items that are images or (image, label)."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from selfsup.data.arrays import Values, as_bytes, check_shape, hash_of, numbered, room_for, values_of
from selfsup.data.folder import default_store_size, evenly
from selfsup.data.listing import Skipped
from selfsup.data.progress import Progress
from selfsup.data.squares import squares
from selfsup.data.store import ImageStore
from selfsup.errors import InputError

_SAMPLE = 64


def open_items(
    items: Any, image_size: int, store_size: int | None, cache: Path | None, progress: Progress
) -> tuple[ImageStore, list[Any]]:
    """Give the images and labels (None where there is none) of a data set object; its items are read once.

    An item that cannot be read is skipped; if not one of a sample can be read, that is an error.
    """
    source, count = type(items).__name__, len(items)
    if count == 0:
        raise InputError(f"The data set {source} has no items.")
    sample = _sample(items, source)
    deep = [image for image in sample if image.dtype != np.uint8]
    values = values_of(deep, count) if deep else Values(0, 255)
    size = store_size or default_store_size(image_size, [min(_size(image)) for image in sample])
    pixels = room_for((count, 3, size, size), cache)
    names: list[str] = []
    hashes, labels, sizes, skipped = [], [], [], []
    for number, name in enumerate(numbered(count)):
        if number % 100 == 0:
            progress("reading images", number, count)
        try:
            image, label = _parts(items[number])
            check_shape(image[None], f"item {number}")
            one = as_bytes(image[None], Values(0, 255) if image.dtype == np.uint8 else values)
        except Exception as error:  # whatever an item does, the rest is read
            skipped.append(Skipped(name, f"the item cannot be read ({' '.join(str(error).split())[:120]})"))
            continue
        pixels[len(names)] = squares(one, size)[0]
        names.append(name)
        hashes.append(hash_of(image))
        labels.append(label)
        sizes.append(_size(image))
    progress("reading images", count, count)
    store = ImageStore(
        pixels=pixels[: len(names)],
        names=names,
        hashes=hashes,
        skipped=skipped,
        notes=[values.note] if values.note else [],
        source=source,
        sources=[None] * len(names),
        sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
    )
    return store, labels


def _sample(items: Any, source: str) -> list[np.ndarray]:
    images, first_error = [], None
    for number in evenly(range(len(items)), _SAMPLE):
        try:
            images.append(_parts(items[number])[0])
        except Exception as error:
            first_error = first_error or error
    if not images:
        raise InputError(f"No item of the data set {source} is an image or (image, label): {first_error}.")
    return images


def _parts(item: Any) -> tuple[Shaped[np.ndarray, "..."], Any]:
    """Split an item into the values of its image, [H, W] or [C, H, W] or [H, W, C], and its label."""
    from selfsup.data.pillow import deep_kind, rgb

    label = None
    if isinstance(item, tuple | list):
        if not item:
            raise InputError("an empty item")
        item, label = item[0], item[1] if len(item) > 1 else None
    if isinstance(item, np.ndarray):
        return item, label
    if hasattr(item, "detach"):
        return item.detach().cpu().numpy(), label
    if hasattr(item, "convert") and hasattr(item, "mode"):
        return np.asarray(item if deep_kind(item.mode) else rgb(item)[0]), label
    raise InputError(f"an item of type {type(item).__name__}, not an image")


def _size(image: np.ndarray) -> tuple[int, int]:
    """Width and height."""
    if image.ndim == 2 or image.shape[0] not in (1, 3, 4):
        return image.shape[1], image.shape[0]
    return image.shape[2], image.shape[1]
