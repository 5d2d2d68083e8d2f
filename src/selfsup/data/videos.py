"""Decode the videos of a folder once, at a chosen rate, and open them again in no time: their frames, as clips."""

import json
import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from statistics import median

import numpy as np

from selfsup.data.cache import key, locked
from selfsup.data.listing import Entry, Skipped, printable
from selfsup.data.progress import Progress
from selfsup.data.seen import seen_clips
from selfsup.data.store import ImageStore
from selfsup.data.video_store import Decoding, File, clip_and_seconds, pixels_in
from selfsup.data.workers import default_workers

FORMAT = 1
"""To be raised when decoding changes, so that older stores are not used again."""
RATE = 10.0
"""Frames taken of each second where nothing else is asked for: neighbours differ visibly, and a few seconds of a clip
are dozens of frames."""


def open_videos(
    root: Path,
    videos: Sequence[Entry],
    skipped: Sequence[Skipped],
    size: int,
    rate: float | None,
    cache: Path,
    workers: int | None,
    progress: Progress,
    table: str = "",
) -> ImageStore:
    """Open the store of the frames of videos, decoding them first if need be.

    Each video is a clip, and a source of its own. A gif of one picture is none.

    Args:
        root: the folder.
        videos: the files in it, named in `table` if that is given.
        skipped: files that were given up before.
        size: side of the squares that are stored.
        rate: frames taken of each second, never more than there are.
        cache: folder for decoded data.
        workers: files decoded at once.
        progress: is told how far the work is.
        table: file that names the videos.
    """
    rate = RATE if rate is None else rate
    home = cache / "videos" / key(["videos", FORMAT, size, f"{rate:g}", root.resolve(), table])
    final = home / key(f"{video.path}\0{video.size}\0{video.modified}" for video in videos)
    if not (final / "files.json").exists():
        home.mkdir(parents=True, exist_ok=True)
        with locked(home / "lock", progress):
            if not (final / "files.json").exists():
                Decoding(root, videos, size, rate, home, final, progress).run(workers or default_workers())
    return _load(root, skipped, final, rate, progress)


def short_sides(root: Path, videos: Sequence[Entry]) -> list[int]:
    """Short sides of up to 16 videos, evenly spread over the listing; only their headers are read."""
    from selfsup.data.folder import evenly
    from selfsup.data.video_frames import video_size

    found = [video_size(os.path.join(root, video.path)) for video in evenly(videos, 16)]
    return [min(size) for size in found if size is not None and min(size) > 0]


def _load(root: Path, skipped: Sequence[Skipped], folder: Path, rate: float, progress: Progress) -> ImageStore:
    content = json.loads((folder / "files.json").read_text())
    files = [File(*line) for line in content["files"]]
    usable = [file for file in files if file.status == "ok"]
    clip, seconds = clip_and_seconds(usable)
    gone = [Skipped(printable(file.path), file.detail) for file in files if file.status == "skipped"]
    lengths = [len(file.seconds) for file in usable]
    count, size = sum(lengths), content["size"]
    names = [f"{printable(file.path)}@{second:.2f}s" for file in usable for second in file.seconds]
    hashes = [_frame_hash(file.detail, second) for file in usable for second in file.seconds]
    sides = np.array([(file.width, file.height) for file in usable], np.int64).reshape(-1, 2)
    pixels = pixels_in(folder, (count, 3, size, size))
    titles = [printable(file.path) for file in usable]
    return ImageStore(
        pixels=pixels,
        names=names,
        hashes=hashes,
        skipped=sorted([*gone, *skipped]),
        notes=_notes(usable, rate),
        source=str(root),
        sources=[None] * count,
        sizes=np.repeat(sides, lengths, axis=0),
        folder=folder,
        clips=seen_clips(folder, pixels, clip, seconds, clip, titles, progress),
    )


def _frame_hash(video: str, second: float) -> str:
    return blake2b(f"{video} {second:.6f}".encode(), digest_size=16).hexdigest()


def _notes(usable: Sequence[File], rate: float) -> list[str]:
    """Sentences about what was taken."""
    if not usable:
        return []
    lengths = [len(file.seconds) for file in usable]
    notes = [
        f"{sum(lengths):,} frames of {_videos(len(usable))}, {rate:g} of each second; a clip has {min(lengths)} to"
        f" {max(lengths)} frames, {round(median(lengths))} in the middle."
    ]
    slow = sum(1 < len(file.seconds) == file.frames and _rate(file) < 0.9 * rate for file in usable)
    if slow:
        notes.append(f"{_videos(slow)} with fewer than {rate:g} frames a second: all of their frames are used.")
    return notes


def _rate(file: File) -> float:
    return (len(file.seconds) - 1) / file.seconds[-1]


def _videos(count: int) -> str:
    return "1 video" if count == 1 else f"{count} videos"
