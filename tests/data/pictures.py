"""Pictures for the tests of data: smooth, so that no format or filter changes them much, and all different."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """Draw some overlapping soft spots of random colours."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    canvas = np.full((height, width, 3), random.uniform(40, 215, 3))
    for _ in range(12):
        centre, radius = random.uniform(0, 1, 2), random.uniform(0.05, 0.3)
        weight = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2)[..., None]
        canvas = canvas * (1 - weight) + random.uniform(0, 255, 3) * weight
    return Image.fromarray(canvas.round().astype(np.uint8))


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """The bytes of a file of the picture."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def folder_of(folder: Path, count: int, start: int = 0, **options: int) -> Path:
    """Fill a folder with different PNGs."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        picture(number, **options).save(folder / f"{number:03d}.png")
    return folder


def centre(image: Image.Image, size: int) -> np.ndarray:
    """What a store should hold of it [3, size, size], computed by Pillow alone."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    return np.asarray(small).transpose(2, 0, 1)
