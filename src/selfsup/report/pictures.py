"""Put a picture into the page as data, at a bounded size."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup
from PIL import Image

from selfsup.report.words import visible

LIMIT = 300_000  # bytes of one picture inside the page
SMALL = 420  # below this width in pixels a picture is enlarged by whole factors, with hard pixels


class Picture(NamedTuple):
    """A picture ready for an <img>: `width` and `height` as shown, in CSS pixels."""

    name: str
    source: str
    width: int
    height: int
    hard: bool
    caption: str = ""
    key: Markup = Markup("")


def embed(path: Path, caption: str = "", limit: int = LIMIT) -> Picture:
    """Read a picture file; larger than `limit` it is written again, as JPEG and smaller if need be.

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: as Pillow does for a broken file.
    """
    data = path.read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        kind = Image.MIME.get(image.format or "", "")
        width, height = image.size
        written = str(image.info.get("Description", ""))  # the PNG keyword for a caption
        if len(data) > limit or kind not in ("image/png", "image/jpeg"):
            data, kind = _shrunk(image, limit)
    factor = max(1, SMALL // width)
    source = f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return Picture(
        visible(path.stem.replace("_", " ")),
        source,
        width * factor,
        height * factor,
        factor > 1,
        visible(caption or written),
    )


def _shrunk(image: Image.Image, limit: int) -> tuple[bytes, str]:
    """Write a picture in at most `limit` bytes: lossless if that does, else JPEG, then smaller and smaller."""
    lossless = _written(image, "PNG", optimize=True)
    if len(lossless) <= limit:
        return lossless, "image/png"
    flat = Image.new("RGB", image.size, "white")
    image = image.convert("RGBA")
    flat.paste(image, mask=image.getchannel("A"))
    quality = 88
    while len(data := _written(flat, "JPEG", quality=quality, optimize=True)) > limit and min(flat.size) > 16:
        flat = flat.resize((max(1, flat.width * 3 // 4), max(1, flat.height * 3 // 4)), Image.Resampling.LANCZOS)
        quality = 82
    return data, "image/jpeg"


def _written(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
