"""Folders of numbered images as clips: each series of numbers is one."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median

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
_APART = 4
"""Numbers between images that are no neighbours, at least; those of one class are no further apart."""
_FEWEST = 8
"""Comparisons without which nothing is said about a folder."""
_IN_SERIES = 0.8
_SURE = 3.0
"""Standard errors by which neighbours are more alike than others."""

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
    places = [place_of[path] for path in store.sources if path is not None]
    if not places:
        return store
    used, clip = np.unique([place for place, _ in places], return_inverse=True)
    keys = [list(series)[number] for number in used.tolist()]
    steps = [_step([number for number, _ in series[key]]) for key in keys]
    seconds = np.empty(len(places), np.float64)
    for number, step in enumerate(steps):
        own = np.flatnonzero(clip == number)
        numbers = [places[frame][1] - places[own[0]][1] for frame in own.tolist()]
        seconds[own] = np.array(numbers, np.float64) / step / (RATE if rate is None else rate)
    folders = np.unique([folder for folder, _, _ in keys], return_inverse=True)[1].astype(np.int64)
    names = _names(keys)
    clips = seen_clips(store.folder, store.pixels, clip.astype(np.int64), seconds, folders[clip], names, progress)
    note = f"{len(clips)} images in {clips.count} series of numbers are taken for the frames of clips"
    return replace(store, clips=clips, notes=[*store.notes, f"{note}."])


def assumed_rate(images: ImageStore, rate: float | None) -> list[str]:
    """Say that frames in folders are taken to be so many a second, where nobody said how many they are."""
    if rate is not None or images.clips is None or not images.in_files:
        return []
    return [f"These frames are taken to be {RATE:g} a second; say otherwise with --frame-rate."]


def _step(numbers: Sequence[int]) -> float:
    """The usual distance of numbers: what is missing leaves a gap in time."""
    return max(1.0, float(median(after - before for before, after in pairwise(numbers))))


def _names(keys: Sequence[tuple[str, str, str]]) -> list[str]:
    """Name clips by their folders, and by what is before the number where a folder holds several."""
    folders = [folder for folder, _, _ in keys]
    names = []
    for folder, before, behind in keys:
        alone = folder and folders.count(folder) == 1
        names.append(printable(folder if alone else f"{folder}/{before}*{behind}".lstrip("/")))
    return names


def follow(root: Path, series: Series) -> bool:
    """Say whether neighbours look alike, as frames do and numbered photographs do not; a few files are read.

    Where too little can be read to say so, they are believed to be what was asked for.
    """
    near, later, any_two = _differences(root, series)
    if len(near) < 2:
        return True  # what is wrong with them will be said when they are decoded
    most = _AS_UNLIKE_IF_STILL if near.mean() < _UNLIKE else _AS_UNLIKE
    return bool(near.mean() < most * any_two.mean() or near.mean() < _AS_UNLIKE * later.mean())


def surely_follow(root: Path, series: Series, images: int) -> bool:
    """Say whether images that nobody called frames are: they are photographs unless much speaks against it.

    Nearly all are in series, and neighbours are more alike than those a few numbers apart in the same series, by far
    and in enough places not to be by chance.

    Args:
        root: the folder.
        series: from `series_of`.
        images: number of images in the folder, those that are in no series included.
    """
    if sum(len(items) for items in series.values() if len(items) > _APART) < _IN_SERIES * images:
        return False
    near, later, _ = _differences(root, series)
    if len(near) < _FEWEST:
        return False
    gain = later - near
    sure = gain.mean() > _SURE * gain.std(ddof=1) / np.sqrt(len(gain))
    return bool(sure and near.mean() < _AS_UNLIKE * later.mean())


def _differences(root: Path, series: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare some images with the next one, with one a few numbers apart in the same series, and with any other.

    Gives mean differences of small pictures, white is 1; three arrays [n]. Series of two images have only neighbours,
    which count as much as others of their series do.
    """
    draw = np.random.default_rng(0)
    places = [(items, place) for items in series.values() for place in range(len(items) - 1)]
    seen = []
    for number in draw.permutation(len(places))[:_COMPARED].tolist():
        items, place = places[number]
        step = int(draw.integers(_APART, 2 * _APART + 1))
        reachable = [other for other in (place + step, place - step) if 0 <= other < len(items)]
        ends = sorted((0, len(items) - 1), key=lambda end: abs(end - place))
        trio = [_small(root, items[other][1]) for other in (place, place + 1, [*reachable, ends[1]][0])]
        if all(picture is not None for picture in trio):
            seen.append(np.stack([picture for picture in trio if picture is not None]))
    if not seen:
        return (np.empty(0),) * 3
    one, following, later = np.stack(seen, 1).astype(np.float32) / 255
    others = (following, later, np.roll(following, 1, axis=0))
    near, apart, any_two = (np.abs(one - other).mean((1, 2, 3)) for other in others)
    return near, apart, any_two


def _small(root: Path, entry: Entry) -> UInt8[np.ndarray, "3 16 16"] | None:
    """Decode an image to a small picture; None where that is not possible."""
    from selfsup.data.decoding import decode
    from selfsup.data.deep import NeedsRange
    from selfsup.data.faults import NoImage, Unusable

    try:
        return decode(os.path.join(root, entry.path), 16, {}).pixels
    except (Unusable, NoImage, NeedsRange):
        return None
