"""Decode videos into one array of frames: each into a file of its own, with a journal, and then together."""

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from selfsup.data.cache import check_space, journal_lines, move_into_place, write_json
from selfsup.data.containers import is_animated
from selfsup.data.faults import Unusable
from selfsup.data.filling import reopened
from selfsup.data.listing import Entry, printable
from selfsup.data.progress import Progress
from selfsup.data.seen import seen_clips
from selfsup.data.workers import Said, in_workers, pieces_of
from selfsup.errors import InputError

_PIECE = (8, 2**18)
"""Files and bytes that a worker decodes at a time: bytes of videos take a hundred times as long as those of images."""
_JOURNAL_EVERY = 1.0
"""Seconds between two entries of the journal: what an interruption costs at most, beside the files in work."""


class File(NamedTuple):
    """A line of a store's table."""

    path: str
    size: int
    modified: int
    status: str
    """ok, skipped or ignored."""
    detail: str
    width: int = 0
    height: int = 0
    frames: int = 0
    """That the file has; `seconds` are those of the frames taken."""
    seconds: Sequence[float] = ()


@dataclass(frozen=True)
class _Job:
    """Videos to be decoded, each into a file of its own."""

    root: Path
    videos: Sequence[Entry]
    size: int
    rate: float
    partial: Path
    threads: int

    def piece(self, number: int) -> Path:
        """The file that gets the frames of a video, until it is known where they belong."""
        return self.partial / f"{number:07d}.frames"


class _Worker:
    """Decodes videos, in a process or in a thread."""

    def __init__(self, job: _Job, said: Said) -> None:
        import multiprocessing

        import av

        self.job, self.said = job, said
        if multiprocessing.parent_process() is not None:  # what decoders print is read there
            av.logging.restore_default_callback()
            av.logging.set_libav_level(av.logging.ERROR)

    def work(self, numbers: list[int]) -> list[Any]:
        return [[number, *self.outcome(number)] for number in numbers]

    def outcome(self, number: int) -> tuple[Any, ...]:
        from selfsup.data.video_frames import sample

        job, video = self.job, self.job.videos[number]
        path = os.path.join(job.root, video.path)
        if video.extension == "gif" and not is_animated(path):
            return ("ignored", "")
        partial = job.piece(number).with_suffix(".partial")
        try:
            with open(partial, "wb") as file:
                found = sample(path, job.size, job.rate, file.write, self.said, job.threads)
                file.flush()
                os.fsync(file.fileno())
        except Unusable as reason:
            partial.unlink()
            return ("skipped", str(reason))
        os.replace(partial, job.piece(number))
        return ("ok", found.hash, found.width, found.height, found.frames, found.seconds)


