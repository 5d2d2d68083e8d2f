"""Scenes as a folder that others can use: pictures, and what is true of each pixel beside them."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

import numpy as np
from jaxtyping import Shaped, UInt8

from selfsup.data.progress import Progress, silent
from selfsup.data.scenes import crew
from selfsup.data.scenes.crew import Order
from selfsup.data.scenes.description import Scene, describe
from selfsup.data.scenes.renderer import check_size, render, require_panda3d
from selfsup.data.scenes.shapes import CLASSES
from selfsup.data.scenes.store import drawing_code
from selfsup.data.scenes.truth import Truth, truth
from selfsup.errors import InputError

Map = Literal["depth", "normals", "contours", "boxes", "masks"]
MAPS: tuple[Map, ...] = ("depth", "normals", "contours", "boxes", "masks")
ROOMS = {"scenes": True, "plain-scenes": False}
"""Sources by name, and whether there is a room around the things."""
PART = 50
UNIT = 1000
"""Steps of a 16-bit depth image in one world unit."""
ABOUT = "about.json"

README = """Rendered scenes, {size} x {size} pixels, numbered from 000000. Everything is taken in the middle of a pixel.

rgb/NNNNNN.png       the picture, antialiased
{lines}labels.csv           picture and class of its main thing
cameras.json         of each picture: eye, target, field of view in degrees, near and far

