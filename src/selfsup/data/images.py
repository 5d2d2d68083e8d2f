"""Open images, whatever they come as, as rows of bytes that are decoded once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from selfsup.data.cache import cache_folder
from selfsup.data.clip_folders import (
    Wanted,
    check_frame_rate,
    is_video,
    left_to_clips,
    open_clips_of,
    refuse_frame_rate,
)
from selfsup.data.listing import IMAGE_FILES, Listing, Skipped, check_folder, extension, list_files, list_folder
from selfsup.data.progress import Progress, silent
from selfsup.data.seen import seen_clips
from selfsup.data.store import ImageStore
from selfsup.errors import InputError
from selfsup.values import is_drawn

__all__ = ["ImageStore", "Skipped", "open_images"]

SCENES, CLIPS = 3000, 300
"""Scenes, or clips of moving ones, that are drawn when no number is given."""


def open_images(
    source: Any,
    image_size: int,
    *,
    store_size: int | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress = silent,
    min_images: int = 16,
    frame_rate: float | None = None,
    wanted: Wanted = "images",
) -> ImageStore:
    """Open images as a store: decoded in parallel at the first call, at once at the next.

    Args:
        source: a folder of images (any depth, names, sizes and formats) or of videos, a video, the folder of CIFAR-10's
            binary version, a .npy file, an array or tensor [N, 3, H, W], [N, H, W, 3] or [N, H, W], a data set object
            with `len` and items that are images or (image, label), a `SingleImage`, or "scenes", "scenes:COUNT" or
            "scenes:COUNT:SEED"; "plain-scenes" in its place draws the things on a plain ground, without a room, and
            "moving-scenes" the frames of clips in which something moves.
        image_size: side in pixels of what an encoder will see.
        store_size: side in pixels of what is stored; 8/7 of `image_size` by default, but not above the short side
            that is typical of the source, and never below `image_size`.
        cache: folder for decoded images (see `cache_folder`).
        workers: files decoded at once; one per core by default.
        progress: is told how far the work is.
        min_images: fewer usable images are refused.
        frame_rate: frames taken of each second of videos, 10 by default; of frames in folders, how many a second hold.
        wanted: `images`, of videos their frames where there are no images; `clips`, of videos or of folders of
            numbered frames; `either`: as `images`, but numbered frames are clips too.

    Raises:
        InputError: in one sentence, if there are no images, too few, or of a kind that cannot be read.
    """
    check_sizes(image_size, store_size)
    check_frame_rate(frame_rate)
    store = _open(source, image_size, store_size, cache, workers, progress, frame_rate, wanted)
    check_count(store, min_images)
    if wanted == "clips" and store.clips is None:
        raise InputError(
            f"{store.source} holds single images, and clips are needed: videos, folders of numbered frames or"
            " moving-scenes."
        )
    if store.clips is None or is_drawn(source):
        refuse_frame_rate(frame_rate, store.source)
    return store


def check_sizes(image_size: int, store_size: int | None) -> None:
    """Raise an InputError unless the sizes are possible."""
    if image_size < 8:
        raise InputError(f"The image size must be at least 8 pixels, got {image_size}.")
    if store_size is not None and store_size < image_size:
        raise InputError(f"The store size must be at least the image size, {image_size}, got {store_size}.")


def check_count(store: ImageStore, least: int, things: str | None = None) -> None:
    """Raise an InputError if a store holds fewer than `least` images, or whatever its rows are."""
    if len(store) >= least:
        return
    one = (things or store.things).removesuffix("s")
    found = f"no usable {one}" if not len(store) else f"only {len(store)} usable {one}{'s' * (len(store) > 1)}"
    why = ""
    if store.skipped:
        first = store.skipped[0]
        why = f" ({len(store.skipped)} skipped, the first, {first.name}: {first.reason})"
    raise InputError(f"{store.source} holds {found}{why}; at least {least} are needed.")


def _open(
    source: Any,
    image_size: int,
    store_size: int | None,
    cache: Path | None,
    workers: int | None,
    progress: Progress,
    frame_rate: float | None,
    wanted: Wanted,
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
    words: dict[str, Any] = {"frame_rate": frame_rate, "wanted": wanted}
    if path.is_file() and is_video(path):
        one = list_files(path.parent, [path.name])
        words |= {"wanted": "clips", "table": str(path.resolve())}
        film = open_listed(path.parent, one, image_size, store_size, cache, workers, progress, **words)
        return replace(film, source=str(path))
    if path.is_file() and extension(path.name) in IMAGE_FILES:
        raise InputError(
            f"{path} is one image; give a folder of images, or train on crops of this one with --single-image 10000."
        )
    check_folder(path)
    if cifar_files(path):
        return open_cifar(path, image_size, store_size, cache_folder(cache), progress)[0]
    return open_listed(path, list_folder(path), image_size, store_size, cache, workers, progress, **words)


def open_listed(
    root: Path,
    listing: Listing,
    image_size: int,
    store_size: int | None,
    cache: Path | None,
    workers: int | None,
    progress: Progress,
    *,
    table: str = "",
    frame_rate: float | None = None,
    wanted: Wanted = "images",
) -> ImageStore:
    """Open the listed files of a folder, those named in `table` if that is given: as images or as clips."""
    from selfsup.data.folder import default_store_size, open_folder, short_sides

    films = open_clips_of(root, listing, image_size, store_size, frame_rate, wanted, cache, workers, progress, table)
    if films is not None:
        return films
    if not listing.entries:
        others = sum(listing.ignored.values())
        why = f", only {others} files of other kinds" if others else ""
        raise InputError(f"{root} holds no images{why}; give a folder that has some, at any depth.")
    size = store_size or default_store_size(image_size, short_sides(root, listing.entries))
    store = open_folder(root, listing, size, cache_folder(cache), workers, progress, table)
    left = left_to_clips(listing)
    return replace(store, notes=[*store.notes, left]) if left else store


def open_scenes(
    source: str,
    image_size: int,
    store_size: int | None,
    cache: Path | None,
    workers: int | None,
    progress: Progress,
) -> tuple[ImageStore, Any]:
    """Draw "scenes[:COUNT[:SEED]]", or "plain-scenes" and "moving-scenes" likewise; give them with the class of each.

    The class of a scene is a place in `scenes.CLASSES`; that of a frame of a moving one is a place in `scenes.MOTIONS`.
    """
    import numpy as np

    from selfsup.data.arrays import hashes_of, numbered
    from selfsup.data.pool import default_workers
    from selfsup.data.scenes import FRAMES, RATE, moving, rendered

    name, *parts = source.split(":")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts) or (parts and int(parts[0]) == 0):
        raise InputError(f"Scenes are given as {name}, {name}:COUNT or {name}:COUNT:SEED, got {source}.")
    in_motion = name == "moving-scenes"
    count, seed = (int(parts[0]) if parts else CLIPS if in_motion else SCENES), (int(parts[1]) if parts[1:] else 0)
    size = store_size or round(image_size * 8 / 7)
    folder, workers = cache_folder(cache), workers or default_workers()
    names, clips = numbered(count), None
    if in_motion:
        pixels, motions = moving(count, size, seed, folder, workers=workers, progress=progress)
        clip, frame = np.repeat(np.arange(count), FRAMES), np.tile(np.arange(FRAMES), count)
        # beside the pixels where these are in a file, which is theirs alone
        home = Path(str(pixels.filename)).parent if isinstance(pixels, np.memmap) else None
        clips = seen_clips(home, pixels, clip, frame / RATE, clip, names, progress)
        labels = motions[clip]
        names = [f"{names[number]}/{place:04d}" for number, place in zip(clip.tolist(), frame.tolist(), strict=True)]
    else:
        pixels, labels = rendered(count, size, seed, folder, workers=workers, progress=progress, room=name == "scenes")
    store = ImageStore(
        pixels=pixels,
        names=names,
        hashes=hashes_of(pixels, progress),
        skipped=[],
        notes=[],
        source=source,
        sources=[None] * len(names),
        sizes=np.full((len(names), 2), size),
        clips=clips,
    )
    return store, labels
