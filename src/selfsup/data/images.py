"""Open images, whatever they come as, as rows of bytes that are decoded once."""

from pathlib import Path
from typing import Any

from selfsup.data.cache import cache_folder
from selfsup.data.listing import IMAGE_FILES, Listing, Skipped, check_folder, extension, list_folder
from selfsup.data.progress import Progress, silent
from selfsup.data.store import ImageStore
from selfsup.errors import InputError
from selfsup.values import is_drawn

__all__ = ["ImageStore", "Skipped", "open_images"]

SCENES = 3000
"""Scenes that are drawn when no number is given."""


def open_images(
    source: Any,
    image_size: int,
    *,
    store_size: int | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress = silent,
    min_images: int = 16,
) -> ImageStore:
    """Open images as a store: decoded in parallel at the first call, at once at the next.

    Args:
        source: a folder (any depth, names, sizes and formats), the folder of CIFAR-10's binary version, a .npy file,
            an array or tensor [N, 3, H, W], [N, H, W, 3] or [N, H, W], a data set object with `len` and items that
            are images or (image, label), a `SingleImage`, or "scenes", "scenes:COUNT" or "scenes:COUNT:SEED";
            "plain-scenes" in its place draws the things on a plain ground, without a room.
        image_size: side in pixels of what an encoder will see.
        store_size: side in pixels of what is stored; 8/7 of `image_size` by default, but not above the short side
            that is typical of the source, and never below `image_size`.
        cache: folder for decoded images (see `cache_folder`).
        workers: files decoded at once; one per core by default.
        progress: is told how far the work is.
        min_images: fewer usable images are refused.

    Raises:
        InputError: in one sentence, if there are no images, too few, or of a kind that cannot be read.
    """
    check_sizes(image_size, store_size)
    store = _open(source, image_size, store_size, cache, workers, progress)
    check_count(store, min_images)
    return store


def check_sizes(image_size: int, store_size: int | None) -> None:
    """Raise an InputError unless the sizes are possible."""
    if image_size < 8:
        raise InputError(f"The image size must be at least 8 pixels, got {image_size}.")
    if store_size is not None and store_size < image_size:
        raise InputError(f"The store size must be at least the image size, {image_size}, got {store_size}.")


def check_count(store: ImageStore, least: int) -> None:
    """Raise an InputError if a store holds fewer than `least` images."""
    if len(store) >= least:
        return
    found = "no usable image" if not len(store) else f"only {len(store)} usable image{'s' * (len(store) > 1)}"
    why = ""
    if store.skipped:
        first = store.skipped[0]
        why = f" ({len(store.skipped)} skipped, the first, {first.name}: {first.reason})"
    raise InputError(f"{store.source} holds {found}{why}; at least {least} are needed.")


def _open(
    source: Any, image_size: int, store_size: int | None, cache: Path | None, workers: int | None, progress: Progress
) -> ImageStore:
    from selfsup.data.arrays import is_array, open_array, open_npy
    from selfsup.data.cifar import cifar_files, open_cifar
    from selfsup.data.items import open_items
    from selfsup.data.single import SingleImage, open_single

    if isinstance(source, SingleImage):
        return open_single(source, image_size, store_size, cache, workers, progress)
    if is_drawn(source):
        return open_scenes(source, image_size, store_size, cache, workers, progress)[0]
    if is_array(source):
        return open_array(source, image_size, store_size, "the array", progress)
    if not isinstance(source, str | Path):
        if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
            return open_items(source, image_size, store_size, cache, progress)[0]
        raise InputError(
            "Images are given as a folder, a .npy file, an array, a data set with items or 'scenes',"
            f" got {type(source).__name__}."
        )
    path = Path(source).expanduser()
    if path.suffix == ".npy" and path.is_file():
        return open_npy(path, image_size, store_size, cache_folder(cache), progress)
    if path.is_file() and extension(path.name) in IMAGE_FILES:
        raise InputError(
            f"{path} is one image; give a folder of images, or train on crops of this one with --single-image 10000."
        )
    check_folder(path)
    if cifar_files(path):
        return open_cifar(path, image_size, store_size, cache_folder(cache), progress)[0]
    return open_listed(path, list_folder(path), image_size, store_size, cache, workers, progress)


def open_listed(
    root: Path,
    listing: Listing,
    image_size: int,
    store_size: int | None,
    cache: Path | None,
    workers: int | None,
    progress: Progress,
    table: str = "",
) -> ImageStore:
    """Open the listed files of a folder, those named in `table` if that is given."""
    from selfsup.data.folder import default_store_size, open_folder, short_sides

    if not listing.entries:
        others = sum(listing.ignored.values())
        why = f", only {others} files of other kinds" if others else ""
        raise InputError(f"{root} holds no images{why}; give a folder that has some, at any depth.")
    size = store_size or default_store_size(image_size, short_sides(root, listing.entries))
    return open_folder(root, listing, size, cache_folder(cache), workers, progress, table)


def open_scenes(
    source: str,
    image_size: int,
    store_size: int | None,
    cache: Path | None,
    workers: int | None,
    progress: Progress,
) -> tuple[ImageStore, Any]:
    """Draw "scenes[:COUNT[:SEED]]", or "plain-scenes" likewise; give them with the class of each."""
    import numpy as np

    from selfsup.data.arrays import hashes_of, numbered
    from selfsup.data.pool import default_workers
    from selfsup.data.scenes import rendered

    name, *parts = source.split(":")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts) or (parts and int(parts[0]) == 0):
        raise InputError(f"Scenes are given as {name}, {name}:COUNT or {name}:COUNT:SEED, got {source}.")
    count, seed = (int(parts[0]) if parts else SCENES), (int(parts[1]) if len(parts) > 1 else 0)
    size = store_size or round(image_size * 8 / 7)
    pixels, labels = rendered(
        count,
        size,
        seed,
        cache_folder(cache),
        workers=workers or default_workers(),
        progress=progress,
        room=name == "scenes",
    )
    store = ImageStore(
        pixels=pixels,
        names=numbered(count),
        hashes=hashes_of(pixels, progress),
        skipped=[],
        notes=[],
        source=source,
        sources=[None] * count,
        sizes=np.full((count, 2), size),
    )
    return store, labels
