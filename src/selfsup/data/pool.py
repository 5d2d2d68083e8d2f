"""Decode many image files at once, straight into rows of a file, so that memory stays flat."""

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from selfsup.data.decoding import decode, torchvision_decoders
from selfsup.data.deep import NeedsRange
from selfsup.data.faults import NoImage, Unusable
from selfsup.data.listing import Entry
from selfsup.data.workers import Said, default_workers, in_workers, pieces_of

__all__ = ["Job", "Outcome", "decode_rows", "default_workers"]

_DAMAGE = ("premature end", "bad huffman", "bad arithmetic", "instead of rst")


class Outcome(NamedTuple):
    """What became of one file."""

    row: int
    status: str
    """ok, skipped, ignored or deep (it waits for the range of the folder)."""
    detail: str
    """The hash, or the reason for which it is skipped."""
    width: int = 0
    height: int = 0
    traits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """Files to be decoded into rows of a file."""

    root: Path
    entries: Sequence[Entry]
    size: int
    target: Path
    offset: int
    """Of the first row in `target`."""


def decode_rows(
    job: Job,
    rows: Sequence[int],
    ranges: Mapping[str, tuple[float, float]],
    workers: int,
    handle: Callable[[list[Outcome]], None],
    forked: bool | None = None,
) -> None:
    """Decode the files of `rows`, in any order, and hand over their outcomes as they come.

    A file that brings its process down is skipped like any other.
    """
    torchvision_decoders()  # loaded here once, shared by all forked workers
    in_workers(
        lambda alone, said: _Worker(job, dict(ranges), alone, said).work,
        pieces_of(job.entries, rows),
        workers,
        handle,
        lambda row, reason: Outcome(row, "skipped", reason),
        forked,
    )


class _Worker:
    """Decodes files, in a process or in a thread."""

    def __init__(
        self, job: Job, ranges: Mapping[str, tuple[float, float]], alone: AbstractContextManager[Any], said: Said
    ) -> None:
        if multiprocessing.parent_process() is not None:  # in a thread this would be the user's setting
            from PIL import ImageFile

            ImageFile.LOAD_TRUNCATED_IMAGES = False
        self.job, self.ranges, self.alone, self.said = job, ranges, alone, said
        self.target = open(job.target, "r+b", buffering=0)  # noqa: SIM115 (open as long as the worker lives)

    def work(self, rows: list[int]) -> list[Outcome]:
        return [self.outcome(row) for row in rows]

    def outcome(self, row: int) -> Outcome:
        job = self.job
        try:
            picture = decode(os.path.join(job.root, job.entries[row].path), job.size, self.ranges, self.alone)
            self.check()
        except Unusable as reason:
            self.said()
            return Outcome(row, "skipped", str(reason))
        except NoImage:
            return Outcome(row, "ignored", "")
        except NeedsRange:
            return Outcome(row, "deep", "")
        pixels = picture.pixels.tobytes()
        self.write(pixels, job.offset + row * len(pixels))
        return Outcome(row, "ok", picture.hash, picture.width, picture.height, picture.traits)

    def write(self, data: bytes, place: int) -> None:
        if hasattr(os, "pwrite"):
            os.pwrite(self.target.fileno(), data, place)
        else:
            with open(self.job.target, "r+b") as target:
                target.seek(place)
                target.write(data)

    def check(self) -> None:
        """Raise Unusable if libjpeg said that data were missing or damaged."""
        said = self.said().lower()
        if any(words in said for words in _DAMAGE):
            raise Unusable(f"the JPEG data are damaged ({said.splitlines()[0].strip()[:80]})")
