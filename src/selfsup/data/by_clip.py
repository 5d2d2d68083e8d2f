"""Clips as the things that have labels: one picture of each, and which of them are the same film."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Int64

from selfsup.clips import Clips
from selfsup.data.duplicates import SIMILAR, components, similar_pairs
from selfsup.data.excerpts import STILL, share_a_part
from selfsup.data.store import ImageStore
from selfsup.data.video_frames import EARLY
from selfsup.data.videos import RATE

_MOMENTS = 8
"""Frames by which two clips are compared, evenly spread."""
_PAIRS = 512
"""Clips compared at a time."""
FEW = 5.0
"""Frames a second below which most parts of test clips are missed."""


def one_of_each(frames: ImageStore) -> ImageStore:
    """Give the middle frame of every clip, by the clip's name, with the hash of its first frame."""
    clips = frames.clips
    assert clips is not None
    starts = clips.starts
    middle = frames.select(starts[:-1] + np.diff(starts) // 2)
    first = [frames.hashes[start] for start in starts[:-1].tolist()]
    return replace(middle, names=list(clips.names), hashes=first, clips=None)


def clips_of(frames: ImageStore, chosen: Int64[np.ndarray, " n"]) -> ImageStore:
    """Give all frames of some clips, clip by clip."""
    assert frames.clips is not None
    starts = frames.clips.starts
    parts = [np.arange(starts[number], starts[number + 1]) for number in chosen.tolist()]
    return frames.select(np.concatenate([np.empty(0, np.int64), *parts]))


def similar_clips(*pieces: ImageStore) -> Int64[np.ndarray, " C"]:
    """Give each clip the number of its group: the smallest number of a clip that is nearly the same film.

    Their middle frames are nearly the same picture, and so is what moves in them: clips of one camera that stands
    still have pictures alike and are not the same. Clips are numbered through all `pieces`, one after the other.
    """
    pairs, _ = similar_pairs(*(one_of_each(frames) for frames in pieces))
    moving = np.concatenate([_moving(frames.clips) for frames in pieces if frames.clips is not None])
    size = np.linalg.norm(moving, axis=1)
    still = size / np.sqrt(moving.shape[1]) < STILL
    same = still[pairs].all(1)
    for start in range(0, len(pairs), _PAIRS):  # clips of one camera are all pairs
        one, other = pairs[start : start + _PAIRS].T
        alike = (moving[one] * moving[other]).sum(1) >= SIMILAR * np.maximum(size[one] * size[other], 1e-6)
        same[start : start + _PAIRS] |= alike
    return components(len(moving), pairs[same])


def sources_apart(
    frames: ImageStore, test: ImageStore, gone: Int64[np.ndarray, " g"], rate: float | None = None
) -> Int64[np.ndarray, " f"]:
    """Give the frames that have nothing to do with test clips: none of a video of which any clip or frame is there.

    A video is there with a copy of a whole clip, or of a part as far as `share_a_part` finds it.

    Args:
        frames: of clips.
        test: frames of the test clips, or test images.
        gone: numbers of frames that are known to be related, by their group or as images.
        rate: frames a second of `frames`, where it is not that of `test`; parts are found at the lower of both.
    """
    clips = frames.clips
    assert clips is not None
    videos = set(clips.source[gone].tolist())
    if test.clips is not None:
        group = similar_clips(frames, test)
        near = np.isin(group[: clips.count], group[clips.count :])
        one, other = clips, test.clips
        # the slower side stays as it is: stored times are rounded, and thinned again it would lose frames
        if rate is not None and rate > RATE:
            one = _thinned(one, RATE)
        if rate is not None and rate < RATE:
            other = _thinned(other, rate)
        near[share_a_part(one, other)] = True
        videos |= set(clips.source[clips.starts[:-1]][near].tolist())
    return np.flatnonzero(~np.isin(clips.source, list(videos)))


def _thinned(clips: Clips, rate: float) -> Clips:
    """Keep the first frame of each `1 / rate` seconds; no clip loses all of its frames."""
    part = np.floor(clips.seconds * rate + EARLY).astype(np.int64)
    first = np.ones(len(clips), bool)
    first[1:] = (part[1:] != part[:-1]) | (clips.clip[1:] != clips.clip[:-1])
    return clips.select(np.flatnonzero(first))


def _moving(clips: Clips) -> Float32[np.ndarray, "C D"]:
    """Give what moves: small pictures of some moments less their mean."""
    starts, lengths = clips.starts[:-1], np.diff(clips.starts)
    moments = starts[:, None] + (np.arange(_MOMENTS) * (lengths[:, None] - 1) / (_MOMENTS - 1)).round().astype(np.int64)
    small = clips.thumbs[moments].astype(np.float32)
    result: np.ndarray = (small - small.mean(1, keepdims=True)).reshape(clips.count, -1)
    return result
