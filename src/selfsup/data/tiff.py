"""Read TIFFs that Pillow cannot read, or only at 8 bits: three or four channels of 16 or 32 bits."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
from jaxtyping import Shaped

from selfsup.data.faults import CUT, Unusable, check_size

_FIELDS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # type of a field -> struct code; other types are not needed
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOR, _OFFSETS, _CHANNELS, _ROWS, _LENGTHS = (
    *(256, 257, 258, 259),
    *(262, 273, 277, 278, 279),
)
_PLANAR, _PREDICTOR, _SIGN = 284, 317, 339
_STORED, _DEFLATE, _RGB = (1,), (8, 32946), 2

Tags = dict[int, tuple[int, ...]]


def read_deep(source: bytes | str) -> Shaped[np.ndarray, "C H W"] | None:
    """Give the values of an RGB TIFF with more than 8 bits per channel, without transparency; None for other TIFFs.

    Raises:
        Unusable: if it has more than 4 channels, with the number.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        order, tags = ">", Tags()
        with suppress(struct.error, KeyError):  # a damaged file: Pillow will say so
            order, tags = _tags(file)
        channels = tags.get(_CHANNELS, (1,))[0]
        if channels > 4:
            raise Unusable(f"it has {channels} channels; images of 1 to 4 channels (gray, RGB, RGBA, CMYK) are read")
        kind = {1: "u", 2: "i", 3: "f"}.get(tags.get(_SIGN, (1,))[0])
        bits = tags.get(_BITS, (1,))[0]
        readable = tags.get(_COMPRESSION, (1,))[0] in _STORED + _DEFLATE and tags.get(_PREDICTOR, (1,))[0] in (1, 2)
        chunky_rgb = tags.get(_COLOR) == (_RGB,) and tags.get(_PLANAR, (1,)) == (1,) and _OFFSETS in tags
        if channels < 3 or bits not in (16, 32, 64) or kind is None or not readable or not chunky_rgb:
            return None
        check_size(tags[_WIDTH][0], tags[_HEIGHT][0], tags[_WIDTH][0] * tags[_HEIGHT][0] * channels * bits // 8 * 2)
        values = _pixels(file, tags, np.dtype(f"{order}{kind}{bits // 8}"))
    return values.transpose(2, 0, 1)[:3].astype(values.dtype.newbyteorder("="))


def _pixels(file: io.BufferedIOBase, tags: Tags, dtype: np.dtype) -> Shaped[np.ndarray, "H W C"]:
    width, height, channels = tags[_WIDTH][0], tags[_HEIGHT][0], tags[_CHANNELS][0]
    rows = tags.get(_ROWS, (height,))[0]
    strips = []
    for number, (offset, length) in enumerate(zip(tags[_OFFSETS], tags[_LENGTHS], strict=True)):
        file.seek(offset)
        data = file.read(length)
        if len(data) < length:
            raise Unusable(CUT)
        if tags.get(_COMPRESSION, (1,))[0] in _DEFLATE:
            data = zlib.decompress(data)
        here = min(rows, height - number * rows)
        strip = np.frombuffer(data, dtype, here * width * channels).reshape(here, width, channels)
        if tags.get(_PREDICTOR, (1,))[0] == 2:  # each pixel is stored as the difference to its left neighbour
            strip = np.cumsum(strip, axis=1, dtype=dtype)
        strips.append(strip)
    return np.concatenate(strips)


def _tags(file: io.BufferedIOBase) -> tuple[str, Tags]:
    """Byte order and whole-number tags of the first image; classic and big TIFF."""
    start = file.read(16)
    order = "<" if start[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", start, 2)[0] == 43
    file.seek(struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)[0])
    count = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))[0]
    size, inside = (20, 8) if big else (12, 4)
    table = file.read(min(count, 4096) * size)
    tags: Tags = {}
    for place in range(0, len(table) - size + 1, size):
        tag, field = struct.unpack_from(order + "HH", table, place)
        number = struct.unpack_from(order + ("Q" if big else "I"), table, place + 4)[0]
        if field not in _FIELDS or number > 2**20:
            continue
        code = f"{order}{number}{_FIELDS[field]}"
        data = table[place + size - inside : place + size]
        if struct.calcsize(code) > inside:
            file.seek(struct.unpack(order + ("Q" if big else "I"), data)[0])
            data = file.read(struct.calcsize(code))
        tags[tag] = struct.unpack_from(code, data)
    return order, tags
