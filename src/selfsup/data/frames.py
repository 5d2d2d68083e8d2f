"""Folders of numbered images as clips: each series of numbers is one."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from selfsup.data.listing import Entry, Listing, printable
from selfsup.data.progress import Progress
from selfsup.data.seen import seen_clips
from selfsup.data.store import ImageStore
from selfsup.data.videos import RATE

_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)
"""What is before the last number of a file name, the number, and what is behind it."""
_UNLIKE = 0.08
"""Mean difference of small pictures (white is 1) from which neighbours may be photographs of different things."""
_AS_UNLIKE, _AS_UNLIKE_IF_STILL = 0.7, 0.9
"""Parts of the difference of any two pictures from which they are: where neighbours differ as much, and where they
differ less, as frames of a camera that stands still."""
_COMPARED = 100

Series = Mapping[tuple[str, str, str], Sequence[tuple[int, Entry]]]
"""Numbered images in the order of their numbers, by folder and the rest of the name."""


def series_of(images: Sequence[Entry]) -> Series:
    """Find series of two and more images in a folder whose names differ in their last number alone."""
    found: dict[tuple[str, str, str], list[tuple[int, Entry]]] = {}
    for entry in images:
        folder, _, name = entry.path.rpartition("/")
        match = _NUMBERED.fullmatch(name)
        if match:
            found.setdefault((folder, match[1], match[3]), []).append((int(match[2]), entry))
    return {place: sorted(found[place]) for place in sorted(found) if len(found[place]) > 1}


def open_series(
    root: Path,
    series: Series,
    size: int,
    rate: float | None,
    cache: Path,
    workers: int | None,
    progress: Progress,
    table: str = "",
) -> ImageStore:
    """Open the images of series as frames of clips; clips in one folder are of one source.

    Args:
        root: the folder.
        series: from `series_of`.
        size: side of the squares that are stored.
        rate: frames a second, by which the numbers become times.
        cache: folder for decoded data.
        workers: files decoded at once.
        progress: is told how far the work is.
        table: file that names the images.
    """
    from selfsup.data.folder import open_folder

    listing = Listing([entry for items in series.values() for _, entry in items], [], Counter())
    store = open_folder(root, listing, size, cache, workers, progress, f"frames of clips\0{table}")
    place_of = {
        root / entry.path: (clip, number) for clip, items in enumerate(series.values()) for number, entry in items
    }
    places = np.array([place_of[path] for path in store.sources if path is not None], np.int64).reshape(-1, 2)
    if not len(places):
        return store
    used, clip = np.unique(places[:, 0], return_inverse=True)
    keys = [list(series)[number] for number in used.tolist()]
    steps = [_step([number for number, _ in series[key]]) for key in keys]
    seconds = np.empty(len(places), np.float64)
    for number, step in enumerate(steps):
        own = clip == number
        numbers = places[own, 1]
        seconds[own] = (numbers - numbers[0]) / step / (RATE if rate is None else rate)
    folders = np.unique([folder for folder, _, _ in keys], return_inverse=True)[1].astype(np.int64)
    names = _names(keys)
    clips = seen_clips(store.folder, store.pixels, clip.astype(np.int64), seconds, folders[clip], names, progress)
    note = f"{len(clips)} images in {clips.count} series of numbers are taken for the frames of clips"
    told = "" if rate is not None else f", {RATE:g} a second; say otherwise with --frame-rate"
    return replace(store, clips=clips, notes=[*store.notes, f"{note}{told}."])


def _step(numbers: Sequence[int]) -> float:
    """The usual distance of numbers: what is missing leaves a gap in time."""
    return max(1.0, float(np.median(np.diff(numbers))))


def _names(keys: Sequence[tuple[str, str, str]]) -> list[str]:
    """Name clips by their folders, and by what is before the number where a folder holds several."""
    folders = [folder for folder, _, _ in keys]
    names = []
    for folder, before, behind in keys:
        alone = folder and folders.count(folder) == 1
        names.append(printable(folder if alone else f"{folder}/{before}*{behind}".lstrip("/")))
    return names


def follow(root: Path, series: Series) -> bool:
    """Say whether neighbours look alike, as frames do and numbered photographs do not; a few files are read."""
    pairs = [(one[1], other[1]) for items in series.values() for one, other in pairwise(items)]
    chosen = [pairs[number] for number in np.random.default_rng(0).permutation(len(pairs))[:_COMPARED]]
    seen = [(one, other) for pair in chosen if (one := _small(root, pair[0])) is not None
            and (other := _small(root, pair[1])) is not None]  # fmt: skip
    if not seen:
        return True  # what is wrong with them will be said when they are decoded
    first, second = (np.stack(side).astype(np.float32) / 255 for side in zip(*seen, strict=True))
    neighbours, any_two = np.abs(first - second).mean(), np.abs(first - np.roll(second, 1, axis=0)).mean()
    most = _AS_UNLIKE_IF_STILL if neighbours < _UNLIKE else _AS_UNLIKE
    return len(seen) == 1 or bool(neighbours < most * any_two)


def _small(root: Path, entry: Entry) -> UInt8[np.ndarray, "3 16 16"] | None:
    """Decode an image to a small picture; None where that is not possible."""
    from selfsup.data.decoding import decode
    from selfsup.data.deep import NeedsRange
    from selfsup.data.faults import NoImage, Unusable

    try:
        return decode(os.path.join(root, entry.path), 16, {}).pixels
    except (Unusable, NoImage, NeedsRange):
        return None
