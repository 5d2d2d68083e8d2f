"""Work through files in many processes at once, so that what brings one down costs that file alone.

Forked processes on Linux (each reads, decodes, resizes and writes; only a line per file comes back), threads
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from typing import Any

from selfsup.data.listing import Entry

Said = Callable[[], str]
"""Gives what decoders printed since the last call; nothing in threads, where it cannot be told apart."""
Work = Callable[[list[int]], list[Any]]
"""Does the files of these numbers and gives an outcome for each."""
Make = Callable[[AbstractContextManager[Any], Said], Work]
"""Starts a worker; the lock is one for all of them."""


def default_workers() -> int:
    """One per core this process may use, at most 32."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 32)


def in_workers(
    make: Make,
    pieces: Iterable[list[int]],
    workers: int,
    handle: Callable[[list[Any]], None],
    lost: Callable[[int, str], Any],
    forked: bool | None = None,
) -> None:
    """Do all pieces of work, in any order, and hand over their outcomes as they come.

    Args:
        make: starts a worker, in its own process or thread.
        pieces: files that are done together, by their numbers.
        workers: how many there are.
        handle: is given outcomes.
        lost: gives the outcome of a file that brought its process down (or was killed with it for want of memory),
            with the reason.
        forked: whether workers are processes; by default where that is safe.
    """
    forked = sys.platform == "linux" if forked is None else forked
    waiting = deque(pieces)
    while waiting:
        running: dict[Future[list[Any]], list[int]] = {}
        try:
            with _executor(make, workers, forked) as submit:
                while waiting or running:
                    while waiting and len(running) < 3 * workers:
                        piece = waiting.popleft()
                        running[submit(piece)] = piece
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        outcomes = future.result()
                        del running[future]
                        handle(outcomes)
        except BrokenProcessPool:
            for piece in running.values():
                _one_by_one(make, piece, handle, lost)


def pieces_of(
    entries: Sequence[Entry], numbers: Sequence[int], most_files: int = 128, most_bytes: int = 4 * 2**20
) -> Iterator[list[int]]:
    """Cut the files of `numbers` into pieces of work of similar size; a large one is a piece of its own."""
    piece: list[int] = []
    size = 0
    for number in numbers:
        if piece and (len(piece) == most_files or size + entries[number].size > most_bytes):
            yield piece
            piece, size = [], 0
        piece.append(number)
        size += entries[number].size
    if piece:
        yield piece


def _one_by_one(
    make: Make, numbers: Sequence[int], handle: Callable[[list[Any]], None], lost: Callable[[int, str], Any]
) -> None:
    left = deque(numbers)
    while left:
        try:
            with _executor(make, 1, forked=True) as submit:
                while left:
                    handle(submit([left[0]]).result())
                    left.popleft()
        except BrokenProcessPool:
            handle([lost(left.popleft(), "the decoder crashed or ran out of memory on it")])


@contextlib.contextmanager
def _executor(make: Make, workers: int, forked: bool) -> Iterator[Callable[[list[int]], "Future[list[Any]]"]]:
    executor: Executor
    if forked:
        gc.freeze()  # else every collection, here and in the workers, goes through (and copies) all that torch brought
        context = multiprocessing.get_context("fork")
        executor = ProcessPoolExecutor(workers, context, _start_process, (make, context.Lock()))
        work: Work = _work_in_process
    else:
        executor = ThreadPoolExecutor(workers)
        work = make(threading.Lock(), _nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads: the children use none of them
            yield lambda numbers: executor.submit(work, numbers)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _nothing() -> str:
    return ""


# ---- in a worker


class _Printed:
    """The error output of a worker's process, which is read instead of shown."""

    def __init__(self) -> None:
        import tempfile

        self.messages = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the worker lives)
        os.dup2(self.messages.fileno(), 2)

    def __call__(self) -> str:
        place = os.lseek(2, 0, os.SEEK_CUR)
        if place == 0:
            return ""
        text = os.pread(2, place, 0)
        os.lseek(2, 0, os.SEEK_SET)
        os.ftruncate(2, 0)
        return text.decode("utf-8", "replace")


_work: Work


def _start_process(make: Make, alone: AbstractContextManager[Any]) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops the work
    warnings.simplefilter("ignore")
    if "torch" in sys.modules:  # not to be loaded for its own sake: it takes seconds
        sys.modules["torch"].set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work = make(alone, _Printed())


def _work_in_process(numbers: list[int]) -> list[Any]:
    return _work(numbers)


def _end_with_parent() -> None:
    """Leave when the parent was killed; waiting for work alone would last for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
