"""Clips: which frames belong together, when they were taken, and how much moves in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, Integer, UInt8

from selfsup.progress import silent

THUMB = 16
"""Side in pixels of the small pictures by which frames are compared."""
_FRAMES = 512


@dataclass(frozen=True, eq=False)
class Clips:
    """The frames of a store as clips. Frames of a clip stand together, in time."""

    clip: Int64[np.ndarray, " N"]
    """Number of the clip of each frame: 0, 0, 0, 1, 1, ..."""
    seconds: Float64[np.ndarray, " N"]
    """When each frame is shown, since the start of its clip."""
    source: Int64[np.ndarray, " N"]
    """Number of the video each frame is from: clips of one are alike in more than what moves, and never straddle a
    split."""
    motion: Float32[np.ndarray, " N"]
    """Mean absolute difference (black to white is 1) from the frame before it in its clip; 0 for the first."""
    thumbs: UInt8[np.ndarray, "N 3 16 16"]
    """Small pictures, to compare any two frames without reading them."""
    names: tuple[str, ...]
    """Of clips, by number."""
    pixels: UInt8[np.ndarray, "M 3 S S"]
    """All frames of the origin, memory-mapped; `read` knows which of them belong here."""
    rows: Int64[np.ndarray, " N"] | None = None
    """Rows of `pixels` that belong to this selection; None for all."""

    def __len__(self) -> int:
        return len(self.clip)

    @property
    def count(self) -> int:
        """Number of clips."""
        return len(self.names)

    @property
    def starts(self) -> Int64[np.ndarray, " starts"]:
        """First frame of each clip, and after them the number of frames."""
        starts: np.ndarray = np.searchsorted(self.clip, np.arange(self.count + 1)).astype(np.int64)
        return starts

    def read(self, frames: Integer[np.ndarray, " n"]) -> UInt8[np.ndarray, "n 3 S S"]:
        """Gather frames in the order asked, as a copy."""
        read: np.ndarray = np.asarray(self.pixels)[frames if self.rows is None else self.rows[frames]]
        return read

    def select(self, frames: Integer[np.ndarray, " n"] | Sequence[int]) -> "Clips":
        """Keep some frames, in the order given; clips are numbered anew as they come, those without frames are gone.

        Frames in another order than their own, or clips in pieces, are as many clips as there are pieces.
        """
        chosen = np.asarray(frames, dtype=np.int64)
        clip = self.clip[chosen]
        new = np.ones(len(chosen), bool)
        new[1:] = (clip[1:] != clip[:-1]) | (np.diff(chosen) <= 0)
        motion = np.where(new, np.float32(0), self.motion[chosen])
        return Clips(
            clip=np.cumsum(new, dtype=np.int64) - 1,
            seconds=self.seconds[chosen],
            source=self.source[chosen],
            motion=motion,
            thumbs=self.thumbs[chosen],
            names=tuple(self.names[number] for number in clip[new].tolist()),
            pixels=self.pixels,
            rows=chosen if self.rows is None else self.rows[chosen],
        )

    def means(self, rows: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "C D"]:
        """Average what was found of each frame over the frames of each clip."""
        sums: np.ndarray = np.add.reduceat(rows, self.starts[:-1], axis=0, dtype=np.float64)
        return (sums / np.diff(self.starts)[:, None]).astype(rows.dtype)


def described(
    pixels: UInt8[np.ndarray, "N 3 S S"],
    clip: Int64[np.ndarray, " N"],
    seconds: Float64[np.ndarray, " N"],
    source: Int64[np.ndarray, " N"],
    names: Sequence[str],
    progress: Callable[[str, int, int], None] = silent,
) -> Clips:
    """Look at all frames once: how each differs from the one before it, and what it looks like when small.

    Args:
        pixels: of all frames, read in pieces.
        clip: of each frame, rising from 0 without gaps.
        seconds: of each frame, since the start of its clip.
        source: video of each frame.
        names: of the clips.
        progress: is told how far the work is.
    """
    motion = np.zeros(len(pixels), np.float32)
    thumbs = np.zeros((len(pixels), 3, THUMB, THUMB), np.uint8)
    for first in range(0, len(pixels), _FRAMES):
        progress("looking at frames", first, len(pixels))
        before = max(0, first - 1)
        frames = np.asarray(pixels[before : first + _FRAMES])
        moved = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean((1, 2, 3), dtype=np.float64) / 255
        motion[before + 1 : before + 1 + len(moved)] = moved
        thumbs[first : first + _FRAMES] = _small(frames[first - before :])
    progress("looking at frames", len(pixels), len(pixels))
    motion[np.searchsorted(clip, np.arange(len(names)))] = 0
    return Clips(clip, seconds, source, motion, thumbs, tuple(names), pixels)


def _small(frames: UInt8[np.ndarray, "n 3 S S"]) -> UInt8[np.ndarray, "n 3 16 16"]:
    """Average frames over a grid of 16 x 16 boxes, which are a pixel larger or smaller where the side does not fit."""
    side = frames.shape[-1]
    edges = np.arange(THUMB) * side // THUMB
    widths = np.diff(np.append(edges, side))
    if side < THUMB:
        nearest = np.arange(THUMB) * side // THUMB
        return np.ascontiguousarray(frames[:, :, nearest][:, :, :, nearest])
    sums = np.add.reduceat(np.add.reduceat(frames, edges, axis=2, dtype=np.float32), edges, axis=3)
    small: np.ndarray = np.round(sums / (widths[:, None] * widths)).astype(np.uint8)
    return small
