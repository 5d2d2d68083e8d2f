"""A box followed through the frames of a clip by OpenCV: around what moves, forwards, and back as a check."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

SPEED = 0.04
"""Sides of the picture in a second from which a pixel moves: half a pixel a frame at 25 frames of 320 pixels."""
LEAST, MOST = 0.004, 0.5
"""Shares of the picture that must move and may move: where more does, the camera moves."""
CHANGE = 4
"""Gray levels, mean over 5 x 5 pixels, by which a place that moves changes."""
GAP = 0.1
"""Seconds, about, between the two frames in which motion is looked for; of less than that, the first and the last."""
RETURN = 0.5
"""Overlap (intersection over union) of the box tracked back with where it began."""
WORK = (128, 256)
"""Frames are enlarged to at least, and shrunk to at most, so many pixels before they are looked at."""
_POINTS, _FEWEST = 60, 4


def track(
    frames: UInt8[np.ndarray, "n 3 S S"], rate: float, patch: float, tracker: str
) -> Float32[np.ndarray, "n 2"] | None:
    """Follow the box in which most moves at first; None where there is none or it is lost.

    Args:
        frames: in time.
        rate: frames in a second.
        patch: side of the box, in sides of the picture.
        tracker: `points`, the median motion of points that move (pyramidal Lucas-Kanade), or `kcf`, a kernelized
            correlation filter.

    Returns: top and left of the box in each frame, in sides of the picture.
    """
    cv2.setNumThreads(1)  # dense flow depends on them, and for pictures as small as these they gain nothing
    pictures = [_picture(frame) for frame in frames]
    gray = [cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in pictures]
    side = gray[0].shape[0]
    gap = min(max(1, round(GAP * rate)), len(gray) - 1)
    moving = moving_pixels(gray[0], gray[gap], SPEED * side * gap / rate)
    if moving is None:
        return None
    box = round(patch * side)
    corner = box_around(moving, box)
    follow = _follow_kcf if tracker == "kcf" else _follow_points
    path = follow(pictures if tracker == "kcf" else gray, corner, box, moving)
    if path is None or not _stays(path, box, side):
        return None
    inside: np.ndarray = np.clip(path, 0, side - box) / side
    return inside.astype(np.float32)


def moving_pixels(
    before: UInt8[np.ndarray, "S S"], after: UInt8[np.ndarray, "S S"], least: float
) -> Bool[np.ndarray, "S S"] | None:
    """Say which pixels move by at least so many pixels, by dense optical flow; None where too few or too many do."""
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(before, after, None)
    moved = np.hypot(flow[..., 0], flow[..., 1]) >= least
    # flow spreads into what is flat and stands still, where nothing changes
    change = cv2.blur(cv2.absdiff(before, after), (5, 5))
    if (moved & (change >= CHANGE / 2)).mean() > MOST:
        return None
    moved &= change >= CHANGE
    return moved if moved.mean() >= LEAST else None


def box_around(moving: Bool[np.ndarray, "S S"], side: int) -> Float64[np.ndarray, " 2"]:
    """Give top and left of the box that holds most moving pixels, the one in the middle where several do."""
    sums = cv2.integral(moving.astype(np.uint8))
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    best = np.argwhere(inside == inside.max())
    middle: np.ndarray = best.mean(axis=0)
    # equally good boxes may lie around two things: then the middle one holds neither
    down, across = middle.round().astype(int)
    return middle if inside[down, across] >= 0.9 * inside.max() else best[0].astype(np.float64)


def overlap(one: Float[np.ndarray, " 2"], other: Float[np.ndarray, " 2"], side: float) -> float:
    """Give intersection over union of two boxes of one side, by their top and left."""
    shared = float(np.prod(np.maximum(side - np.abs(one - other), 0)))
    return shared / (2 * side * side - shared)


def _follow_points(
    gray: list[UInt8[np.ndarray, "S S"]], corner: Float64[np.ndarray, " 2"], box: int, moving: Bool[np.ndarray, "S S"]
) -> Float64[np.ndarray, "n 2"] | None:
    """Move the box by the median motion of points on what moves, forwards, and back as a check."""
    near = cv2.dilate(moving.astype(np.uint8), np.ones((5, 5), np.uint8))  # corners lie on the edge of what moves
    mask = np.zeros_like(near)
    top, left = corner.round().astype(int)
    mask[top : top + box, left : left + box] = near[top : top + box, left : left + box]
    points = _corners(gray[0], mask)
    forth = None if points is None else _moved(gray, points)
    # those that stayed on what moves go back with it; those that a thing lost to what stands do not
    back = None if forth is None else _moved(gray[::-1], forth.points)
    if forth is None or back is None:
        return None
    path = corner + np.concatenate([np.zeros((1, 2)), np.cumsum(forth.steps, axis=0)])
    return path if overlap(path[0], path[-1] + back.steps.sum(axis=0), box) > RETURN else None


class _Moved(NamedTuple):
    steps: Float64[np.ndarray, "m 2"]
    """Down and across, from each frame to the next."""
    points: Float32[np.ndarray, "Q 1 2"]
    """Across and down in the last frame, as OpenCV has them."""


def _moved(gray: Sequence[UInt8[np.ndarray, "S S"]], points: Float32[np.ndarray, "P 1 2"]) -> _Moved | None:
    """Follow points, and replace those that do not come back to a pixel or leave the others by new ones nearby.

    None where too few are left at any time.
    """
    steps = []
    for before, after in pairwise(gray):
        there, found = _flow(before, after, points)
        again, back = _flow(after, before, there)
        shifts = (there - points)[:, 0]
        good = found & back & (np.abs(again - points).max(axis=(1, 2)) < 1)
        if good.sum() < _FEWEST:
            return None
        shift = np.median(shifts[good], axis=0)
        good &= np.abs(shifts - shift).max(axis=1) <= max(2.0, float(np.abs(shift).max()) / 2)
        if good.sum() < _FEWEST:
            return None
        steps.append(shift[::-1].astype(np.float64))
        points = _refreshed(after, there[good])
    return _Moved(np.stack(steps), points)


def _flow(
    before: UInt8[np.ndarray, "S S"], after: UInt8[np.ndarray, "S S"], points: Float32[np.ndarray, "P 1 2"]
) -> tuple[Float32[np.ndarray, "P 1 2"], Bool[np.ndarray, " P"]]:
    """Say where points are in the next frame, and which of them were found."""
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None, winSize=(15, 15), maxLevel=3)
    return there, found.ravel().astype(bool)


def _refreshed(gray: UInt8[np.ndarray, "S S"], points: Float32[np.ndarray, "P 1 2"]) -> Float32[np.ndarray, "Q 1 2"]:
    """Take as many points as there may be, close to those there are."""
    if len(points) >= _POINTS // 2:
        return points
    mask = np.zeros_like(gray)
    for across, down in points[:, 0].round().astype(int).tolist():
        cv2.circle(mask, (across, down), gray.shape[0] // 20, 1, -1)
    more = _corners(gray, mask)
    return points if more is None else np.concatenate([points, more])


def _corners(gray: UInt8[np.ndarray, "S S"], mask: UInt8[np.ndarray, "S S"]) -> Float32[np.ndarray, "P 1 2"] | None:
    points: Float32[np.ndarray, "P 1 2"] | None = cv2.goodFeaturesToTrack(gray, _POINTS, 0.01, 3, mask=mask)
    return points


def _follow_kcf(
    pictures: list[UInt8[np.ndarray, "S S 3"]], corner: Float64[np.ndarray, " 2"], box: int, _: Bool[np.ndarray, "S S"]
) -> Float64[np.ndarray, "n 2"] | None:
    """Follow the box by a kernelized correlation filter, forwards, and back as a check."""
    path = _filtered(pictures, corner, box)
    back = None if path is None else _filtered(pictures[::-1], path[-1], box)
    if path is None or back is None:
        return None
    return path if overlap(path[0], back[-1], box) > RETURN else None


def _filtered(
    pictures: list[UInt8[np.ndarray, "S S 3"]], corner: Float64[np.ndarray, " 2"], box: int
) -> Float64[np.ndarray, "n 2"] | None:
    tracker = cv2.TrackerKCF_create()
    tracker.init(pictures[0], (round(corner[1]), round(corner[0]), box, box))
    path = [corner]
    for picture in pictures[1:]:
        found, (left, top, _, _) = tracker.update(picture)
        if not found:
            return None
        path.append(np.array([top, left], np.float64))
    return np.stack(path)


def _stays(path: Float64[np.ndarray, "n 2"], box: int, side: int) -> bool:
    """Whether no more than a quarter of the box ever leaves the picture on any side."""
    return bool((path >= -box / 4).all() and (path <= side - 3 * box / 4).all())


def _picture(frame: UInt8[np.ndarray, "3 S S"]) -> UInt8[np.ndarray, "s s 3"]:
    """Give a frame as OpenCV has it: blue first, of a side that trackers can work on."""
    picture = np.ascontiguousarray(frame[::-1].transpose(1, 2, 0))
    side = int(np.clip(picture.shape[0], *WORK))
    if side == picture.shape[0]:
        return picture
    how = cv2.INTER_CUBIC if side > picture.shape[0] else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, (side, side), interpolation=how))
