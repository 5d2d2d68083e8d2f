"""Read from the first bytes of an image file what is inside, before anything is decoded."""

import struct
from typing import NamedTuple

HEAD = 65536
"""Bytes that hold all of a header, but for a JPEG with very long comments."""


class Header(NamedTuple):
    """What the first bytes of a file say."""

    kind: str
    """jpeg, png, webp, tiff, another known format, or "" for none."""
    width: int = 0
    height: int = 0
    plain: bool = False
    """8-bit gray or RGB without palette or transparency: torchvision and Pillow read the same."""
    deep: bool = False
    """A PNG of 16 bits per channel."""
    turned: bool = False
    """A JPEG whose EXIF block asks for another orientation, or may do so."""


def read_header(data: bytes) -> Header:
    """Tell format, size and plainness of the file that begins with `data`."""
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    for kind, magic in _MAGIC:
        if data.startswith(magic):
            return Header(kind)
    return Header("avif" if data[4:8] == b"ftyp" else "")


_MAGIC = (
    ("tiff", b"II*\0"),
    ("tiff", b"MM\0*"),
    ("tiff", b"II+\0"),
    ("tiff", b"MM\0+"),
    ("gif", b"GIF8"),
    ("bmp", b"BM"),
    ("jpeg2000", b"\0\0\0\x0cjP  "),
    ("jpeg2000", b"\xff\x4f\xff\x51"),
    ("psd", b"8BPS"),
    ("dds", b"DDS "),
    ("qoi", b"qoif"),
    ("icns", b"icns"),
    ("fits", b"SIMPLE  ="),
    *(("pnm", b"P%d%c" % (number, blank)) for number in range(1, 7) for blank in b" \n\t\r"),
    ("pnm", b"PF\n"),
    ("pnm", b"Pf\n"),
    ("ico", b"\0\0\1\0"),
)


def _jpeg(data: bytes) -> Header:
    place, end, turned = 2, len(data) - 9, False
    while place < end:
        if data[place] != 0xFF:
            break
        marker = data[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, channels = struct.unpack_from(">BHHB", data, place + 4)
            plain = bits == 8 and channels in (1, 3) and marker in (0xC0, 0xC1, 0xC2)
            return Header("jpeg", width, height, plain, turned=turned)
        turned = turned or (marker == 0xE1 and _turned(data[place + 4 : place + 4 + _EXIF]))
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return Header("jpeg")


def _turned(block: bytes) -> bool:
    """Whether a JPEG's APP1 block has an orientation other than upright in its first directory, or hides it."""
    if block[:6] != b"Exif\0\0":
        return False
    order = {b"II": "<", b"MM": ">"}.get(block[6:8])
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 10)
        (count,) = struct.unpack_from(f"{order}H", block, 6 + start)
        for number in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, 8 + start + 12 * number)
            if tag == _ORIENTATION:
                return bool(kind != _SHORT or value != 1)
    except struct.error:
        return True
    return False


_EXIF = 4096
"""Bytes of an EXIF block that are looked at; the first directory stands at its start."""
_ORIENTATION, _SHORT = 0x0112, 3


def _png(data: bytes) -> Header:
    if len(data) < 29:
        return Header("png")
    width, height, bits, color = struct.unpack_from(">IIBB", data, 16)
    front = data[: data.find(b"IDAT")]
    plain = bits == 8 and color in (0, 2) and b"tRNS" not in front and b"acTL" not in front
    return Header("png", width, height, plain=plain and b"eXIf" not in data, deep=bits == 16)


def _webp(data: bytes) -> Header:
    form = data[12:16]
    if form == b"VP8L" and len(data) >= 25:
        facts = int.from_bytes(data[21:25], "little")
        return Header("webp", (facts & 0x3FFF) + 1, (facts >> 14 & 0x3FFF) + 1, plain=not facts >> 28 & 1)
    if form == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("webp", width & 0x3FFF, height & 0x3FFF, plain=True)
    if form == b"VP8X" and len(data) >= 30:  # transparency, animation or metadata: Pillow's case
        return Header("webp", int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    return Header("webp")
