"""Read TIFFs that Pillow cannot read, or only at 8 bits: three or four channels of 16, 32 or 64 bits.

Pillow's libtiff unpacks them all the same once they are called something else: each row of pixels a row of gray bytes.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from jaxtyping import Shaped, UInt8

from selfsup.data.faults import CUT, Unusable, check_size
from selfsup.data.pillow import upright

_FIELDS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # type of a field -> struct code; other types are not needed
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOR, _FILL_ORDER, _OFFSETS, _TURNED, _CHANNELS, _ROWS, _LENGTHS = (
    *(256, 257, 258, 259, 262),
    *(266, 273, 274, 277, 278, 279),
)
_PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_LENGTHS, _SIGN = 284, 317, 322, 323, 324, 325, 339
_NAMES = {
    1: "none",
    5: "LZW",
    6: "JPEG",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",
    34712: "JPEG 2000",
}
_PACKED = (1, 5, 8, 32773, 32946, 34925, 50000)
"""Compressions of bytes, whatever they mean: none, LZW, deflate, PackBits, deflate, LZMA, Zstandard."""
_RGB, _APART = 2, 2

Tags = dict[int, tuple[int, ...]]


def read_deep(source: bytes | str) -> Shaped[np.ndarray, "C H W"] | None:
    """Give the upright values of an RGB TIFF with more than 8 bits per channel, without transparency.

    None for TIFFs that Pillow reads as they are.

    Raises:
        Unusable: if it has more than 4 channels, with the number; if it can be read at 8 bits only, with what it has.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        order, tags = ">", Tags()
        with suppress(struct.error, KeyError):  # a damaged file: Pillow will say so
            order, tags = _tags(file)
        channels, bits = _one(tags, _CHANNELS), _one(tags, _BITS)
        if channels > 4:
            raise Unusable(f"it has {channels} channels; images of 1 to 4 channels (gray, RGB, RGBA, CMYK) are read")
        if channels < 3 or bits not in (16, 32, 64) or _WIDTH not in tags or _HEIGHT not in tags:
            return None
        width, height, kind = tags[_WIDTH][0], tags[_HEIGHT][0], {1: "u", 2: "i", 3: "f"}.get(_one(tags, _SIGN))
        if kind is None or not _readable(tags):
            packed = _NAMES.get(_one(tags, _COMPRESSION), f"number {_one(tags, _COMPRESSION)}")
            raise Unusable(
                f"its {channels} channels of {bits} bits cannot be read at full depth (compression {packed});"
                " save it as RGB without compression"
            )
        check_size(width, height, width * height * channels * bits // 8 * 2)
        dtype = np.dtype(f"{order}{kind}{bits // 8}")
        apart = _one(tags, _PLANAR) == _APART
        planes = [_plane(data, dtype, 1 if apart else channels, tags) for data in _bytes(file, tags, dtype, apart)]
    values = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)
    values = values.transpose(2, 0, 1)[:3].astype(dtype.newbyteorder("="), copy=False)
    turned = _one(tags, _TURNED)
    return upright(values, turned) if 2 <= turned <= 8 else values


def _one(tags: Tags, tag: int) -> int:
    """A number that is 1 where the file does not say it."""
    return tags.get(tag, (1,))[0]


def _readable(tags: Tags) -> bool:
    plain = _one(tags, _COMPRESSION) in _PACKED and _one(tags, _PREDICTOR) in (1, 2) and _one(tags, _FILL_ORDER) == 1
    return plain and tags.get(_COLOR) == (_RGB,) and (_OFFSETS in tags or _TILE_OFFSETS in tags)


def _plane(data: UInt8[np.ndarray, "H bytes"], dtype: np.dtype, channels: int, tags: Tags) -> np.ndarray:
    """See rows of bytes as [H, W, C]; undo the predictor, which stores differences to the left neighbour."""
    values = data.view(dtype).reshape(len(data), -1, channels)
    if _one(tags, _PREDICTOR) != 2:
        return values
    step = tags[_TILE_WIDTH][0] if _TILE_OFFSETS in tags else values.shape[1]
    pieces = [values[:, left : left + step] for left in range(0, values.shape[1], step)]
    return np.concatenate([np.cumsum(piece, axis=1, dtype=dtype) for piece in pieces], axis=1)


def _bytes(file: io.BufferedIOBase, tags: Tags, dtype: np.dtype, apart: bool) -> Iterator[UInt8[np.ndarray, "H bytes"]]:
    """Unpack the image, or one channel after the other where they lie apart, as rows of bytes."""
    tiled = _TILE_OFFSETS in tags
    offsets, lengths = (tags[_TILE_OFFSETS], tags[_TILE_LENGTHS]) if tiled else (tags[_OFFSETS], tags[_LENGTHS])
    planes, together = (tags[_CHANNELS][0], 1) if apart else (1, tags[_CHANNELS][0])
    count = len(offsets) // planes
    for plane in range(planes):
        own, pieces = slice(plane * count, (plane + 1) * count), []
        for offset, length in zip(offsets[own], lengths[own], strict=True):
            file.seek(offset)
            pieces.append(file.read(length))
            if len(pieces[-1]) < length:
                raise Unusable(CUT)
        yield _unpacked(pieces, tags, dtype.itemsize * together)


def _unpacked(pieces: list[bytes], tags: Tags, pixel: int) -> UInt8[np.ndarray, "H bytes"]:
    """Let libtiff unpack strips or tiles as those of a gray image that is `pixel` times as wide."""
    from PIL.TiffImagePlugin import TiffImageFile

    width, height = tags[_WIDTH][0], tags[_HEIGHT][0]
    fields = {_WIDTH: width * pixel, _HEIGHT: height, _BITS: 8, _COMPRESSION: _one(tags, _COMPRESSION), _COLOR: 1}
    if _TILE_OFFSETS in tags:
        fields |= {_TILE_WIDTH: tags[_TILE_WIDTH][0] * pixel, _TILE_HEIGHT: tags[_TILE_HEIGHT][0]}
        places, sizes = _TILE_OFFSETS, _TILE_LENGTHS
    else:
        fields[_ROWS] = min(tags.get(_ROWS, (height,))[0], height)
        places, sizes = _OFFSETS, _LENGTHS
    count, table = len(pieces), 8 + 2 + 12 * (len(fields) + 2) + 4
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items()]
    starts = np.cumsum([table + 8 * count, *map(len, pieces)])[:-1]
    body = struct.pack(f"<{2 * count}I", *starts, *map(len, pieces)) + b"".join(pieces)
    # one number stands in the entry itself, several behind the table
    entries.append(struct.pack("<HHII", places, 4, count, table if count > 1 else starts[0]))
    entries.append(struct.pack("<HHII", sizes, 4, count, table + 4 * count if count > 1 else len(pieces[0])))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    with TiffImageFile(io.BytesIO(head + body)) as image:
        rows: np.ndarray = np.array(image)
    return rows


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
