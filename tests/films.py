"""Videos for tests: a few frames that can be told apart by their brightness, written with PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LEVELS = 12
"""Gray levels between two frames; compression moves them by less."""


def steps(count: int, height: int = 36, width: int = 48, first: int = 10) -> list[np.ndarray]:
    """Frames of one gray each, that rises by LEVELS from frame to frame."""
    return [np.full((height, width, 3), first + LEVELS * number, np.uint8) for number in range(count)]


def corner(count: int = 4, height: int = 36, width: int = 48) -> list[np.ndarray]:
    """Black frames with a white top left quarter, a red top right one and a green bottom left one."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[: height // 2, : width // 2] = 255
    frame[: height // 2, width // 2 :, 0] = 255
    frame[height // 2 :, : width // 2, 1] = 255
    return [frame] * count


def drifting(count: int, seed: int, side: int = 40) -> list[np.ndarray]:
    """A window that moves over noise of large grain: neighbours are alike, and each seed is another world."""
    draw = np.random.default_rng(seed)
    world = np.kron(draw.integers(0, 256, (12, 24, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return [world[:side, 2 * number : 2 * number + side] for number in range(count)]


def write_film(
    file: Path,
    frames: Sequence[np.ndarray],
    rate: float = 10,
    codec: str = "mpeg4",
    layout: str = "yuv420p",
    milliseconds: Sequence[int] | None = None,
    turned: int = 0,
    wide: Fraction | None = None,
    faststart: bool = False,
) -> Path:
    """Write a video.

    Args:
        file: its name says which container.
        frames: RGB.
        rate: frames a second.
        codec: of the frames.
        layout: of the pixels.
        milliseconds: when each frame is shown, where that is uneven.
        turned: degrees counterclockwise by which players turn it.
        wide: of a pixel, width through height.
        faststart: whether the index of an MP4 comes first.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(file), "w", options=options) as container:
        stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = layout
        if codec == "mpeg4":
            stream.codec_context.qmin = stream.codec_context.qmax = 2
        if turned:
            stream.set_display_rotation(turned)
        if wide is not None:
            stream.codec_context.sample_aspect_ratio = wide
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24").reformat(format=layout)
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def write_sound(file: Path, seconds: float = 1.0) -> Path:
    """Write a file that has sound and no pictures."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * seconds)), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file
