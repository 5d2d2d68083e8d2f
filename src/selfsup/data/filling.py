"""Fill a large array on disk piece by piece, so that an interrupted call goes on where it stopped."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

from selfsup.data.cache import check_space, locked, move_into_place
from selfsup.data.progress import Progress

_SAVE_EVERY = 1.0
"""Seconds between two entries of the journal: what an interruption costs at most."""

Piece = Int64[np.ndarray, "..."]
"""Rows that are made together; pieces differ in length."""


def filled(
    folder: Path,
    shape: tuple[int, ...],
    pieces: Sequence[Piece],
    make: Callable[[int], UInt8[np.ndarray, "..."]],
    workers: int,
    progress: Progress,
    what: str,
) -> Shaped[np.ndarray, "N ..."]:
    """Give the array of bytes kept in `folder`, mapped read-only; what it lacks is made first, in threads.

    Args:
        folder: for this array alone; another content needs another folder.
        shape: of the whole array.
        pieces: rows of each piece; together all rows once.
        make: gives the rows of the piece of that number.
        workers: threads.
        progress: told (`what`, rows done, rows).
        what: the work in words.
    """
    final = folder / "images.npy"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock", progress):
        if not final.exists():
            _fill(folder, shape, pieces, make, workers, progress, what)
            move_into_place(folder / "images.partial", final)
            (folder / "done.txt").unlink(missing_ok=True)
    loaded: np.ndarray = np.load(final, mmap_mode="r", allow_pickle=False)
    return loaded


def _fill(
    folder: Path,
    shape: tuple[int, ...],
    pieces: Sequence[Piece],
    make: Callable[[int], UInt8[np.ndarray, "..."]],
    workers: int,
    progress: Progress,
    what: str,
) -> None:
    partial, journal = folder / "images.partial", folder / "done.txt"
    target = reopened(partial, shape)
    if target is None:
        journal.unlink(missing_ok=True)
        check_space(folder, int(np.prod(shape)))
        target = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
    done = _numbers(journal) & set(range(len(pieces)))
    missing = [number for number in range(len(pieces)) if number not in done]
    rows = sum(len(pieces[number]) for number in done)
    progress(what, rows, shape[0])

    def put(number: int) -> int:
        target[pieces[number]] = make(number)
        return number

    unsaved: list[int] = []

    def save() -> None:
        target.flush()  # the rows first, then the line that counts on them
        with open(journal, "a", encoding="utf-8") as file:
            file.write("".join(f"{number}\n" for number in unsaved))
            file.flush()
            os.fsync(file.fileno())
        unsaved.clear()

    saved = time.monotonic()
    try:
        for number in _in_threads(put, missing, workers):
            unsaved.append(number)
            rows += len(pieces[number])
            progress(what, rows, shape[0])
            if time.monotonic() - saved > _SAVE_EVERY:
                save()
                saved = time.monotonic()
    finally:
        save()


def _in_threads(work: Callable[[int], int], numbers: Sequence[int], workers: int) -> Iterator[int]:
    """Yield each number when its work is done; only a few are waiting, so that a stop is a stop."""
    waiting = iter(numbers)
    running: set[Future[int]] = set()
    with _one_thread_each(), ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                while len(running) < 2 * workers and (number := next(waiting, None)) is not None:
                    running.add(pool.submit(work, number))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep torch from starting a team of threads inside each of ours."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reopened(partial: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]] | None:
    """Open the array of an interrupted call; None if there is none of that shape."""
    try:
        found = np.lib.format.open_memmap(partial, "r+")
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.uint8 else None


def _numbers(journal: Path) -> set[int]:
    """Read the finished pieces; a last line without its end was cut off, and its piece is made again."""
    if not journal.is_file():
        return set()
    lines = journal.read_text(encoding="utf-8").split("\n")[:-1]
    return {int(line) for line in lines if line.isdecimal()}
