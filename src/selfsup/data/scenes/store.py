"""Thousands of scenes on disk: drawn once by worker processes, in parts that survive an interruption."""

import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Int64, UInt8

import selfsup.data.scenes as scenes
from selfsup.data.scenes.description import describe
from selfsup.data.scenes.renderer import check_size, render, require_panda3d
from selfsup.errors import InputError
from selfsup.progress import silent

PART = 50  # scenes drawn between two writes: a quarter of a second at 64 pixels, about what an interruption costs

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Order:
    """What to draw, in parts of so many scenes, and where to keep it."""

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

    def file_of(self, part: int) -> Path:
        """Where a part waits until all are there."""
        return Path(self.folder) / "parts" / f"{self.part_length}-{part:06d}.npz"


def rendered(
    count: int,
    size: int,
    seed: int,
    cache: Path,
    workers: int = 2,
    progress: Progress = silent,
    room: bool = True,
) -> tuple[UInt8[np.ndarray, "N 3 S S"], Int64[np.ndarray, " N"]]:
    """Give scenes 0 to count - 1 of a seed: pixels memory-mapped read-only, and the classes of their main things.

    What was drawn before is read from the cache; what an interrupted call had finished is kept. Scene i is the same
    whatever the count, the number of workers or their order.

    Args:
        count: how many, at least 1.
        seed: of the whole set; sets of two seeds have nothing in common.
        size: side in pixels, 16 to 512.
        cache: folder to keep them in; changed drawing code or another panda3d never reads old pictures.
        workers: processes that draw; 0 draws in this one.
        progress: told ("drawing scenes", done, count), first and after each part.
        room: with floor and walls, or on a plain ground (where up and down show in the things alone).

    Raises:
        InputError: if count, size or workers is out of range or panda3d is missing.
    """
    if count < 1:
        raise InputError(f"At least one scene is needed, got {count}; try 3000.")
    if workers < 0:
        raise InputError(f"Scenes are drawn by 0 or more worker processes, got {workers}; try 2.")
    check_size(size)
    name = f"scenes-{'room' if room else 'plain'}-{size}px-{count}-seed{seed}-{_drawing_code()}"
    order = Order(str(Path(cache) / name), count, size, seed, room, PART)
    if (found := _open(order)) is None:
        require_panda3d()
        _draw(order, workers, progress)
        _assemble(order)
        found = _open(order)
    if found is None:
        raise RuntimeError(f"the scenes just written to {order.folder} cannot be read back")
    return found


def draw_part(order: Order, part: int) -> None:
    """Draw one part and write it, in this process."""
    described = [describe(order.seed, index, order.room) for index in order.scenes_of(part)]
    pixels = np.stack([picture.transpose(2, 0, 1) for picture in render(described, order.size)])
    labels = np.array([scene.label for scene in described], dtype=np.int64)
    _write(order.file_of(part), lambda file: np.savez(file, pixels=pixels, labels=labels))


def _open(order: Order) -> tuple[np.ndarray, np.ndarray] | None:
    """Open finished arrays; None if they are missing, cut short or not what was ordered."""
    try:
        pixels = np.load(Path(order.folder) / "pixels.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(Path(order.folder) / "labels.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    right = pixels.shape == (order.count, 3, order.size, order.size) and pixels.dtype == np.uint8
    return (pixels, labels) if right and labels.shape == (order.count,) else None


def _draw(order: Order, workers: int, progress: Progress) -> None:
    missing = [part for part in order.parts() if _read_part(order, part) is None]
    done = order.count - sum(len(order.scenes_of(part)) for part in missing)
    progress("drawing scenes", done, order.count)
    drawing = _by_workers(order, missing, min(workers, len(missing))) if workers else _here(order, missing)
    with closing(drawing):  # whatever progress() raises, the workers are stopped before it goes on its way
        for part in drawing:
            done += len(order.scenes_of(part))
            progress("drawing scenes", done, order.count)


def _here(order: Order, parts: list[int]) -> Generator[int, None, None]:
    for part in parts:
        draw_part(order, part)
        yield part


def _by_workers(order: Order, parts: list[int], workers: int) -> Generator[int, None, None]:
    """Let processes draw; yield each part's number when it is written. No process outlives the call.

    They are plain `python -m` processes, not multiprocessing's: nothing of the caller's main module is imported in
    them (no torch, no need for a `__main__` guard), and what the engine prints stays in a file.
    """
    news: queue.Queue[str | None] = queue.Queue()
    running: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryFile("w+") as said:
        try:
            for number in range(workers):
                running.append(_started(order, parts[number::workers], said))
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


def _started(order: Order, parts: list[int], said: IO[str]) -> subprocess.Popen[str]:
    package_root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "selfsup.data.scenes.worker", json.dumps(asdict(order)), json.dumps(parts)],
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


def _read_part(order: Order, part: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Read a part; None if it is missing or damaged."""
    try:
        with np.load(order.file_of(part), allow_pickle=False) as arrays:
            pixels, labels = arrays["pixels"], arrays["labels"]
    except Exception:  # whatever a damaged archive makes zipfile or numpy raise, the answer is to draw it again
        return None
    return (pixels, labels) if pixels.shape == (len(order.scenes_of(part)), 3, order.size, order.size) else None


def _assemble(order: Order) -> None:
    """Join the parts to the two arrays; the pixels appear last, so where they are all is there."""
    folder = Path(order.folder)
    labels = np.empty(order.count, np.int64)

    def write(file: IO[bytes]) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (order.count, 3, order.size, order.size)}
        np.lib.format.write_array_header_1_0(file, header)
        for part in order.parts():
            arrays = _read_part(order, part)
            if arrays is None:
                raise FileNotFoundError(order.file_of(part))
            file.write(arrays[0].tobytes())
            labels[order.scenes_of(part)] = arrays[1]

    def write_labels() -> None:
        _write(folder / "labels.npy", lambda file: np.save(file, labels))

    try:
        _write(folder / "pixels.npy", write, before=write_labels)
    except FileNotFoundError:
        if _open(order) is None:  # else another process finished the same order and cleared the parts away
            raise
    shutil.rmtree(folder / "parts", ignore_errors=True)


def _write(path: Path, write: Callable[[IO[bytes]], None], before: Callable[[], None] = lambda: None) -> None:
    """Write a file whole or not at all; `before` runs when the content is on disk and the name is not yet given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        before()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _renderer_version() -> str:
    """Say which panda3d draws, without loading it; pictures that are on disk need none."""
    try:
        return version("panda3d")
    except PackageNotFoundError:
        return "none"


def _drawing_code() -> str:
    """Name the drawing code by its content, and the renderer's version, so that no stale picture is ever read."""
    digest = hashlib.sha256(_renderer_version().encode())
    for name in ("shapes", "textures", "description", "geometry", "renderer"):
        digest.update((Path(scenes.__path__[0]) / f"{name}.py").read_bytes())
    return digest.hexdigest()[:10]
