"""Find clips that share a part: one is an excerpt of the other, saved again, or both are cut from the same film.

Clips of a camera that stands still have pictures alike. So what is compared is what moves: a few moments of 0.6 s, as
small gray pictures less their mean. The moments of one side are chosen, those in which most moves; all of the other
side are looked at, as products of matrices. What is found there is then compared for about a second, finer, and with
what stands still.

Missed are parts in which next to nothing moves; at other speeds or rates of frames; cropped, mirrored or turned; test
clips of fewer than 4 frames, and other parts of test clips of fewer than 13; and fast motion where frames were taken
half a step apart.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Int64

from selfsup.clips import Clips

STILL = 2.0
"""Gray levels: what moves less cannot be told from the noise of coding."""
_MOMENTS = 4
"""Frames that are compared, evenly spread over 7; over 4 in test clips that are shorter than 7."""
_SPREAD = 2
_STRETCH = 4
"""Frames of a test clip of which one is where a comparison begins."""
_AROUND = (-3, 9)
"""Frames around its beginning by which a part that was found is compared again, as far as both clips have them."""
_ROUGHLY, _MOVES_ALIKE, _LOOKS_ALIKE = 0.75, 0.75, 0.9
"""Correlations of what moves, in few moments and in all frames, and of pictures: frames that are taken up to half a
step apart, and coded anew, differ by some."""
_AT_ONCE = (1024, 16384)
"""Moments of either side that are compared at a time."""


def share_a_part(clips: Clips, test: Clips) -> Int64[np.ndarray, " c"]:
    """Give the numbers of the clips of which a part is in a test clip, or that are in one, in order."""
    lengths = np.diff(test.starts)
    long = lengths >= (_MOMENTS - 1) * _SPREAD + 1
    found: set[int] = set()
    for spread, chosen in ((_SPREAD, long), (1, ~long & (lengths >= _MOMENTS))):
        anchors = _most_moving(test, np.flatnonzero(chosen), spread)
        if len(anchors):
            found |= _holding(clips, test, anchors, spread)
    return np.array(sorted(found), np.int64)


def _holding(clips: Clips, test: Clips, anchors: Int64[np.ndarray, " A"], spread: int) -> set[int]:
    """Give the clips that show somewhere what test clips show from `anchors` on."""
    found: set[int] = set()
    parts = [anchors[start : start + _AT_ONCE[0]] for start in range(0, len(anchors), _AT_ONCE[0])]
    asked = [(part, _unit(_moving(_gray(test, part, spread)))[0]) for part in parts]
    for frames in _beginnings(clips, spread):
        unit, size = _unit(_moving(_gray(clips, frames, spread)))
        moves = size >= STILL
        frames, unit = frames[moves], unit[moves]
        for part, sought in asked:
            one, other = np.nonzero(unit @ sought.T >= _ROUGHLY)
            if len(found):  # what is known needs no second proof
                new = ~np.isin(clips.clip[frames[one]], list(found))
                one, other = one[new], other[new]
            for start in range(0, len(one), _AT_ONCE[0]):
                some = slice(start, start + _AT_ONCE[0])
                same = _same(clips, frames[one[some]], test, part[other[some]])
                found.update(clips.clip[frames[one[some]][same]].tolist())
    return found


def _same(
    clips: Clips, frames: Int64[np.ndarray, " n"], test: Clips, others: Int64[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Say of pairs of frames whether about a second around them is the same: what moves, and the picture."""
    near, other_near = (side[:, None] + np.arange(*_AROUND) for side in (frames, others))
    shared = _of_clip(clips, near, frames) & _of_clip(test, other_near, others)  # [n, K]
    weights = (shared / shared.sum(1, keepdims=True)).astype(np.float32)[..., None]
    moving, pictures = [], []
    for of, chosen in ((clips, near), (test, other_near)):
        gray = of.thumbs[np.clip(chosen, 0, len(of) - 1)].mean(2, dtype=np.float32).reshape(*chosen.shape, -1)
        mean = (weights * gray).sum(1, keepdims=True)
        moving.append((np.sqrt(weights) * (gray - mean)).reshape(len(gray), -1))
        pictures.append(mean[:, 0] - mean[:, 0].mean(1, keepdims=True))
    (one, _), (other, _) = map(_unit, moving)
    (picture, _), (other_picture, _) = map(_unit, pictures)
    result: np.ndarray = ((one * other).sum(1) >= _MOVES_ALIKE) & ((picture * other_picture).sum(1) >= _LOOKS_ALIKE)
    return result


def _of_clip(clips: Clips, near: Int64[np.ndarray, "n K"], frames: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, "n K"]:
    """Say which numbers are of frames of the same clip."""
    own = clips.clip[frames]
    result: np.ndarray = (near >= clips.starts[own][:, None]) & (near < clips.starts[own + 1][:, None])
    return result


def _most_moving(test: Clips, chosen: Int64[np.ndarray, " c"], spread: int) -> Int64[np.ndarray, " A"]:
    """Give in each stretch of test clips the frame after which most moves, where it is enough."""
    frames = np.concatenate([np.empty(0, np.int64), *_beginnings(test, spread)])
    frames = frames[np.isin(test.clip[frames], chosen)]
    parts = [frames[start : start + _AT_ONCE[1]] for start in range(0, len(frames), _AT_ONCE[1])]
    sizes = [_unit(_moving(_gray(test, part, spread)))[1] for part in parts]
    size = np.concatenate([np.empty(0, np.float32), *sizes])
    stretch = (frames - test.starts[:-1][test.clip[frames]]) // _STRETCH
    order = np.lexsort((-size, stretch, test.clip[frames]))
    place = np.stack([test.clip[frames], stretch], 1)[order]
    first = np.ones(len(order), bool)
    first[1:] = (place[1:] != place[:-1]).any(1)
    best = order[first]
    return frames[best[size[best] >= STILL]]


def _beginnings(clips: Clips, spread: int) -> Iterator[Int64[np.ndarray, " n"]]:
    """Give frames after which there are enough others in the same clip, in pieces."""
    reach = (_MOMENTS - 1) * spread
    last = clips.starts[1:][clips.clip] - 1
    frames = np.flatnonzero(np.arange(len(clips)) + reach <= last)
    for start in range(0, len(frames), _AT_ONCE[1]):
        yield frames[start : start + _AT_ONCE[1]]


def _gray(clips: Clips, frames: Int64[np.ndarray, " n"], spread: int) -> Float32[np.ndarray, "n 4 8 8"]:
    """Small gray pictures of the moments after some frames."""
    needed, place = np.unique(frames[:, None] + spread * np.arange(_MOMENTS), return_inverse=True)
    small = clips.thumbs[needed].reshape(-1, 3, 8, 2, 8, 2).mean((1, 3, 5), dtype=np.float32)
    result: np.ndarray = small[place.reshape(len(frames), _MOMENTS)]
    return result


def _moving(moments: Float32[np.ndarray, "n 4 ..."]) -> Float32[np.ndarray, "n D"]:
    """Take the mean over the moments away."""
    result: np.ndarray = (moments - moments.mean(1, keepdims=True)).reshape(len(moments), -1)
    return result


def _unit(rows: Float32[np.ndarray, "n D"]) -> tuple[Float32[np.ndarray, "n D"], Float32[np.ndarray, " n"]]:
    """Scale rows to length 1, and give their deviation before."""
    length = np.linalg.norm(rows, axis=1)
    return rows / np.maximum(length, 1e-6)[:, None], length / np.float32(np.sqrt(rows.shape[1]))
