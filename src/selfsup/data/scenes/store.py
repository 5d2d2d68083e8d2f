"""Thousands of scenes, or of clips, on disk: drawn once by worker processes, in parts that survive an interruption."""

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Int64, UInt8

import selfsup.data.scenes as scenes
from selfsup.data.scenes import crew
from selfsup.data.scenes.crew import Order
from selfsup.data.scenes.description import describe
from selfsup.data.scenes.motion import FRAMES, RATE, describe_moving
from selfsup.data.scenes.renderer import check_size, render, require_panda3d
from selfsup.errors import InputError
from selfsup.progress import silent

PART = 50  # pictures drawn between two writes: a quarter of a second at 64 pixels, about what an interruption costs
CLIPS = PART // FRAMES

Progress = Callable[[str, int, int], None]

OF_MOTION = ("paths", "movements", "sight", "motion")
"""Modules that say what moves and how, beside those that draw."""


@dataclass(frozen=True)
class StoreOrder(Order):
    """What to draw into the cache."""

    moving: bool = False

    def file_of(self, part: int) -> Path:
        """Where a part waits until all are there."""
        return Path(self.folder) / "parts" / f"{self.part_length}-{part:06d}.npz"

    @property
    def frames(self) -> int:
        """Pictures of each scene."""
        return FRAMES if self.moving else 1

    def shape(self, scenes: int) -> tuple[int, int, int, int]:
        """Give the shape of the pictures of so many scenes."""
        return scenes * self.frames, 3, self.size, self.size


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
    _check(count, size, workers, "scene", 3000)
    name = f"scenes-{'room' if room else 'plain'}-{size}px-{count}-seed{seed}-{drawing_code()}"
    return _fetched(StoreOrder(str(Path(cache) / name), count, size, seed, room, PART), workers, progress)


def moving(
    count: int, size: int, seed: int, cache: Path, workers: int = 2, progress: Progress = silent
) -> tuple[UInt8[np.ndarray, "F 3 S S"], Int64[np.ndarray, " N"]]:
    """Give moving scenes 0 to count - 1 of a seed, as clips of `FRAMES` frames, `RATE` of them a second.

    They are kept as `rendered` keeps stills.

    Args:
        count: how many clips, at least 1.
        seed: of the whole set.
        size: side in pixels, 16 to 512.
        cache: as in `rendered`.
        workers: as in `rendered`.
        progress: told ("drawing clips", done, count), first and after each part.

    Returns: the frames of all clips, one clip after the other, memory-mapped read-only; and the class of motion of each
        clip, a place in MOTIONS.

    Raises:
        InputError: if count, size or workers is out of range or panda3d is missing.
    """
    _check(count, size, workers, "clip", 300)
    name = f"moving-scenes-{size}px-{count}-seed{seed}-{drawing_code(*OF_MOTION)}"
    order = StoreOrder(str(Path(cache) / name), count, size, seed, True, CLIPS, moving=True)
    return _fetched(order, workers, progress)


def _check(count: int, size: int, workers: int, what: str, enough: int) -> None:
    """Refuse what cannot be drawn."""
    if count < 1:
        raise InputError(f"At least one {what} is needed, got {count}; try {enough}.")
    if workers < 0:
        raise InputError(f"Scenes are drawn by 0 or more worker processes, got {workers}; try 2.")
    check_size(size)


def _fetched(order: StoreOrder, workers: int, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Give what was ordered, drawn now if it was not before."""
    if (found := _open(order)) is None:
        require_panda3d()
        _draw(order, workers, progress)
        _assemble(order)
        found = _open(order)
    if found is None:
        raise RuntimeError(f"the scenes just written to {order.folder} cannot be read back")
    return found


def draw_part(order: StoreOrder, part: int) -> None:
    """Draw one part and write it, in this process."""
    if order.moving:
        clips = [describe_moving(order.seed, index) for index in order.scenes_of(part)]
        labels = np.array([clip.label for clip in clips], dtype=np.int64)
        described = [clip.at(frame / RATE) for clip in clips for frame in range(FRAMES)]
    else:
        described = [describe(order.seed, index, order.room) for index in order.scenes_of(part)]
        labels = np.array([scene.label for scene in described], dtype=np.int64)
    pixels = np.stack([picture.transpose(2, 0, 1) for picture in render(described, order.size)])
    _write(order.file_of(part), lambda file: np.savez(file, pixels=pixels, labels=labels))


def _open(order: StoreOrder) -> tuple[np.ndarray, np.ndarray] | None:
    """Open finished arrays; None if they are missing, cut short or not what was ordered."""
    try:
        pixels = np.load(Path(order.folder) / "pixels.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(Path(order.folder) / "labels.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    right = pixels.shape == order.shape(order.count) and pixels.dtype == np.uint8
    return (pixels, labels) if right and labels.shape == (order.count,) else None


def _draw(order: StoreOrder, workers: int, progress: Progress) -> None:
    missing = [part for part in order.parts() if _read_part(order, part) is None]
    done = order.count - sum(len(order.scenes_of(part)) for part in missing)
    what = "drawing clips" if order.moving else "drawing scenes"
    progress(what, done, order.count)
    with closing(crew.done("store", order, missing, workers)) as drawing:
        for part in drawing:
            done += len(order.scenes_of(part))
            progress(what, done, order.count)


def _read_part(order: StoreOrder, part: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Read a part; None if it is missing or damaged."""
    try:
        with np.load(order.file_of(part), allow_pickle=False) as arrays:
            pixels, labels = arrays["pixels"], arrays["labels"]
    except Exception:  # whatever a damaged archive makes zipfile or numpy raise, the answer is to draw it again
        return None
    return (pixels, labels) if pixels.shape == order.shape(len(order.scenes_of(part))) else None


def _assemble(order: StoreOrder) -> None:
    """Join the parts to the two arrays; the pixels appear last, so where they are all is there."""
    folder = Path(order.folder)
    labels = np.empty(order.count, np.int64)

    def write(file: IO[bytes]) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": order.shape(order.count)}
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


def drawing_code(*others: str) -> str:
    """Name the drawing code by its content, and the renderer's version, so that no stale picture is ever read.

    Args:
        others: modules of this package beside those that draw.
    """
    digest = hashlib.sha256(_renderer_version().encode())
    for name in ("shapes", "textures", "scene", "description", "geometry", "renderer", *others):
        digest.update((Path(scenes.__path__[0]) / f"{name}.py").read_bytes())
    return digest.hexdigest()[:10]
