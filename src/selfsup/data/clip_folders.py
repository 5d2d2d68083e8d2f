"""Decide what a folder holds for whom: images, videos, or frames of clips in folders."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from selfsup.data.cache import cache_folder
from selfsup.data.containers import is_animated
from selfsup.data.listing import VIDEO_FILES, Entry, Listing, extension
from selfsup.data.progress import Progress
from selfsup.data.store import ImageStore
from selfsup.errors import InputError

Wanted = Literal["images", "clips", "either"]
"""What is to be read of a folder: `images` (of videos their frames, where there are no images), `clips`, or `either`:
as `images`, but what are surely frames in folders are clips."""
FASTEST = 1000.0
"""Frames a second; no camera that writes files is faster."""


def check_frame_rate(rate: float | None) -> None:
    """Raise an InputError unless a number of frames a second is possible."""
    if rate is not None and not 0 < rate <= FASTEST:
        raise InputError(f"The frame rate is a number of frames a second above 0, at most {FASTEST:g}, got {rate:g}.")


def refuse_frame_rate(rate: float | None, source: object) -> None:
    """Raise an InputError if a frame rate was asked for where there are no videos."""
    if rate is not None:
        raise InputError(
            f"A frame rate of {rate:g} was asked for, but what is read of {source} is no videos; leave --frame-rate"
            " out."
        )


def is_video(file: Path) -> bool:
    """Say whether a file is a video by its name, or a gif that moves."""
    ending = extension(file.name)
    return ending in VIDEO_FILES and (ending != "gif" or is_animated(str(file)))


def videos_in(root: Path, listing: Listing, wanted: Wanted) -> list[Entry]:
    """Give the videos that are to be read; none where the images of a folder are.

    Where there are both, methods that read clips get the videos and all others the images. Gifs are videos beside
    videos, or where they move and no other image is there; a gif in a folder of images is an image.

    Args:
        root: the folder.
        listing: of the folder.
        wanted: what is to be read.
    """
    videos = [entry for entry in listing.videos if entry.extension != "gif"]
    images = [entry for entry in listing.entries if entry.extension != "gif"]
    if images and wanted != "clips":
        return []
    if videos or any(is_animated(f"{root}/{entry.path}") for entry in _evenly(listing.videos)):
        return listing.videos
    return []


def open_clips_of(
    root: Path,
    listing: Listing,
    image_size: int,
    store_size: int | None,
    rate: float | None,
    wanted: Wanted,
    cache: Path | None,
    workers: int | None,
    progress: Progress,
    table: str = "",
) -> ImageStore | None:
    """Open videos, or frames in folders where these are wanted; None where the images are to be read as such.

    Raises:
        InputError: if clips are needed and there are none.
    """
    from selfsup.data import videos as films
    from selfsup.data.folder import default_store_size, short_sides
    from selfsup.data.frames import follow, open_series, series_of, surely_follow

    videos = videos_in(root, listing, wanted)
    if videos:
        size = store_size or default_store_size(image_size, films.short_sides(root, videos))
        store = films.open_videos(
            root, videos, listing.skipped, size, rate, cache_folder(cache), workers, progress, table
        )
        return _with_note(store, _left_out(listing))
    series = series_of(listing.entries) if wanted != "images" else {}
    frames = bool(series) and (
        follow(root, series) if wanted == "clips" else surely_follow(root, series, len(listing.entries))
    )
    if wanted == "clips" and not series:
        raise InputError(
            f"{root} holds {_instead(listing)}, and clips are needed: videos, or folders of numbered frames."
        )
    if wanted == "clips" and not frames:
        raise InputError(
            f"{root} holds numbered images that differ from their neighbours as much as from any other, so these are no"
            " frames of clips; give videos, or folders of frames, or a method that reads images."
        )
    if not frames:
        return None
    entries = [entry for items in series.values() for _, entry in items]
    size = store_size or default_store_size(image_size, short_sides(root, entries))
    store = open_series(root, series, size, rate, cache_folder(cache), workers, progress, table)
    others = len(listing.entries) - len(entries)
    note = f"{_images(others)} left out, because no other differs in its number alone."
    return _with_note(store, note if others else "")


def left_to_clips(listing: Listing) -> str:
    """Say that videos beside images are not read; "" where there are none."""
    count = sum(entry.extension != "gif" for entry in listing.videos)
    if not count:
        return ""
    what = "1 video beside the images is" if count == 1 else f"{count} videos beside the images are"
    return f"{what} left to methods that read clips."


def _left_out(listing: Listing) -> str:
    count = sum(entry.extension != "gif" for entry in listing.entries)
    return f"{_images(count)} beside the videos left to methods that read images." if count else ""


def _with_note(store: ImageStore, note: str) -> ImageStore:
    return replace(store, notes=[*store.notes, note]) if note else store


def _instead(listing: Listing) -> str:
    if listing.entries:
        return f"single images ({len(listing.entries)})"
    others = sum(listing.ignored.values())
    return f"no images and no videos, only {others} files of other kinds" if others else "no images and no videos"


def _images(count: int) -> str:
    return "1 image is" if count == 1 else f"{count} images are"


def _evenly(entries: list[Entry]) -> list[Entry]:
    from selfsup.data.folder import evenly

    found: list[Entry] = evenly(entries, 64)
    return found
