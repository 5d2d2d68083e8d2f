"""Read how video files are built, without decoding: whether their end is missing, and how many pictures a gif has.

A decoder plays what is there of a file that was cut off, and says nothing. The outermost boxes of a file say how long
it should be.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"sidx", b"styp", b"meta"))
_EBML, _SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
_GIF = (b"GIF87a", b"GIF89a")


def missing_bytes(path: str) -> int:
    """Say how many bytes of a file are missing at its end by what its outermost boxes say; 0 where nothing is known.

    Read are MP4 and QuickTime (boxes), Matroska and WebM (segments), AVI (RIFF) and GIF (blocks; 1 for any part).

    Raises:
        OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        start = file.read(12)
        if start[:4] == _EBML:
            return max(0, _end_of_segment(file) - length)
        if start[:4] == b"RIFF":
            end = 8 + int.from_bytes(start[4:8], "little")
            return end - length if end > length + 1 else 0  # some count a last byte that only pads
        if start[:6] in _GIF:
            return int(not all(_gif_pictures(file)))
        if start[4:8] in _BOXES:
            return max(0, _end_of_boxes(file, length) - length)
    return 0


def is_animated(path: str) -> bool:
    """Say whether a file is a gif of more than one picture; what cannot be read is none."""
    try:
        with open(path, "rb") as file:
            if file.read(6) not in _GIF:
                return False
            pictures = _gif_pictures(file)
            return next(pictures, False) and next(pictures, False)
    except OSError:
        return False


def _end_of_boxes(file: BinaryIO, length: int) -> int:
    """Give where the last box of an MP4 ends by its own account."""
    place = 0
    while place + 8 <= length:
        file.seek(place)
        size, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        header = 8
        if size == 1:
            size, header = int.from_bytes(file.read(8), "big"), 16
        if size == 0 or kind not in _BOXES:  # to the end of the file, or something that was put behind
            return length
        place += max(size, header)
    return place


def _end_of_segment(file: BinaryIO) -> int:
    """Give where the first segment of a Matroska file ends; 0 where that is not said, as of recordings."""
    file.seek(4)
    head = _number(file)
    if head is None:
        return 0
    file.seek(head, os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    size = _number(file)
    return 0 if size is None else file.tell() + size


def _number(file: BinaryIO) -> int | None:
    """Read a number of Matroska, of 1 to 8 bytes; None for an unknown one (all bits set) or none at all."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value


def _gif_pictures(file: BinaryIO) -> Iterator[bool]:
    """Give for each picture of a gif whether it is there as a whole; the last one may end the file without a word."""
    file.seek(6)
    screen = file.read(7)
    if len(screen) < 7:
        yield False
        return
    _skip_colours(file, screen[4])
    while (mark := file.read(1)) and mark != b";":
        if mark == b"!":
            file.read(1)
        elif mark == b",":
            place = file.read(9)
            _skip_colours(file, place[8] if len(place) == 9 else 0)
            file.read(1)
        else:
            return  # what is behind the pictures
        whole = _skip_blocks(file)
        if mark == b"," or not whole:
            yield whole
        if not whole:
            return


def _skip_colours(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << (flags & 7) + 1, os.SEEK_CUR)


def _skip_blocks(file: BinaryIO) -> bool:
    """Pass over a chain of blocks; give whether its end was reached."""
    while size := file.read(1):
        if size == b"\0":
            return True
        file.seek(size[0], os.SEEK_CUR)
    return False
