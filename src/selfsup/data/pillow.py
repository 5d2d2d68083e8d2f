"""Read with Pillow what torchvision cannot read, or not as fast."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

from selfsup.data.deep import Deep
from selfsup.data.faults import CUT, Unusable, check_size
from selfsup.data.headers import Header
from selfsup.data.squares import square

# Formats that start programs or only point at other files are never tried; those without a signature only
# under the name of an image, because they take any file for one of theirs.
_REFUSED = {"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR", "IPTC", "PCD", "MCIDAS", "XVTHUMB", "SPIDER", "IMT"}
_UNSIGNED = {"TGA", "PCX", "XBM", "XPM", "IM", "SUN", "GBR", "FLI", "MSP", "CUR", "DCX", "FTEX", "PIXAR"}
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 6, "I;16B": 6, "I;16L": 6, "I": 8, "F": 8}  # a copy as float32 included
_LARGE = 64 * 2**20
_STRIP = 64


def read(
    source: bytes | str, header: Header, size: int, alone: AbstractContextManager[Any]
) -> tuple[np.ndarray | Deep, int, int, tuple[str, ...]]:
    """Give the upright square, or all values of an image with more than 8 bits; width, height and traits."""
    from PIL import Image

    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with Image.open(file, formats=_formats(bool(header.kind))) as image:
        width, height = image.size
        check_size(width, height)
        progressive = bool(image.info.get("progressive"))
        if image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L"):
            scale = fraction(min(width, height) / size)
            image.draft(image.mode, (width // scale, height // scale))
        need = image.width * image.height * _BYTES.get(image.mode, 4)
        need += width * height * 6 if progressive else 0  # libjpeg holds all coefficients, at full size
        check_size(width, height, need)
        with alone if need > _LARGE else nullcontext():
            turned = _loaded(image, source, header)
            if turned > 4:
                width, height = height, width
            kind = deep_kind(image.mode)
            if kind is not None:
                return Deep(kind, upright(np.asarray(image)[None], turned)), width, height, ()
            pixels, traits = _rgb_square(image, size)
    traits += ("shallow",) if header.deep else ()
    return upright(pixels, turned), width, height, traits


def whole(source: bytes | str, header: Header) -> UInt8[np.ndarray, "3 H W"] | Deep:
    """Give all of an upright picture at full size, or all values of one with more than 8 bits."""
    from PIL import Image

    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with Image.open(file, formats=_formats(bool(header.kind))) as image:
        check_size(*image.size, image.width * image.height * _BYTES.get(image.mode, 4))
        turned = _loaded(image, source, header)
        kind = deep_kind(image.mode)
        if kind is not None:
            return Deep(kind, upright(np.asarray(image)[None], turned))
        return upright(np.asarray(rgb(image)[0]).transpose(2, 0, 1), turned)


def _loaded(image: Any, source: bytes | str, header: Header) -> int:
    """Load an opened image; give its orientation. Raises Unusable if a part of it is missing."""
    image.load()
    gray = header.kind == "jpeg" and deep_kind(image.mode) is None and _ends_gray(image)
    if gray and isinstance(source, bytes) and not complete(source):
        raise Unusable(CUT)
    return _orientation(image)


def upright(pixels: Shaped[np.ndarray, "C H W"], orientation: int) -> Shaped[np.ndarray, "C H2 W2"]:
    """Undo an EXIF orientation (1 to 8)."""
    if orientation > 4:
        pixels = pixels.transpose(0, 2, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels)


def filled(picture: np.ndarray) -> bool:
    """Whether a corner of [..., H, W] has exactly the gray that libjpeg fills in for missing data.

    Any corner, because the picture may have been turned upright.
    """
    rows, columns = picture[..., [0, -1], :], [0, -1]
    return bool((rows[..., columns] == 128).reshape(-1, 4).all(0).any())


def complete(data: bytes) -> bool:
    """Whether a JPEG that ends in that gray has all its data.

    More data in front of the end marker change the picture only if the decoder was still waiting for them.
    """
    end = data.rfind(b"\xff\xd9")
    longer = data[:end] + bytes(range(1, 200)) * 20 + b"\xff\xd9"
    return bool((_plain(data) == _plain(longer)).all())


def _plain(data: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        image.draft("RGB", (image.width // 8, image.height // 8))
        return np.asarray(image)


def _ends_gray(image: Any) -> bool:
    last = image.getpixel((image.width - 1, image.height - 1))
    return last in (128, (128, 128, 128))


def fraction(ratio: float) -> int:
    """How much smaller a JPEG is decoded whose short side is `ratio` times the store size: never below that size."""
    return 8 if ratio >= 16 else 4 if ratio >= 4 else 2 if ratio >= 2 else 1


@cache
def _formats(signed: bool) -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    refused = _REFUSED | _UNSIGNED if signed else _REFUSED
    return tuple(name for name in Image.ID if name not in refused)


def deep_kind(mode: str) -> str | None:
    """The kind of image with more than 8 bits that has this mode, if it is one."""
    return "16-bit" if mode.startswith("I;16") else {"I": "32-bit", "F": "float"}.get(mode)


def _orientation(image: Any) -> int:
    if "exif" not in image.info and image.format in ("JPEG", "GIF", "BMP"):
        return 1
    value = image.getexif().get(0x0112, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _rgb_square(image: Any, size: int) -> tuple[UInt8[np.ndarray, "3 S S"], tuple[str, ...]]:
    several = getattr(image, "n_frames", 1) > 1 and image.format != "MPO"
    traits = ("frames",) * several + ("cmyk",) * (image.mode == "CMYK")
    width, height = image.size
    side = min(width, height)
    step = side // (4 * size)
    if step > 1 and side * side * 4 > _LARGE:  # shrunk in strips, so that no second large copy is made
        left, top = (width - side) // 2, (height - side) // 2
        strips, seen = zip(*_strips(image, (left, top, left + side, top + side), step), strict=True)
        small, alpha = np.concatenate(strips)[: side // step, : side // step], any(seen)
    else:
        converted, alpha = rgb(image)
        small = np.asarray(converted)
    return square(small, size), traits + ("alpha",) * alpha


def _strips(image: Any, area: tuple[int, int, int, int], step: int) -> Iterator[tuple[np.ndarray, bool]]:
    for top in range(area[1], area[3], step * _STRIP):
        strip, alpha = rgb(image.crop((area[0], top, area[2], min(top + step * _STRIP, area[3]))))
        yield np.asarray(strip.reduce(step)), alpha


def rgb(image: Any) -> tuple[Any, bool]:
    """Convert to RGB, what is transparent to white; whether anything was transparent."""
    from PIL import Image

    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return (image if image.mode == "RGB" else image.convert("RGB")), False
    image = image.convert("RGBA")
    if image.getextrema()[3][0] == 255:
        return image.convert("RGB"), False
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"), True
