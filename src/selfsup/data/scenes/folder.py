"""Scenes as a folder that others can use: pictures, or clips of them, and what is true of each pixel beside them."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from selfsup.data.progress import Progress, silent
from selfsup.data.scenes import crew
from selfsup.data.scenes.files import ABOUT, MAPS, FolderOrder, Map, finish, noted, write_json, write_part
from selfsup.data.scenes.motion import FRAMES, RATE
from selfsup.data.scenes.renderer import check_size, require_panda3d
from selfsup.data.scenes.store import OF_MOTION, drawing_code
from selfsup.errors import InputError

__all__ = ["MAPS", "FolderOrder", "Map", "render_scenes", "write_part"]

ROOMS = {"scenes": True, "plain-scenes": False, "moving-scenes": True}
"""Sources by name, and whether there is a room around the things."""
PART = 50
"""Pictures between two notes of how far the work is."""


def render_scenes(
    source: str,
    out: Path,
    *,
    count: int = 1000,
    size: int = 64,
    truth: Sequence[Map] = (),
    seed: int = 0,
    frames: int | None = None,
    frame_rate: float | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> Path:
    """Render scenes into a folder: pictures and, if asked for, depth, normals, contours, boxes and masks.

    The same call goes on where an interrupted one stopped; with a larger count it adds pictures. Picture i of a seed is
    the same in every folder. `README.txt` in the folder says what its files mean.

    Args:
        source: `scenes` (things in a room), `plain-scenes` (on a plain ground) or `moving-scenes` (clips in which
            something moves).
        out: folder to write into; new, or of an earlier call with the same settings.
        count: pictures; of `moving-scenes` clips.
        size: side in pixels, 16 to 512.
        truth: what to write beside the pictures: `depth` (16-bit PNG), `normals`, `contours`, `boxes` (COCO and PASCAL
            VOC), `masks` (of things and of classes), or several.
        seed: of the whole set.
        frames: of each clip of `moving-scenes`; 24 if not given. What moves is drawn to be seen in the first two
            seconds, and all is at rest after some more.
        frame_rate: frames a second of `moving-scenes`; 12 if not given.
        workers: processes that draw; by default one for each core.
        progress: told how far the work is.

    Returns: the folder.

    Raises:
        InputError: for settings that cannot be used, or a folder that holds something else.
    """
    check(source, truth, count, seed, workers)
    _check_clips(source, frames, frame_rate)
    check_size(size)
    out = Path(out).expanduser()
    maps = tuple(name for name in MAPS if name in truth)
    drawn_by = drawing_code(*OF_MOTION, "truth", "moments", "annotations", "files")
    settings = {"source": source, "size": size, "seed": seed, "truth": list(maps), "version": drawn_by}
    length, per_second = 0, 0.0
    if source == "moving-scenes":
        length, per_second = frames or FRAMES, float(frame_rate or RATE)
        settings |= {"frames": length, "frame_rate": per_second}
    part = max(1, PART // max(1, length))
    order = FolderOrder(str(out), count, size, seed, ROOMS[source], part, maps, length, per_second)
    _claim(out, settings)
    if (more := _held(out)) > count:
        raise InputError(f"{str(out)!r} holds {more:,} scenes already, got {count:,}; give as many or more.")
    missing = [part for part in order.parts() if noted(order, part) is None]
    if missing:
        require_panda3d()
    done = count - sum(len(order.scenes_of(part)) for part in missing)
    progress("rendering scenes", done, count)
    with closing(crew.done("folder", order, missing, os.cpu_count() or 1 if workers is None else workers)) as drawing:
        for part in drawing:
            done += len(order.scenes_of(part))
            progress("rendering scenes", done, count)
    finish(order)
    return out


def check(source: str, truth: Sequence[str], count: int, seed: int, workers: int | None) -> None:
    """Refuse what cannot be rendered."""
    if source not in ROOMS:
        raise InputError(f"{source!r} cannot be rendered; choose scenes, plain-scenes or moving-scenes.")
    wrong = [name for name in truth if name not in MAPS]
    if wrong:
        raise InputError(f"There is no truth {wrong[0]!r}; choose from {', '.join(MAPS)}.")
    if count < 1:
        raise InputError(f"At least one picture is needed, got {count}; try 1000.")
    if seed < 0:
        raise InputError(f"The seed is a number from 0, got {seed}.")
    if workers is not None and workers < 0:
        raise InputError(f"Scenes are drawn by 0 or more worker processes, got {workers}; try 2.")


def _check_clips(source: str, frames: int | None, frame_rate: float | None) -> None:
    """Refuse clips that cannot be, and clips of what stands still."""
    if source != "moving-scenes" and (frames, frame_rate) != (None, None):
        raise InputError(f"Clips are made of moving-scenes, not of {source}; leave frames and frame rate away.")
    if frames is not None and not 2 <= frames <= 9999:
        raise InputError(f"A clip has 2 to 9999 frames, got {frames}; try {FRAMES}.")
    if frame_rate is not None and not 0 < frame_rate <= 1000:
        raise InputError(f"The frame rate is above 0 and at most 1000 a second, got {frame_rate:g}; try {RATE:g}.")


def _claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Begin a folder, or go on with one that was begun with the same settings."""
    about = out / ABOUT
    if about.is_file():
        try:
            before = json.loads(about.read_text(encoding="utf-8"))
        except (ValueError, UnicodeDecodeError):
            before = {}
        differing = [key for key in settings if not isinstance(before, dict) or before.get(key) != settings[key]]
        if differing:
            what = "by another version of selfsup" if differing == ["version"] else f"with another {differing[0]}"
            raise InputError(f"{str(out)!r} holds scenes {what}; give another folder, or the same settings.")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{str(out)!r} holds something else; give a new folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_json(about, settings)


def _held(out: Path) -> int:
    """Count the scenes of a finished folder; 0 of one that was begun only."""
    try:
        with (out / "labels.csv").open(encoding="utf-8") as file:
            return sum(1 for _ in file) - 1
    except OSError:
        return 0
