"""Pictures with their truth as arrays on disk, filled part by part by worker processes."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from selfsup.data.cache import check_space, locked, write_json
from selfsup.data.listing import Skipped
from selfsup.data.progress import Progress
from selfsup.data.scenes import crew
from selfsup.data.scenes.crew import Order

LAYOUT: dict[str, tuple[int, type[np.generic]]] = {
    "scenes": (3, np.uint8),
    "depth": (0, np.float16),
    "normals": (3, np.float16),
    "contours": (1, np.uint8),
}
"""Channels (0: none) and type of each array. Half precision is off by 0.05 %, at most 0.03 degrees of a normal."""
PART = 50
"""Pictures made between two notes: a third of a second at 64 pixels."""

Maps = Mapping[str, Shaped[np.ndarray, "n ..."]]


def filled(
    kind: str, order: Order, names: Sequence[str], workers: int, progress: Progress, what: str
) -> tuple[dict[str, np.ndarray], list[Skipped]]:
    """Have all parts of an order made that are not there yet; give the arrays, and the pictures that cannot be used.

    What an interrupted call had finished is kept; where another process is at it, this one waits.

    Args:
        kind: of order, one of `crew.KINDS`.
        order: what to make, and the folder for it alone.
        names: arrays, of `LAYOUT`.
        workers: processes; 0 works in this one.
        progress: told (`what`, pictures done, pictures).
        what: the work in words.
    """
    folder = Path(order.folder)
    done = folder / "done.json"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock", progress):
        arrays = opened(order, names)
        if arrays is None or not done.is_file():
            if arrays is None:
                _begin(order, names, done)
            _make(kind, order, workers, progress, what)
            write_json(done, [line for part in order.parts() for line in _noted(order, part) or []])
            shutil.rmtree(folder / "parts", ignore_errors=True)
            arrays = opened(order, names)
    if arrays is None:
        raise RuntimeError(f"the arrays just written to {order.folder} cannot be read back")
    return arrays, [Skipped(*line) for line in json.loads(done.read_text(encoding="utf-8"))]


def opened(order: Order, names: Sequence[str], mode: Literal["r", "r+"] = "r") -> dict[str, np.ndarray] | None:
    """Map the arrays of an order; None if one is missing or not what was ordered."""
    found: dict[str, np.ndarray] = {}
    for name in names:
        try:
            array = np.load(_file(order, name), mmap_mode=mode, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if array.shape != _shape(order, name) or array.dtype != LAYOUT[name][1]:
            return None
        found[name] = array
    return found


def write_part(order: Order, part: int, maps: Maps, skipped: Sequence[Skipped] = ()) -> None:
    """Put the rows of one part into the arrays, then note that it is there."""
    arrays = opened(order, list(maps), "r+")
    if arrays is None:
        raise RuntimeError(f"the arrays in {order.folder} are gone")
    rows = order.scenes_of(part)
    for name, values in maps.items():
        arrays[name][rows.start : rows.stop] = values
        arrays[name].flush()  # type: ignore[attr-defined]  # the rows first, then the note that counts on them
    note = _note(order, part)
    note.parent.mkdir(exist_ok=True)
    temporary = note.with_name(f".{note.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(list(skipped), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(note)


def _make(kind: str, order: Order, workers: int, progress: Progress, what: str) -> None:
    missing = [part for part in order.parts() if _noted(order, part) is None]
    done = order.count - sum(len(order.scenes_of(part)) for part in missing)
    progress(what, done, order.count)
    with closing(crew.done(kind, order, missing, workers)) as making:
        for part in making:
            done += len(order.scenes_of(part))
            progress(what, done, order.count)


def _begin(order: Order, names: Sequence[str], done: Path) -> None:
    """Make empty arrays; the system gives them disk as they are filled."""
    folder = Path(order.folder)
    done.unlink(missing_ok=True)
    shutil.rmtree(folder / "parts", ignore_errors=True)
    check_space(folder, sum(int(np.prod(_shape(order, n))) * np.dtype(LAYOUT[n][1]).itemsize for n in names))
    for name in names:
        np.lib.format.open_memmap(_file(order, name), "w+", LAYOUT[name][1], _shape(order, name)).flush()


def _shape(order: Order, name: str) -> tuple[int, ...]:
    channels = LAYOUT[name][0]
    return (order.count, *([channels] if channels else []), order.size, order.size)


def _file(order: Order, name: str) -> Path:
    return Path(order.folder) / f"{name}.npy"


def _note(order: Order, part: int) -> Path:
    return Path(order.folder) / "parts" / f"{order.part_length}-{part:06d}.json"


def _noted(order: Order, part: int) -> list[list[str]] | None:
    """Read what was noted of a part: the pictures skipped; None if it is not there."""
    try:
        found: list[list[str]] = json.loads(_note(order, part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
