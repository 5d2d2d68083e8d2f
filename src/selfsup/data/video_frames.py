"""Decode one video to squares of RGB bytes at a chosen rate, frame by frame, or say why it cannot be used."""

import errno
import hashlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from selfsup.data.containers import missing_bytes
from selfsup.data.faults import Unusable, check_size

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif"
"""Kinds of files that are opened, whatever they are called: not playlists, which name other files and addresses."""
EARLY = 0.1
"""Part of the time between two sampled frames by which one may come too early: times are rounded in most files."""
_DAMAGE = (
    "error while decoding",
    "concealing",
    "invalid nal",
    "damaged",
    "corrupt",
    "partial file",
    "error at mb",
    "slice end",
)


class Sampled(NamedTuple):
    """What was found in a video."""

    hash: str
    """Of the file's bytes."""
    width: int
    """As it is shown: turned upright, with square pixels."""
    height: int
    seconds: list[float]
    """When each sampled frame is shown, since the first one."""
    frames: int
    """That the file has."""


def sample(
    path: str, size: int, rate: float, write: Callable[[bytes], Any], said: Callable[[], str], threads: int = 1
) -> Sampled:
    """Decode a video; of each `1 / rate` seconds the first frame is taken: upright, RGB, the centre square.

    Args:
        path: the file; its content decides what it is, not its name.
        size: side of the square; the short side of the frames is resized to it, antialiased.
        rate: frames a second; a file with fewer gives all it has.
        write: is given the bytes [3, S, S] of each frame, in time.
        said: gives what decoders printed since it was asked last.
        threads: of the decoder.

    Raises:
        Unusable: with the reason: broken, cut off, without a video, damaged in the middle.
    """
    import av

    said()
    try:
        digest = _hash(path)
        if missing_bytes(path):
            raise Unusable("the file is truncated: its end is missing")
        found = _decode(path, size, rate, write, threads)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # a full disk is no fault of the file
        raise Unusable(_reason(error)) from error
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        raise Unusable(_reason(error)) from error
    text = said().lower()
    if any(words in text for words in _DAMAGE):
        raise Unusable("the video data are damaged")
    return Sampled(digest, *found)


def video_size(path: str) -> tuple[int, int] | None:
    """Give width and height of a video as they are stored; None where there is none."""
    import av

    try:
        with _opened(path) as container:
            stream = _stream(container)
            return (stream.codec_context.width, stream.codec_context.height) if stream else None
    except (av.error.FFmpegError, OSError, ValueError):
        return None


def upright_square(frame: Any, pixel_aspect: Any, size: int) -> tuple[UInt8[np.ndarray, "3 S S"], tuple[int, int]]:
    """Resize a decoded frame, cut its centre square and turn it as its file says.

    Returns:
        The square, and width and height of the whole frame as it is shown.
    """
    aspect = float(pixel_aspect or 1)
    wide = frame.width * aspect if 0.1 < aspect < 10 else frame.width
    scale = size / min(wide, frame.height)
    width, height = max(size, round(wide * scale)), max(size, round(frame.height * scale))
    pixels = _on_white(frame.reformat(width, height, _layout(frame), interpolation="BILINEAR"))
    top, left = (height - size) // 2, (width - size) // 2
    square = pixels[top : top + size, left : left + size]
    swaps, down, right = _turn(frame)
    if swaps:
        square = square.transpose(1, 0, 2)
    square = square[:: -1 if down else 1, :: -1 if right else 1]
    shown = (round(wide), frame.height)
    return np.ascontiguousarray(square.transpose(2, 0, 1)), shown[::-1] if swaps else shown


