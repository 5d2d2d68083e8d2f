"""Tuples of frames whose order can be asked for: something moves in them, and a wrong order can be seen."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from selfsup import draws
from selfsup.clips import Clips
from selfsup.errors import InputError

MOST = 1 << 18
"""Candidates, about, that are drawn from all clips; at least `LEAST` from each frame."""
LEAST, EACH = 2, 256
"""Fewest and most candidates that begin with a frame."""
STILL = 1e-4
"""Motion (black to white is 1) up to which a frame equals its neighbour: a gray level in every fortieth pixel."""
_ROWS = 1 << 14
_ROUNDING = 1e-6  # seconds by which times of frames may be off


@dataclass(frozen=True)
class Limits:
    """What a tuple must keep to."""

    frames: int
    """K, in a tuple."""
    tau_max: float
    """Most seconds from its first frame to its last."""
    tau_min: float | None
    """Least seconds from a wrong frame to the nearer end, of tuples (K = 3) that have one; None: they have none."""
    difference: float
    """Least root mean square difference (black to white is 1) of small pictures of what a wrong order would swap: the
    middle and the wrong frame, or neighbours where there is no wrong one."""


@dataclass(frozen=True, eq=False)
class Tuples:
    """Tuples by clip, each drawn in proportion to the motion in it."""

    frames: Int64[np.ndarray, "M K"]
    """In time."""
    wrong: Int64[np.ndarray, " M"]
    """A frame of the same clip before or after the tuple; equal to its first where none was asked for."""
    starts: Int64[np.ndarray, " S"]
    """First tuple of each clip, and after them the number of tuples."""
    cumulative: Float64[np.ndarray, " W"]
    """Weight of all tuples before: motion, mean over the steps of a tuple, such that all windows count alike."""
    short: int
    """Clips in which no tuple has room."""
    still: int
    """Other clips without a tuple: too little moves."""

    def drawn(self, clip: Int64[np.ndarray, " B"], draw: np.random.Generator) -> Int64[np.ndarray, " B"]:
        """Draw a tuple of each clip, or of any clip for one that has none."""
        first, after = self.starts[clip], self.starts[clip + 1]
        empty = first == after
        first, after = np.where(empty, 0, first), np.where(empty, len(self.frames), after)
        low, high = self.cumulative[first], self.cumulative[after]
        place = low + draw.random(len(clip)) * (high - low)
        found = np.searchsorted(self.cumulative, place, side="right") - 1
        rows: np.ndarray = np.clip(found, first, after - 1)
        return rows


class _Candidates(NamedTuple):
    frames: Int64[np.ndarray, "R K"]
    wrong: Int64[np.ndarray, " R"]
    ends: Int64[np.ndarray, " R"]
    """Last frames there were to choose from."""
    fits: Bool[np.ndarray, " R"]

    def fitting(self) -> "_Candidates":
        return _Candidates(*(part[self.fits] for part in self))


@lru_cache(maxsize=4)
def tuples_of(clips: Clips, limits: Limits) -> Tuples:
    """Find tuples in clips: many are drawn from every frame on, and those that keep to the limits stay.

    They follow from the clips and the limits alone.

    Raises:
        InputError: if there is none at all.
    """
    search = _Search(clips, limits)
    each = int(np.clip(MOST // max(1, len(clips)), LEAST, EACH))
    found, roomy = [], np.zeros(clips.count, bool)
    for first in range(0, len(clips) * each, _ROWS):
        numbers = np.arange(first, min(first + _ROWS, len(clips) * each), dtype=np.int64)
        drawn = search.candidates(numbers // each, draws.hashed(0, numbers, limits.frames)).fitting()
        roomy[clips.clip[drawn.frames[:, 0]]] = True
        found.append(search.telling(drawn).fitting())
    if not any(len(good.frames) for good in found):
        raise InputError(_none(clips, limits, roomy))
    frames, wrong, ends, _ = (np.concatenate(parts) for parts in zip(*found, strict=True))
    starts = np.searchsorted(clips.clip[frames[:, 0]], np.arange(clips.count + 1)).astype(np.int64)
    total = np.concatenate([[0.0], np.cumsum(clips.motion, dtype=np.float64)])
    moved = (total[frames[:, -1] + 1] - total[frames[:, 0] + 1]) / (frames[:, -1] - frames[:, 0])
    still = int((roomy & (np.diff(starts) == 0)).sum())
    # near the end of a clip few last frames share the candidates of a first one, which must not favour them
    cumulative = np.concatenate([[0.0], np.cumsum(moved * ends)])
    return Tuples(frames, wrong, starts, cumulative, int((~roomy).sum()), still)


class _Search:
    """Clips as they are searched for tuples."""

    def __init__(self, clips: Clips, limits: Limits) -> None:
        self.limits = limits
        self.reach = limits.tau_max + _ROUNDING
        self.small = clips.thumbs.reshape(len(clips), -1)
        moved = clips.motion > STILL
        self.moving = moved | np.append(moved[1:], False)  # the first frame of a clip has no motion of its own
        starts = clips.starts
        # one clock for all, on which clips lie further apart than anyone looks
        begin, end = (clips.seconds[place] for place in (starts[:-1], starts[1:] - 1))
        shift = np.concatenate([[0.0], np.cumsum(end - begin + 3 * self.reach)[:-1]]) - begin
        self.clock = clips.seconds + shift[clips.clip]

    def candidates(self, first: Int64[np.ndarray, " R"], uniform: Float64[np.ndarray, "R K"]) -> _Candidates:
        """Draw the last frame within `tau_max`, those between, and a wrong frame where one is asked for."""
        inner = self.limits.frames - 2
        latest = self._after(self.clock[first] + self.reach) - 1
        ends = latest - first - inner
        fits = ends > 0
        last = first + 1 + inner + _below(uniform[:, 0], ends)
        between = np.sort(_below(uniform[:, 1 : 1 + inner], (last - first - inner)[:, None]), axis=1)
        between = first[:, None] + 1 + between + np.arange(inner)
        frames = np.concatenate([first[:, None], between, last[:, None]], axis=1)
        frames = np.where(fits[:, None], frames, first[:, None])
        if self.limits.tau_min is None:
            return _Candidates(frames, first, ends, fits)
        wrong, count = self._outside(first, frames[:, -1], uniform[:, -1])
        fits &= count > 0
        return _Candidates(frames, np.where(fits, wrong, first), ends, fits)

    def telling(self, given: _Candidates) -> _Candidates:
        """Keep what moves, and looks different where a wrong order would swap frames."""
        frames, wrong = given.frames, given.wrong
        good = self.moving[frames].all(axis=1) & self.moving[wrong]
        no_wrong = self.limits.tau_min is None
        one, other = (frames[:, 1:], frames[:, :-1]) if no_wrong else (frames[:, 1:2], wrong[:, None])
        for column in range(one.shape[1]):
            good[good] = self._apart(one[good, column], other[good, column]) >= self.limits.difference
        return given._replace(fits=good)

    def _outside(
        self, first: Int64[np.ndarray, " R"], last: Int64[np.ndarray, " R"], uniform: Float64[np.ndarray, " R"]
    ) -> tuple[Int64[np.ndarray, " R"], Int64[np.ndarray, " R"]]:
        """Draw a frame from `tau_min` to `tau_max` before the first or after the last; also say how many there are."""
        assert self.limits.tau_min is not None
        near = self.limits.tau_min - _ROUNDING
        # further away another thing may be seen, which would betray the frame
        start, stop = self._before(self.clock[first] - self.reach), self._after(self.clock[first] - near)
        resume, end = self._before(self.clock[last] + near), self._after(self.clock[last] + self.reach)
        earlier, later = np.maximum(stop - start, 0), np.maximum(end - resume, 0)
        place = _below(uniform, earlier + later)
        return np.where(place < earlier, start + place, resume + place - earlier), earlier + later

    def _before(self, time: Float64[np.ndarray, " R"]) -> Int64[np.ndarray, " R"]:
        return np.searchsorted(self.clock, time).astype(np.int64)

    def _after(self, time: Float64[np.ndarray, " R"]) -> Int64[np.ndarray, " R"]:
        return np.searchsorted(self.clock, time, side="right").astype(np.int64)

    def _apart(self, one: Int64[np.ndarray, " R"], other: Int64[np.ndarray, " R"]) -> Float32[np.ndarray, " R"]:
        """Give the root mean square difference of small pictures."""
        difference = self.small[one].astype(np.float32) - self.small[other]
        apart: np.ndarray = np.sqrt(np.square(difference, out=difference).mean(axis=1)) / np.float32(255)
        return apart


def _below(uniform: Float64[np.ndarray, "*R"], bound: Int64[np.ndarray, "*#R"]) -> Int64[np.ndarray, "*R"]:
    """Turn uniform numbers in [0, 1) into whole ones from 0 to below a bound, 0 where the bound is not above 0."""
    whole: np.ndarray = np.floor(uniform * np.maximum(bound, 1))
    return whole.astype(np.int64)


def _none(clips: Clips, limits: Limits, roomy: Bool[np.ndarray, " C"]) -> str:
    """Say in a sentence why there is no tuple."""
    if not roomy.any():
        longest = max((clips.seconds[clips.starts[1:] - 1] - clips.seconds[clips.starts[:-1]]).tolist(), default=0.0)
        most = int(np.diff(clips.starts).max(initial=0))
        outside = "" if limits.tau_min is None else f", with a wrong one at least {limits.tau_min:g} s outside"
        return (
            f"A tuple is {limits.frames} frames within {limits.tau_max:g} s{outside}, and no clip has room: the "
            f"longest of {clips.count} lasts {longest:.3g} s with at most {most} frames; longer clips, a higher "
            "--frame-rate or another --tau-min or --tau-max would do."
        )
    return (
        f"Nothing moves enough in {clips.count} clips to ask in which order frames came: no two frames differ by "
        f"{limits.difference:g} (root mean square, white is 1); a lower --difference, or clips in which things move, "
        "would do."
    )
