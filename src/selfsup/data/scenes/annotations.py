"""Boxes as others write them, COCO and PASCAL VOC: one picture at a time, so that parts can be written apart."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from selfsup.data.scenes.scene import Scene
from selfsup.data.scenes.shapes import SHAPES
from selfsup.data.scenes.truth import Truth

MOST = 100
"""Boxes that one picture can have: annotation numbers of each picture begin at so many times its own."""


@dataclass(frozen=True)
class Seen:
    """What is seen of one thing."""

    shape: str
    box: tuple[int, int, int, int]  # left, top, right and bottom in pixels, the last two exclusive
    area: int  # pixels


def seen_things(scene: Scene, found: Truth) -> list[Seen]:
    """Give the things that are seen in a picture, by at least a pixel."""
    things = []
    for number, (thing, box) in enumerate(zip(scene.things, found.boxes(len(scene.things)).tolist(), strict=True)):
        if area := int((found.instances == number + 1).sum()):
            things.append(Seen(thing.shape, tuple(box), area))
    return things


def coco_image(number: int, file: str, size: int) -> dict[str, Any]:
    """Describe a picture as COCO does."""
    return {"id": number, "file_name": file, "width": size, "height": size}


def coco_boxes(number: int, things: Sequence[Seen]) -> list[dict[str, Any]]:
    """Give the boxes of a picture as COCO does: x, y, width and height, from 0."""
    return [
        {
            "id": MOST * number + 1 + place, "image_id": number, "category_id": 1 + SHAPES.index(thing.shape),
            "bbox": [thing.box[0], thing.box[1], thing.box[2] - thing.box[0], thing.box[3] - thing.box[1]],
            "area": thing.area, "iscrowd": 0,
        }
        for place, thing in enumerate(things)
    ]  # fmt: skip


def coco(images: Sequence[str], boxes: Sequence[str], shapes: Sequence[str]) -> str:
    """Put JSON of pictures and of boxes together, one a line; categories are numbered from 1."""
    categories = [json.dumps({"id": 1 + number, "name": name}) for number, name in enumerate(shapes)]
    lists = {"images": images, "annotations": boxes, "categories": categories}
    return "{" + ",\n".join(f'"{name}": [\n' + ",\n".join(lines) + "\n]" for name, lines in lists.items()) + "}\n"


def voc(file: str, things: Sequence[Seen], size: int) -> str:
    """Give the boxes of one picture as PASCAL VOC writes them: pixels counted from 1, the last ones included."""
    lines = ["<annotation>", f"  <folder>rgb</folder><filename>{escape(file)}</filename>"]
    lines.append(f"  <size><width>{size}</width><height>{size}</height><depth>3</depth></size>")
    for thing in things:
        left, top, right, bottom = thing.box
        corners = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
        cut = int(left == 0 or top == 0 or right == size or bottom == size)
        lines.append(
            f"  <object><name>{escape(thing.shape)}</name><pose>Unspecified</pose><truncated>{cut}</truncated>"
            f"<difficult>0</difficult><bndbox>{corners}</bndbox></object>"
        )
    return "\n".join([*lines, "</annotation>", ""])