World units: a thing is about one unit large. The camera's frame is right, down, forward.
"""
LINES = {
    "depth": "depth/NNNNNN.png     16 bits: depth along the view axis in thousandths of a unit; 0: nothing is seen",
    "normals": "normal/NNNNNN.png    8 bits: 127.5 (n + 1) of the unit normal's right, down, forward; 0 0 0: nothing",
    "contours": "contour/NNNNNN.png   8 bits: 255 on the edges of things, one pixel wide, on the nearer side",
    "boxes": "coco.json, voc/      boxes of what is seen of each thing, as COCO and as PASCAL VOC have them",
    "masks": "instance/, class/    8 bits: 0 room and ground; the number of the thing; 1 + the number of its class",
}


@dataclass(frozen=True)
class FolderOrder(Order):
    """What to draw, and which maps beside it."""

    maps: tuple[Map, ...]

    def file_of(self, part: int) -> Path:
        """Where it is noted what a part holds, once all of its pictures are there."""
        return Path(self.folder) / ".parts" / f"{part:06d}.json"


def render_scenes(
    source: str,
    out: Path,
    *,
    count: int = 1000,
    size: int = 64,
    truth: Sequence[Map] = (),
    seed: int = 0,
    workers: int | None = None,
    progress: Progress = silent,
) -> Path:
    """Render scenes into a folder: pictures and, if asked for, depth, normals, contours, boxes and masks.

    The same call goes on where an interrupted one stopped; with a larger count it adds pictures. Picture i of a seed is
    the same in every folder. `README.txt` in the folder says what its files mean.

    Args:
        source: `scenes` (things in a room) or `plain-scenes` (on a plain ground).
        out: folder to write into; new, or of an earlier call with the same settings.
        count: pictures.
        size: side in pixels, 16 to 512.
        truth: what to write beside the pictures: `depth` (16-bit PNG), `normals`, `contours`, `boxes` (COCO and PASCAL
            VOC), `masks` (of things and of classes), or several.
        seed: of the whole set.
        workers: processes that draw; by default one for each core.
        progress: told how far the work is.

    Returns: the folder.

    Raises:
        InputError: for settings that cannot be used, or a folder that holds something else.
    """
    check(source, truth, count, seed, workers)
    check_size(size)
    out = Path(out).expanduser()
    maps = tuple(name for name in MAPS if name in truth)
    order = FolderOrder(str(out), count, size, seed, ROOMS[source], PART, maps)
    drawn_by = drawing_code("truth", "folder")
    _claim(out, {"source": source, "size": size, "seed": seed, "truth": list(maps), "version": drawn_by})
    if (more := _held(out)) > count:
        raise InputError(f"{str(out)!r} holds {more:,} scenes already, got {count:,}; give as many or more.")
    missing = [part for part in order.parts() if _noted(order, part) is None]
    if missing:
        require_panda3d()
    done = count - sum(len(order.scenes_of(part)) for part in missing)
    progress("rendering scenes", done, count)
    with closing(crew.done("folder", order, missing, os.cpu_count() or 1 if workers is None else workers)) as drawing:
        for part in drawing:
            done += len(order.scenes_of(part))
            progress("rendering scenes", done, count)
    _finish(order)
    return out


def check(source: str, truth: Sequence[str], count: int, seed: int, workers: int | None) -> None:
    """Refuse what cannot be rendered."""
    if source not in ROOMS:
        raise InputError(f"{source!r} cannot be rendered; choose scenes or plain-scenes.")
    wrong = [name for name in truth if name not in MAPS]
    if wrong:
        raise InputError(f"There is no truth {wrong[0]!r}; choose from {', '.join(MAPS)}.")
    if count < 1:
        raise InputError(f"At least one picture is needed, got {count}; try 1000.")
    if seed < 0:
        raise InputError(f"The seed is a number from 0, got {seed}.")
    if workers is not None and workers < 0:
        raise InputError(f"Scenes are drawn by 0 or more worker processes, got {workers}; try 2.")


def write_part(order: FolderOrder, part: int) -> None:
    """Draw one part and write its files, in this process; what is noted of it comes last."""
    if isinstance(order.maps, list):  # from JSON
        order = FolderOrder(**{**asdict(order), "maps": tuple(order.maps)})
    notes = []
    described = [describe(order.seed, index, order.room) for index in order.scenes_of(part)]
    for scene, picture in zip(described, render(described, order.size), strict=True):
        name = f"{scene.index:06d}"
        _write_png(order, "rgb", name, picture)
        found = truth(scene, order.size) if order.maps else None
        notes.append(_note(scene, found if "boxes" in order.maps else None))
        if found is not None:
            for place, pixels in _images(scene, found, order.maps).items():
                _write_png(order, place, name, pixels)
    _write(order.file_of(part), json.dumps({"first": part * order.part_length, "scenes": notes}).encode())


def _images(scene: Scene, found: Truth, maps: Sequence[Map]) -> dict[str, Shaped[np.ndarray, "S S ..."]]:
    """Give the images of the maps: folder -> pixels."""
    images: dict[str, np.ndarray] = {}
    if "depth" in maps:
        images["depth"] = np.round(np.minimum(found.depth * UNIT, 65535)).astype(np.uint16)
    if "normals" in maps:
        images["normal"] = np.where(found.seen[:, :, None], np.round((found.normals + 1) * 127.5), 0).astype(np.uint8)
    if "contours" in maps:
        images["contour"] = found.contours * np.uint8(255)
    if "masks" in maps:
        images |= {"instance": found.instances, "class": found.classes(scene)}
    return images


def _note(scene: Scene, found: Truth | None) -> dict[str, Any]:
    """Say of a scene what stands in the files about all pictures."""
    note: dict[str, Any] = {"label": CLASSES[scene.label], "camera": asdict(scene.camera)}
    if found is not None:
        boxes = found.boxes(len(scene.things)).tolist()
        areas = np.bincount(found.instances.ravel(), minlength=len(boxes) + 1)[1:].tolist()
        note["things"] = [
            {"class": thing.shape, "box": box, "area": area}
            for thing, box, area in zip(scene.things, boxes, areas, strict=True)
            if area > 0
        ]
    return note


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
    _write_json(about, settings)


def _held(out: Path) -> int:
    """Count the scenes of a finished folder; 0 of one that was begun only."""
    try:
        with (out / "labels.csv").open(encoding="utf-8") as file:
            return sum(1 for _ in file) - 1
    except OSError:
        return 0


def _noted(order: FolderOrder, part: int) -> list[dict[str, Any]] | None:
    """Read what is noted of a part; None if it is missing, damaged or was shorter."""
    try:
        noted = json.loads(order.file_of(part).read_text(encoding="utf-8"))
        scenes: list[dict[str, Any]] = noted["scenes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return scenes if len(scenes) == len(order.scenes_of(part)) else None


def _finish(order: FolderOrder) -> None:
    """Write the files about all pictures."""
    out = Path(order.folder)
    notes = [note for part in order.parts() for note in _noted(order, part) or []]
    names = [f"{index:06d}" for index in range(len(notes))]
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["image", "label"])
    writer.writerows((f"rgb/{name}.png", note["label"]) for name, note in zip(names, notes, strict=True))
    _write(out / "labels.csv", rows.getvalue().encode())
    _write_json(out / "cameras.json", {name: note["camera"] for name, note in zip(names, notes, strict=True)})
    if "boxes" in order.maps:
        _write_json(out / "coco.json", coco(notes, order.size))
        for name, note in zip(names, notes, strict=True):
            _write(out / "voc" / f"{name}.xml", voc(f"{name}.png", note["things"], order.size).encode())
    lines = "".join(f"{LINES[name]}\n" for name in order.maps)
    _write(out / "README.txt", README.format(size=order.size, lines=lines).encode())


def coco(notes: Sequence[Mapping[str, Any]], size: int) -> dict[str, Any]:
    """Give the boxes of all pictures as COCO writes them: x, y, width and height, categories from 1."""
    images = [
        {"id": index, "file_name": f"rgb/{index:06d}.png", "width": size, "height": size} for index in range(len(notes))
    ]
    annotations: list[dict[str, Any]] = []
    for index, note in enumerate(notes):
        for thing in note["things"]:
            left, top, right, bottom = thing["box"]
            annotations.append({
                "id": len(annotations) + 1, "image_id": index, "category_id": 1 + CLASSES.index(thing["class"]),
                "bbox": [left, top, right - left, bottom - top], "area": thing["area"], "iscrowd": 0,
            })  # fmt: skip
    categories = [{"id": 1 + number, "name": name} for number, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def voc(picture: str, things: Sequence[Mapping[str, Any]], size: int) -> str:
    """Give the boxes of one picture as PASCAL VOC writes them: pixels counted from 1, the last ones included."""
    lines = ["<annotation>", f"  <folder>rgb</folder><filename>{escape(picture)}</filename>"]
    lines.append(f"  <size><width>{size}</width><height>{size}</height><depth>3</depth></size>")
    for thing in things:
        left, top, right, bottom = thing["box"]
        corners = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
        cut = int(left == 0 or top == 0 or right == size or bottom == size)
        lines.append(
            f"  <object><name>{escape(thing['class'])}</name><pose>Unspecified</pose><truncated>{cut}</truncated>"
            f"<difficult>0</difficult><bndbox>{corners}</bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>", ""])


def _write_png(order: FolderOrder, place: str, name: str, pixels: UInt8[np.ndarray, "S S ..."] | np.ndarray) -> None:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=1)
    _write(Path(order.folder) / place / f"{name}.png", content.getvalue())


def _write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; after a crash of the machine a part of them may have to be drawn again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    _write(file, (json.dumps(content, indent=1) + "\n").encode())
