"""The files of a folder of rendered scenes, written part by part; those about all pictures are put together last."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped

from selfsup.data.scenes.annotations import coco, coco_boxes, coco_image, seen_things, voc
from selfsup.data.scenes.crew import Order
from selfsup.data.scenes.description import describe
from selfsup.data.scenes.moments import visible
from selfsup.data.scenes.motion import MovingScene, describe_moving
from selfsup.data.scenes.renderer import render
from selfsup.data.scenes.scene import Scene
from selfsup.data.scenes.shapes import CLASSES, SHAPES
from selfsup.data.scenes.truth import Truth, truth

Map = Literal["depth", "normals", "contours", "boxes", "masks"]
MAPS: tuple[Map, ...] = ("depth", "normals", "contours", "boxes", "masks")
UNIT = 1000
"""Steps of a 16-bit depth image in one world unit."""
ABOUT = "about.json"

README = """Rendered scenes, {size} x {size} pixels, numbered from 000000. Everything is taken in the middle of a pixel.

{lines}

World units: a thing is about one unit large. The camera's frame is right, down, forward.
"""
OF_STILLS = {
    "rgb/N.png": "the picture, antialiased",
    "labels.csv": "picture and class of its main thing",
    "cameras.json": "of each picture: eye, target, field of view in degrees, near and far",
}
OF_CLIPS = {
    "rgb/N.png": "a frame, antialiased; {frames} a clip, {frame_rate:g} a second",
    "labels.csv": "clip and class of its motion",
    "cameras.json": "of each frame: eye, target, field of view in degrees, near and far",
    "moments.json": "of each clip: what moves, numbered as in instance/, and the share of it that is seen in each "
    "frame: of the pixels it would cover with nothing before it and no edge of the picture",
}
OF_MAPS = {
    "depth": {"depth/N.png": "16 bits: depth along the view axis in thousandths of a unit; 0: nothing is seen"},
    "normals": {"normal/N.png": "8 bits: 127.5 (n + 1) of the unit normal's right, down, forward; 0 0 0: nothing"},
    "contours": {"contour/N.png": "8 bits: 255 on the edges of things, one pixel wide, on the nearer side"},
    "boxes": {"coco.json, voc/": "boxes of what is seen of each thing, as COCO and as PASCAL VOC have them"},
    "masks": {
        "instance/, class/": "8 bits: 0 room and ground; the number of the thing; 1 + the number of its class",
    },
}


@dataclass(frozen=True)
class FolderOrder(Order):
    """What to draw, and which maps beside it."""

    maps: Sequence[Map]
    frames: int  # of a clip; 0 for stills
    frame_rate: float

    def file_of(self, part: int) -> Path:
        """Where it is noted what a part holds, once all of its pictures are there."""
        return Path(self.folder) / ".parts" / f"{part:06d}.json"

    def names_of(self, index: int) -> list[str]:
        """Give the names of the pictures of a scene: 000007, or 000007/0000, 000007/0001, ..."""
        return [f"{index:06d}/{frame:04d}" for frame in range(self.frames)] if self.frames else [f"{index:06d}"]


@dataclass
class Notes:
    """Lines of a part for the files about all pictures; each is JSON, or a row of the table."""

    labels: list[str]
    cameras: list[str]
    moments: list[str]
    images: list[str]
    boxes: list[str]


def write_part(order: FolderOrder, part: int) -> None:
    """Draw one part and write its files, in this process; what is noted of it comes last."""
    notes = Notes([], [], [], [], [])
    for index in order.scenes_of(part):
        if order.frames:
            clip = describe_moving(order.seed, index)
            described = [clip.at(frame / order.frame_rate) for frame in range(order.frames)]
            notes.labels.append(f"rgb/{index:06d},{clip.motion}")
            notes.moments.append(_moments(index, clip, _write_scene(order, index, described, notes, clip)))
        else:
            scene = describe(order.seed, index, order.room)
            notes.labels.append(f"rgb/{index:06d}.png,{CLASSES[scene.label]}")
            _write_scene(order, index, [scene], notes, None)
    _write(order.file_of(part), json.dumps(asdict(notes)).encode())


def _write_scene(
    order: FolderOrder, index: int, moments: Sequence[Scene], notes: Notes, clip: MovingScene | None
) -> list[tuple[float, ...]]:
    """Write all pictures of a scene; give how much is seen of what moves in each."""
    shares = []
    names = order.names_of(index)
    pictures = render(moments, order.size)
    for frame, (name, scene, picture) in enumerate(zip(names, moments, pictures, strict=True)):
        _write_png(order, "rgb", name, picture)
        notes.cameras.append(f'"{name}": {json.dumps(asdict(scene.camera))}')
        found = truth(scene, order.size) if order.maps else None
        if clip:
            shares.append(visible(scene, order.size, len(clip.paths), found and found.instances))
        if found is None:
            continue
        for place, pixels in _images(scene, found, order.maps).items():
            _write_png(order, place, name, pixels)
        if "boxes" in order.maps:
            number = index * len(names) + frame
            things = seen_things(scene, found)
            notes.images.append(json.dumps(coco_image(number, f"rgb/{name}.png", order.size)))
            notes.boxes += [json.dumps(box) for box in coco_boxes(number, things)]
            _write(Path(order.folder) / "voc" / f"{name}.xml", voc(f"{name}.png", things, order.size).encode())
    return shares


def _moments(index: int, clip: MovingScene, shares: Sequence[tuple[float, ...]]) -> str:
    """Say of a clip what moves in it and how much of that is seen, frame by frame."""
    content = {
        "motion": clip.motion,
        "things": list(range(1, len(clip.paths) + 1)),
        "visible": [[round(share, 4) for share in row] for row in zip(*shares, strict=True)],
    }
    return f'"{index:06d}": {json.dumps(content)}'


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


def noted(order: FolderOrder, part: int) -> Notes | None:
    """Read what is noted of a part; None if it is missing, damaged or was shorter."""
    try:
        notes = Notes(**json.loads(order.file_of(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return notes if len(notes.labels) == len(order.scenes_of(part)) else None


def finish(order: FolderOrder) -> None:
    """Write the files about all pictures: they are there when all is."""
    out = Path(order.folder)
    parts = [found for part in order.parts() if (found := noted(order, part)) is not None]
    notes = Notes(*([line for found in parts for line in vars(found)[name]] for name in Notes.__dataclass_fields__))
    _write(out / "cameras.json", ("{\n" + ",\n".join(notes.cameras) + "\n}\n").encode())
    if order.frames:
        start = f'{{"frame_rate": {order.frame_rate}, "frames": {order.frames}, "clips": {{\n'
        _write(out / "moments.json", (start + ",\n".join(notes.moments) + "\n}}\n").encode())
    if "boxes" in order.maps:
        _write(out / "coco.json", coco(notes.images, notes.boxes, SHAPES if order.frames else CLASSES).encode())
    _write(out / "README.txt", _readme(order).encode())
    header = "clip,label" if order.frames else "image,label"
    _write(out / "labels.csv", "\n".join([header, *notes.labels, ""]).encode())


def _readme(order: FolderOrder) -> str:
    meanings = dict(OF_CLIPS if order.frames else OF_STILLS)
    for name in order.maps:
        meanings |= OF_MAPS[name]
    number = "NNNNNN/FFFF" if order.frames else "NNNNNN"
    lines = [f"{file.replace('N.', f'{number}.'):<25}{meaning}" for file, meaning in meanings.items()]
    text = "\n".join(lines).format(frames=order.frames, frame_rate=order.frame_rate)
    return README.format(size=order.size, lines=text)


def _write_png(order: FolderOrder, place: str, name: str, pixels: Shaped[np.ndarray, "S S ..."]) -> None:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", compress_level=1)
    _write(Path(order.folder) / place / f"{name}.png", content.getvalue())


def _write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; after a crash of the machine a part of them may have to be drawn again."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        try:
            temporary.write_bytes(content)
        except FileNotFoundError:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a small file of settings."""
    _write(file, (json.dumps(content, indent=1) + "\n").encode())
