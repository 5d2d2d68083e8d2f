"""Decode one image file to a square of RGB bytes, or say why it cannot be used.

JPEGs whose short side is at least twice the store size are decoded at a half, a quarter or an eighth, at 50 dB or
better against whole decoding: by simplejpeg, whose bytes torch can use as they are, and by Pillow where that finds
anything unusual. Otherwise torchvision's decoders where they can read the file, and Pillow for all other formats,
modes and orientations, and for everything if torchvision has no decoders. Measured: 480 px at a half in 0.49 ms by
simplejpeg and in 0.65 by Pillow, whole in 0.69 by torchvision.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Num, UInt8

from selfsup.data import pillow, tiff
from selfsup.data.deep import Deep, NeedsRange, deep_square, value_range
from selfsup.data.faults import CUT, NoImage, Unusable, check_size, reason
from selfsup.data.headers import HEAD, Header, read_header
from selfsup.data.listing import IMAGE_FILES, extension
from selfsup.data.squares import square

HUGE_PIXELS = 16_000_000
"""Larger images are decoded one at a time, and never by torchvision."""
_IN_MEMORY = 32 * 2**20  # larger files are read piece by piece
_UNCHANGED, _RGB = 0, 3  # torchvision.io.ImageReadMode


class Picture(NamedTuple):
    """A decoded image."""

    pixels: UInt8[np.ndarray, "3 S S"]
    hash: str
    """Of the file's bytes: the same for every store size and decoder."""
    width: int
    height: int
    traits: tuple[str, ...] = ()
    """What was special: alpha, cmyk, frames, shallow, 16-bit, 32-bit, float."""


def decode(
    path: str, size: int, ranges: Mapping[str, tuple[float, float]], alone: AbstractContextManager[Any] | None = None
) -> Picture:
    """Decode the first frame of a file: upright, RGB, short side antialiased to `size`, centre square.

    Args:
        path: the file; its content decides what it is, not its name.
        size: side of the square.
        ranges: for each kind of image with more than 8 bits, the values that become black and white.
        alone: a lock held while an image needs much memory, so that only one does.

    Raises:
        Unusable: with the reason.
        NoImage: if neither name nor content is an image's.
        NeedsRange: if the image has more than 8 bits and `ranges` does not have its kind.
    """
    source, header, digest = _open(path)
    try:
        pixels, width, height, traits = _read(source, header, size, alone or nullcontext())
        if isinstance(pixels, Deep):
            if pixels.kind not in ranges:
                raise NeedsRange
            traits += (pixels.kind,)
            pixels = deep_square(pixels.values, size, *ranges[pixels.kind])
    except (Unusable, NeedsRange):
        raise
    except Exception as error:  # any decoder, any error: a run never dies of a file
        raise Unusable(reason(error, header.kind, extension(path))) from error
    return Picture(pixels, digest, width, height, traits)


