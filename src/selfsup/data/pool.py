"""Decode many files at once, straight into rows of a file, so that memory stays flat.

Forked processes on Linux (each reads, decodes, resizes and writes; only a line per image comes back), threads
elsewhere, because a start without fork would run the user's script again.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from selfsup.data.decoding import decode, torchvision_decoders
from selfsup.data.deep import NeedsRange
from selfsup.data.faults import NoImage, Unusable
from selfsup.data.listing import Entry

_CHUNK_FILES, _CHUNK_BYTES = 128, 4 * 2**20
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
    alone: AbstractContextManager[Any] = field(default_factory=threading.Lock)


def default_workers() -> int:
    """One per core this process may use, at most 32."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 32)


def decode_rows(
    job: Job,
    rows: Sequence[int],
    ranges: Mapping[str, tuple[float, float]],
    workers: int,
    handle: Callable[[list[Outcome]], None],
    forked: bool | None = None,
) -> None:
    """Decode the files of `rows`, in any order, and hand over their outcomes as they come.

    A file that brings its process down (or is killed with it for want of memory) is skipped like any other.
    """
    forked = sys.platform == "linux" if forked is None else forked
    waiting = deque(_chunks(job.entries, rows))
    torchvision_decoders()  # loaded here once, shared by all forked workers
    while waiting:
        running: dict[Future[list[Outcome]], list[int]] = {}
        try:
            with _executor(job, workers, forked) as submit:
                while waiting or running:
                    while waiting and len(running) < 3 * workers:
                        chunk = waiting.popleft()
                        running[submit(chunk, ranges)] = chunk
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        outcomes = future.result()
                        del running[future]
                        handle(outcomes)
        except BrokenProcessPool:
            for chunk in running.values():
                _one_by_one(job, chunk, ranges, handle)


def _one_by_one(
    job: Job, rows: Sequence[int], ranges: Mapping[str, tuple[float, float]], handle: Callable[[list[Outcome]], None]
) -> None:
    left = deque(rows)
    while left:
        try:
            with _executor(job, 1, forked=True) as submit:
                while left:
                    handle(submit([left[0]], ranges).result())
                    left.popleft()
        except BrokenProcessPool:
            handle([Outcome(left.popleft(), "skipped", "the decoder crashed or ran out of memory on it")])


Submit = Callable[[list[int], Mapping[str, tuple[float, float]]], "Future[list[Outcome]]"]


@contextlib.contextmanager
def _executor(job: Job, workers: int, forked: bool) -> Iterator[Submit]:
    executor: Executor
    if forked:
        gc.freeze()  # else every collection, here and in the workers, goes through (and copies) all that torch brought
        context = multiprocessing.get_context("fork")
        job = Job(job.root, job.entries, job.size, job.target, job.offset, context.Lock())
        executor = ProcessPoolExecutor(workers, context, _start_process, (job,))
        work: Callable[..., list[Outcome]] = _work_in_process
    else:
        executor = ThreadPoolExecutor(workers)
        work = _Thread(job).work
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads: the children use none of them
            yield lambda rows, ranges: executor.submit(work, rows, dict(ranges))
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _chunks(entries: Sequence[Entry], rows: Sequence[int]) -> Iterator[list[int]]:
    """Cut `rows` into pieces of work of similar size; a large photo is a piece of its own."""
    chunk: list[int] = []
    size = 0
    for row in rows:
        if chunk and (len(chunk) == _CHUNK_FILES or size + entries[row].size > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += entries[row].size
    if chunk:
        yield chunk


# ---- in a worker


class _Thread:
    """A worker that shares its process: what libjpeg prints cannot be told apart."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.target = open(job.target, "r+b", buffering=0)  # noqa: SIM115 (open as long as the worker lives)

    def work(self, rows: list[int], ranges: Mapping[str, tuple[float, float]]) -> list[Outcome]:
        return [self.outcome(row, ranges) for row in rows]

    def outcome(self, row: int, ranges: Mapping[str, tuple[float, float]]) -> Outcome:
        job = self.job
        try:
            picture = decode(os.path.join(job.root, job.entries[row].path), job.size, ranges, job.alone)
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

    def said(self) -> str:
        """What decoders printed since the last call."""
        return ""

    def check(self) -> None:
        """Raise Unusable if libjpeg said that data were missing or damaged."""
        said = self.said().lower()
        if any(words in said for words in _DAMAGE):
            raise Unusable(f"the JPEG data are damaged ({said.splitlines()[0].strip()[:80]})")


class _Process(_Thread):
    """A worker with a process of its own, whose error output is read instead of shown."""

    def __init__(self, job: Job) -> None:
        import tempfile

        super().__init__(job)
        self.messages = tempfile.TemporaryFile()  # noqa: SIM115
        os.dup2(self.messages.fileno(), 2)

    def said(self) -> str:
        place = os.lseek(2, 0, os.SEEK_CUR)
        if place == 0:
            return ""
        text = os.pread(2, place, 0)
        os.lseek(2, 0, os.SEEK_SET)
        os.ftruncate(2, 0)
        return text.decode("utf-8", "replace")


_worker: _Process


def _start_process(job: Job) -> None:
    import torch
    from PIL import ImageFile

    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the work
    warnings.simplefilter("ignore")
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Process(job)


def _work_in_process(rows: list[int], ranges: Mapping[str, tuple[float, float]]) -> list[Outcome]:
    return _worker.work(rows, ranges)


def _end_with_parent() -> None:
    """Leave when the parent was killed; waiting for work alone would last for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