def _decode(
    path: str, size: int, rate: float, write: Callable[[bytes], Any], threads: int
) -> tuple[int, int, list[float], int]:
    import av

    with _opened(path) as container:
        stream = _stream(container)
        if stream is None:
            raise Unusable(
                "there is no video in it, only sound" if container.streams.audio else "there is no video in it"
            )
        check_size(stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO" if threads > 1 else "NONE"
        span, picked, shown = _Span(), _Picked(rate), (0, 0)
        for frame in _frames(container, stream, span):
            if picked.wants(frame, stream):
                pixels, shown = upright_square(frame, stream.sample_aspect_ratio, size)
                write(pixels.tobytes())
        expected = (container.duration or 0) / av.time_base
    if not picked.seconds:
        raise Unusable("not one frame of it can be decoded")
    # the last frame may be shown long where all are, as in a recording of slides, and not every file says how long
    if span.seconds < expected - max(0.5, 0.1 * expected, 2 * picked.pause):
        raise Unusable(f"the file is truncated: it ends after {span.seconds:.1f} of {expected:.1f} seconds")
    return *shown, picked.seconds, picked.frames


class _Picked:
    """Which frames are taken: the first of each `1 / rate` seconds."""

    def __init__(self, rate: float) -> None:
        self.rate, self.frames, self.seconds = rate, 0, list[float]()
        self.first, self.last, self.due = 0.0, -1.0, 0
        self.before, self.pause = 0.0, 0.0

    def wants(self, frame: Any, stream: Any) -> bool:
        self.frames += 1
        shown = (self.frames - 1) / float(stream.average_rate or 25) if frame.time is None else frame.time
        if self.frames == 1:
            self.first = shown
        seconds = shown - self.first
        self.pause, self.before = max(self.pause, seconds - self.before), seconds
        number = math.floor(seconds * self.rate + EARLY)
        if seconds <= self.last or number < self.due:  # at the time of another one, or time runs back
            return False
        self.last, self.due = seconds, number + 1
        self.seconds.append(round(seconds, 6))
        return True


class _Span:
    """From when to when there are data in a file, sound included."""

    def __init__(self) -> None:
        self.first, self.last = math.inf, -math.inf

    def add(self, packet: Any) -> None:
        if packet.pts is not None and packet.time_base is not None:
            self.first = min(self.first, float(packet.pts * packet.time_base))
            self.last = max(self.last, float((packet.pts + (packet.duration or 0)) * packet.time_base))

    @property
    def seconds(self) -> float:
        return max(0.0, self.last - self.first) if self.last > -math.inf else math.inf


def _frames(container: Any, stream: Any, span: _Span) -> Iterator[Any]:
    """Decode all frames; what cannot be decoded before the first one is cut away, as at the start of a recording."""
    import av

    begun = False
    for packet in container.demux():
        span.add(packet)
        if packet.stream.index != stream.index:
            continue
        try:
            for frame in packet.decode():
                if not frame.is_corrupt:
                    begun = True
                    yield frame
        except av.error.InvalidDataError:
            if begun:
                raise Unusable("the video data are damaged") from None


def _opened(path: str) -> Any:
    import av

    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    # an absolute path: ffmpeg takes what is before a colon for a protocol
    return av.open(os.path.abspath(path), container_options=options, metadata_errors="replace")


def _stream(container: Any) -> Any:
    """The first stream of pictures that is no cover."""
    import av

    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context is not None:
            return stream
    return None


def _layout(frame: Any) -> str:
    return "rgba" if any(part.is_alpha for part in frame.format.components) or frame.format.has_palette else "rgb24"


def _on_white(frame: Any) -> UInt8[np.ndarray, "H W 3"]:
    pixels: np.ndarray = frame.to_ndarray()
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _turn(frame: Any) -> tuple[bool, bool, bool]:
    """Say how a frame is to be turned: whether rows and columns swap, then whether down and right are mirrored.

    Files hold a matrix (a b u, c d v, x y w), by which column p and row q are shown at column a p + c q and row
    b p + d q.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    swaps = abs(b) > abs(a)
    return (True, b < 0, c < 0) if swaps else (False, d < 0, a < 0)


def _hash(path: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
        if not file.tell():
            raise Unusable("the file is empty")
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    """One line on why decoding failed."""
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    if isinstance(error, PermissionError):
        return "the file cannot be read (permission denied)"
    if "invalid data" in str(error).lower():
        return "it is no video, or damaged so that it cannot be opened"
    return f"it cannot be decoded ({' '.join(str(getattr(error, 'strerror', None) or error).split())[:120]})"
