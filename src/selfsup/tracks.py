"""Patches followed through clips: searched for once, from many starts in each clip."""

from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from selfsup.clips import Clips
from selfsup.errors import InputError
from selfsup.trackers import track

STEPS = 5
"""Moments of a track that are kept, evenly spread: the first and the last, and those between to look at."""
STRIDE = 0.25
"""Time from one start to the next in a clip, as a share of a track's length."""
_ROUNDING = 1e-6  # seconds by which times of frames may be off


@dataclass(frozen=True)
class Limits:
    """What a track must keep to."""

    seconds: float
    """Its length."""
    patch: float
    """Side of the box, in sides of the picture."""
    tracker: str
    """`points` or `kcf`."""
    most: int
    """Tracks that are tried, evenly spread over all clips."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """Tracks by clip; no two begin with the same frame."""

    frames: Int64[np.ndarray, "M 5"]
    corners: Float32[np.ndarray, "M 5 2"]
    """Top and left of the box in these frames, in sides of the picture; it lies inside."""
    starts: Int64[np.ndarray, " S"]
    """First track of each clip, and after them the number of tracks."""
    tried: int
    took: float
    """Seconds of searching."""

    def drawn(self, clip: Int64[np.ndarray, " B"], draw: np.random.Generator) -> Int64[np.ndarray, " B"]:
        """Draw a track of each clip, or of any clip for one that has none."""
        first, after = self.starts[clip], self.starts[clip + 1]
        empty = first == after
        first, after = np.where(empty, 0, first), np.where(empty, len(self.frames), after)
        return draw.integers(first, after)


class Window(NamedTuple):
    """Frames in time, each STRIDE tracks' lengths after another window's begins."""

    frames: Int64[np.ndarray, " n"]
    rate: float
    """Frames in a second."""


@lru_cache(maxsize=8)
def tracks_of(clips: Clips, limits: Limits) -> Tracks:
    """Search clips for tracks; all follows from their pixels, and is found once for each of these objects.

    Raises:
        InputError: if there is none at all.
    """
    began = perf_counter()
    windows = windows_of(clips, limits)
    if not windows:
        longest = float((clips.seconds[clips.starts[1:] - 1] - clips.seconds[clips.starts[:-1]]).max(initial=0.0))
        raise InputError(
            f"A track takes {limits.seconds:g} s with at least {STEPS} frames, and the longest of {clips.count} clips "
            f"lasts {longest:.3g} s; longer clips, a shorter --seconds or a higher --frame-rate would do."
        )
    frames, corners = [], []
    for window in windows:
        path = track(clips.read(window.frames), window.rate, limits.patch, limits.tracker)
        if path is not None:
            kept = np.linspace(0, len(path) - 1, STEPS).round().astype(np.int64)
            frames.append(window.frames[kept])
            corners.append(path[kept])
    if not frames:
        raise InputError(
            f"Nothing could be tracked in {clips.count} clips ({len(windows)} tries of {limits.seconds:g} s): nothing "
            "moves in them, or the camera does; clips from a camera that stands still, in which something moves, would "
            "do."
        )
    together = np.stack(frames)
    starts = np.searchsorted(clips.clip[together[:, 0]], np.arange(clips.count + 1)).astype(np.int64)
    return Tracks(together, np.stack(corners), starts, len(windows), perf_counter() - began)


def windows_of(clips: Clips, limits: Limits) -> list[Window]:
    """List where tracks are tried: from every quarter of a track's length on, thinned out evenly where too many."""
    found = []
    for first, after in zip(clips.starts[:-1].tolist(), clips.starts[1:].tolist(), strict=True):
        seconds = clips.seconds[first:after]
        latest = seconds[-1] - limits.seconds + _ROUNDING
        begin = np.arange(seconds[0], latest, STRIDE * limits.seconds)
        for start in np.unique(np.searchsorted(seconds, begin - _ROUNDING)).tolist():
            stop = int(np.searchsorted(seconds, seconds[start] + limits.seconds - _ROUNDING)) + 1
            if stop - start >= STEPS and stop <= len(seconds):
                rate = (stop - 1 - start) / (seconds[stop - 1] - seconds[start])
                found.append(Window(first + np.arange(start, stop), float(rate)))
    if len(found) > limits.most:
        found = [found[k] for k in np.linspace(0, len(found) - 1, limits.most).round().astype(int).tolist()]
    return found