class Decoding:
    """Decode each video into a file of its own, with a journal, then put all frames into one array."""

    def __init__(
        self, root: Path, videos: Sequence[Entry], size: int, rate: float, home: Path, final: Path, progress: Progress
    ) -> None:
        self.home, self.final, self.progress = home, final, progress
        self.partial = home / (final.name + ".partial")
        self.target, self.journal = self.partial / "images.npy", self.partial / "journal.jsonl"
        self.job = _Job(root, videos, size, rate, self.partial, 1)
        self.files: dict[int, File] = {}
        self.unsaved: list[Any] = []
        self.saved_at = 0.0

    def run(self, workers: int) -> None:
        """Do what is left to do.

        Raises:
            InputError: if the disk is full.
        """
        import av  # noqa: F401 (loaded here once, shared by all forked workers)

        self.start()
        job = self.job
        todo = [number for number in range(len(job.videos)) if number not in self.files]
        # threads inside a decoder where there are fewer videos than workers
        job = _Job(job.root, job.videos, job.size, job.rate, job.partial, max(1, workers // max(1, len(todo))))
        self.progress("decoding videos", len(self.files), len(job.videos))
        try:
            if todo:
                in_workers(
                    lambda _, said: _Worker(job, said).work,
                    pieces_of(job.videos, todo, *_PIECE),
                    min(workers, len(todo)),
                    self.handle,
                    lambda number, reason: [number, "skipped", reason],
                )
        except OSError as error:
            raise InputError(
                f"The frames of the videos do not fit into {self.home} ({error.strerror}); free some space, choose a"
                " smaller image size or frame rate, or name another folder in SELFSUP_CACHE."
            ) from None
        finally:
            self.save()
        self.finish()

    def start(self) -> None:
        """Go on where the journal ends, or begin, with what an older store of the folder has."""
        self.partial.mkdir(parents=True, exist_ok=True)
        if self.journal.exists():
            for outcomes in journal_lines(self.journal):
                self.remember(outcomes)
            if reopened(self.target, self.shape) is None:  # no frames were put together yet: each is in its file
                for number in [n for n, file in self.files.items() if file.status == "ok"]:
                    piece = self.job.piece(number)
                    if not piece.exists() or piece.stat().st_size != self.bytes_of(number):
                        del self.files[number]
            return
        self.take_over()
        self.save()

    def take_over(self) -> None:
        """Copy the frames of unchanged videos from an older store of the same folder, size and rate."""
        number_of = {video: number for number, video in enumerate(self.job.videos)}
        for older in self.home.glob("*/files.json"):
            table = [File(*line) for line in json.loads(older.read_text())["files"]]
            count = sum(len(file.seconds) for file in table)
            pixels = pixels_in(older.parent, (count, 3, self.job.size, self.job.size))
            place, outcomes = 0, []
            for file in table:
                number = number_of.get(Entry(file.path, file.size, file.modified))
                if number is not None and number not in self.files:
                    outcomes.append([number, *file[3:]])
                    if file.status == "ok":
                        with open(self.job.piece(number), "wb") as piece:
                            pixels[place : place + len(file.seconds)].tofile(piece)
                            piece.flush()
                            os.fsync(piece.fileno())
                place += len(file.seconds)
            self.handle(outcomes)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the array of all frames known so far."""
        frames = sum(len(file.seconds) for file in self.files.values())
        return (frames, 3, self.job.size, self.job.size)

    def bytes_of(self, number: int) -> int:
        """Size of a video's frames."""
        return 3 * self.job.size**2 * len(self.files[number].seconds)

    def handle(self, outcomes: Sequence[Any]) -> None:
        """Take outcomes as they come, and write the journal now and then."""
        self.remember(outcomes)
        self.unsaved.extend(outcomes)
        self.progress("decoding videos", len(self.files), len(self.job.videos))
        if time.monotonic() - self.saved_at > _JOURNAL_EVERY:
            self.save()
            self.saved_at = time.monotonic()

    def remember(self, outcomes: Sequence[Any]) -> None:
        """Note what became of files."""
        for number, *outcome in outcomes:
            self.files[number] = File(*self.job.videos[number], *outcome)

    def save(self) -> None:
        """Write the journal; the frames that it counts on are durable already."""
        with open(self.journal, "a", encoding="utf-8") as journal:
            journal.write(json.dumps(self.unsaved) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
        self.unsaved = []

    def finish(self) -> None:
        """Put all frames into one array, look at them, write the table and move everything into place."""
        usable = [number for number in range(len(self.job.videos)) if self.files[number].status == "ok"]
        if usable:
            pixels = self.together(usable)
            clip, seconds = clip_and_seconds([self.files[number] for number in usable])
            names = [printable(self.files[number].path) for number in usable]
            seen_clips(self.partial, pixels, clip, seconds, clip, names, self.progress)
        files = [self.files[number] for number in range(len(self.job.videos))]
        write_json(self.partial / "files.json", {"size": self.job.size, "files": files})
        self.journal.unlink(missing_ok=True)
        older = [table.parent for table in self.home.glob("*/files.json") if table.parent != self.partial]
        shutil.rmtree(self.final, ignore_errors=True)
        move_into_place(self.partial, self.final)
        for folder in older:
            shutil.rmtree(folder, ignore_errors=True)

    def together(self, usable: Sequence[int]) -> np.memmap[Any, np.dtype[np.uint8]]:
        """Move the frames of each video to their place; a file is deleted when its frames are durable there."""
        target = reopened(self.target, self.shape)
        if target is None:
            check_space(self.partial, max(map(self.bytes_of, usable)))  # beside the files, which go one by one
            target = np.lib.format.open_memmap(self.target, "w+", np.uint8, self.shape)
        place = 0
        for number in usable:
            piece, length = self.job.piece(number), len(self.files[number].seconds)
            if piece.exists():
                target[place : place + length] = np.memmap(piece, np.uint8, "r", shape=(length, *self.shape[1:]))
                target.flush()
                piece.unlink()
            place += length
        return target


def pixels_in(folder: Path, shape: tuple[int, ...]) -> UInt8[np.ndarray, "N 3 S S"]:
    """Map the frames of a finished store; of none there is no file."""
    if not shape[0]:
        return np.zeros(shape, np.uint8)
    pixels: np.ndarray = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    return pixels


def clip_and_seconds(usable: Sequence[File]) -> tuple[Int64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
    """Give clip and time of each frame."""
    clip = np.repeat(np.arange(len(usable)), [len(file.seconds) for file in usable]).astype(np.int64)
    return clip, np.array([second for file in usable for second in file.seconds], np.float64)
