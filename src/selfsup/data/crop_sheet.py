"""A picture of crops beside the images they were cut from."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from selfsup.data.cropping import Drawn, Pyramid, cut, draw
from selfsup.data.single import SingleImage

COLUMNS, ROWS = 8, 4
"""Crops shown of each image; those of the first row are outlined in it."""
SHOWN = 3
"""Images shown."""
_TILE, _GAP = 64, 4
_COLOURS = ("#e6194b", "#ffe119", "#3cb44b", "#42d4f4", "#4363d8", "#f032e6", "#f58231", "#9a6324")


def crop_sheet(single: SingleImage) -> UInt8[np.ndarray, "H W 3"]:
    """Draw the first images, the outlines of eight crops in each, and beside it these and 24 other crops."""
    files = single.sources()[0]
    strips = [_strip(single, single.picture(file), place, len(files)) for place, file in enumerate(files[:SHOWN])]
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return np.asarray(sheet)


def corners(drawn: Drawn) -> Float[np.ndarray, "n 4 2"]:
    """Give x and y, in pixels of the image, of the corners of each crop, going round."""
    square = torch.tensor([[-1.0, -1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])
    inside = (square @ drawn.matrices.transpose(1, 2)).numpy()  # [n, 4, 2] from -1 to 1 across the box
    top, left, height, width = (drawn.boxes[:, k, None] for k in range(4))
    return np.stack([left + (inside[..., 0] + 1) / 2 * width, top + (inside[..., 1] + 1) / 2 * height], axis=2)


def _strip(single: SingleImage, picture: Pyramid, place: int, sources: int) -> Image.Image:
    """Draw one image, the `place`-th of so many, and its crops."""
    numbers = np.arange(COLUMNS * ROWS, dtype=np.int64) * sources + place
    tile = single.size * -(-_TILE // single.size)
    step = tile + 2 * _GAP
    height, width = ROWS * step, round(ROWS * step * picture.width / picture.height)
    strip = Image.new("RGB", (width + 2 * _GAP + COLUMNS * step, height + _GAP), "white")
    level = next((kept for kept in reversed(picture.levels) if kept.shape[0] >= height), picture.levels[0])
    strip.paste(Image.fromarray(level.numpy()).resize((width, height), Image.Resampling.LANCZOS))
    drawing = ImageDraw.Draw(strip)
    drawn = draw(single, numbers, picture.height, picture.width)
    for colour, outline in zip(_COLOURS, corners(drawn)[:COLUMNS], strict=True):
        scaled = outline * height / picture.height
        drawing.polygon([(x, y) for x, y in scaled], outline=colour, width=2)
    for number, crop in enumerate(cut(single, picture, numbers).transpose(0, 2, 3, 1)):
        row, column = divmod(number, COLUMNS)
        left, top = width + 2 * _GAP + column * step, row * step
        if row == 0:
            drawing.rectangle((left, top, left + tile + 2 * _GAP - 1, top + tile + 2 * _GAP - 1), fill=_COLOURS[column])
        enlarged = Image.fromarray(crop).resize((tile, tile), Image.Resampling.NEAREST)
        strip.paste(enlarged, (left + _GAP, top + _GAP))
    return strip
