"""Worker processes that draw the parts of an order, each `python -m selfsup.data.scenes.worker KIND ORDER PARTS`."""

import importlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

KINDS = {
    "store": ("StoreOrder", "draw_part"),
    "folder": ("FolderOrder", "write_part"),
    "truth_store": ("Order", "draw_part"),
    "foreign": ("ForeignOrder", "read_part"),
}
"""Modules with an order that JSON can hold, and with what draws a part of it."""


@dataclass(frozen=True)
class Order:
    """What to draw, in parts of so many scenes, and where to."""

    folder: str
    count: int
    size: int
    seed: int
    room: bool
    part_length: int

    def scenes_of(self, part: int) -> range:
        """Give the indices of the scenes of a part."""
        return range(part * self.part_length, min((part + 1) * self.part_length, self.count))

    def parts(self) -> range:
        """Give the numbers of all parts."""
        return range(-(-self.count // self.part_length))


def done(kind: str, order: Order, parts: Sequence[int], workers: int) -> Generator[int, None, None]:
    """Draw parts and give the number of each when it is written; close it, and no process outlives it.

    Args:
        kind: of order, one of KINDS.
        order: what to draw.
        parts: numbers of its parts.
        workers: processes; 0 draws in this one.
    """
    if workers == 0:
        draw = of_kind(kind)[1]
        for part in parts:
            draw(order, part)
            yield part
        return
    yield from _by_workers(kind, order, list(parts), min(workers, len(parts)))


def of_kind(kind: str) -> tuple[Callable[..., Any], Callable[[Any, int], None]]:
    """Give what makes an order of its fields, and what draws a part of it."""
    module = importlib.import_module(f"selfsup.data.scenes.{kind}")
    order, draw = (getattr(module, name) for name in KINDS[kind])
    return order, draw


def _by_workers(kind: str, order: Order, parts: list[int], workers: int) -> Generator[int, None, None]:
    """Let processes draw; yield each part's number when it is written. No process outlives the call.

    They are plain `python -m` processes, not multiprocessing's: nothing of the caller's main module is imported in
    them (no torch, no need for a `__main__` guard), and what the engine prints stays in a file.
    """
    news: queue.Queue[str | None] = queue.Queue()
    running: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryFile("w+") as said:
        try:
            for number in range(workers):
                running.append(_started(kind, order, parts[number::workers], said))
                threading.Thread(target=_listen, args=(running[-1], news), daemon=True).start()
            talking = workers
            while talking > 0:
                try:
                    line = news.get(timeout=0.5)  # the time-out lets Ctrl-C through on every system
                except queue.Empty:
                    continue
                if line is None:
                    talking -= 1
                else:
                    yield int(line)
            if any(process.wait() for process in running):
                said.seek(0)
                raise RuntimeError(f"drawing scenes failed in a worker process:\n{said.read()[-2000:]}")
        finally:
            for process in running:
                process.kill()  # a part half written is a temporary file, nothing more
            for process in running:
                process.wait()


def _started(kind: str, order: Order, parts: list[int], said: IO[str]) -> subprocess.Popen[str]:
    package_root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "selfsup.data.scenes.worker", kind, json.dumps(asdict(order)), json.dumps(parts)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    return process


def _listen(process: "subprocess.Popen[str]", news: "queue.Queue[str | None]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        news.put(line)
    news.put(None)