def whole(path: str) -> UInt8[np.ndarray, "H W 3"]:
    """Decode the first frame of a file at full size: upright, RGB.

    What has more than 8 bits becomes black to white by the range of its own values.

    Raises:
        Unusable: with the reason.
    """
    from selfsup.data.arrays import Values, as_bytes

    source, header, _ = _open(path)
    try:
        picture = _deep_values(source, header) or pillow.whole(source, header)
        if isinstance(picture, Deep):
            values = picture.values[: 1 if len(picture.values) < 3 else 3]
            found = values.reshape(-1)[:: max(1, values.size // 2**20)]
            picture = as_bytes(values[None], Values(*value_range(found[np.isfinite(found)])))[0]
    except Unusable:
        raise
    except Exception as error:
        raise Unusable(reason(error, header.kind, extension(path))) from error
    return np.ascontiguousarray(picture.transpose(1, 2, 0))


def deep_sample(path: str, most: int = 65536) -> tuple[str, Num[np.ndarray, " n"]]:
    """Take the kind and up to `most` finite values, evenly spread, of an image with more than 8 bits.

    Raises:
        Unusable: with the reason.
    """
    source, header, _ = _open(path)
    try:
        deep = _read(source, header, 1, nullcontext())[0]
    except Unusable:
        raise
    except Exception as error:
        raise Unusable(reason(error, header.kind, extension(path))) from error
    assert isinstance(deep, Deep)
    values = deep.values.reshape(-1)[:: max(1, deep.values.size // most)]
    return deep.kind, values[np.isfinite(values)]


def _open(path: str) -> tuple[bytes | str, Header, str]:
    """Read a file (or only its start, if it is large), its header and its hash."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            length = os.fstat(file).st_size
            if length == 0:
                raise Unusable("the file is empty")
            data = _read_bytes(file, length if length <= _IN_MEMORY else HEAD)
            header = read_header(data)
            if not header.kind and extension(path) not in IMAGE_FILES:
                raise NoImage
            digest = hashlib.blake2b(data, digest_size=16)
            while length > _IN_MEMORY and (piece := os.read(file, 2**20)):
                digest.update(piece)
        finally:
            os.close(file)
    except OSError as error:
        raise Unusable(f"the file cannot be read ({error.strerror})") from None
    check_size(header.width, header.height)
    return data if length <= _IN_MEMORY else path, header, digest.hexdigest()


def _read_bytes(file: int, count: int) -> bytes:
    data = os.read(file, count)
    while len(data) < count and (more := os.read(file, count - len(data))):
        data += more
    return data


def _read(
    source: bytes | str, header: Header, size: int, alone: AbstractContextManager[Any]
) -> tuple[np.ndarray | Deep, int, int, tuple[str, ...]]:
    """Give the square of bytes, or all values of an image with more than 8 bits; width, height, traits."""
    decoders = None
    if isinstance(source, bytes) and 0 < header.width * header.height <= HUGE_PIXELS:
        decoders = torchvision_decoders()
    if decoders is not None and isinstance(source, bytes):
        reduced = pillow.fraction(min(header.width, header.height) / size) if header.kind == "jpeg" else 1
        if reduced > 1 and header.plain and not header.turned:
            small = _reduced(source, header, reduced)
            if small is not None:
                return square(small, size), header.width, header.height, ()
        if header.plain and reduced == 1:
            return _by_torchvision(decoders, source, header, size)
    with alone if header.kind == "tiff" else nullcontext():
        deep = _deep_values(source, header)
    if deep is not None:
        return deep, deep.values.shape[2], deep.values.shape[1], ()
    return pillow.read(source, header, size, alone)


def _deep_values(source: bytes | str, header: Header) -> Deep | None:
    """Give all values of a TIFF or PNG with more than 8 bits that Pillow would not read, or not keep."""
    if header.kind == "tiff":
        values = tiff.read_deep(source)
        if values is None:
            return None
        return Deep("float" if values.dtype.kind == "f" else f"{8 * values.dtype.itemsize}-bit", values)
    if not (header.deep and isinstance(source, bytes) and 0 < header.width * header.height <= HUGE_PIXELS):
        return None
    decoders = torchvision_decoders()
    if decoders is None:
        return None
    values = decoders.png(_tensor(source), _UNCHANGED, True).numpy()
    return Deep("16-bit", values if len(values) % 2 else values[:-1])  # without transparency


class _Decoders(NamedTuple):
    jpeg: Any
    png: Any
    webp: Any


@cache
def torchvision_decoders() -> _Decoders | None:
    """Find torchvision's compiled decoders without importing all of torchvision (4 s); None if it has none."""
    import importlib.util
    from pathlib import Path

    import torch

    found = importlib.util.find_spec("torchvision")
    folder = Path(found.origin).parent if found and found.origin else Path()
    for library in sorted(folder.glob("image*")) if found else []:
        if library.suffix in (".so", ".pyd", ".dylib"):
            try:
                torch.ops.load_library(library)
                image = torch.ops.image
                return _Decoders(image.decode_jpeg.default, image.decode_png.default, image.decode_webp.default)
            except (OSError, AttributeError, RuntimeError):
                continue
    return None


def _reduced(data: bytes, header: Header, fraction: int) -> UInt8[np.ndarray, "H W 3"] | None:
    """Decode a JPEG at a fraction of its size; None if its data are unusual in any way, for Pillow to judge."""
    import simplejpeg

    height, width = (-(-side // fraction) for side in (header.height, header.width))
    try:
        image: np.ndarray = simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    except ValueError:
        return None
    return image


def _by_torchvision(
    decoders: _Decoders, data: bytes, header: Header, size: int
) -> tuple[np.ndarray, int, int, tuple[str, ...]]:
    if header.kind == "jpeg":
        image = decoders.jpeg(_tensor(data), _RGB, True)
        if pillow.filled(image.numpy()) and not pillow.complete(data):
            raise Unusable(CUT)
    elif header.kind == "png":
        image = decoders.png(_tensor(data), _RGB, False)
    else:
        image = decoders.webp(_tensor(data), _RGB)
    height, width = image.shape[1:]
    return square(image.permute(1, 2, 0), size), width, height, ()


def _tensor(data: bytes) -> Any:
    import torch

    return torch.frombuffer(bytearray(data), dtype=torch.uint8)  # a copy, because tensors are writable
