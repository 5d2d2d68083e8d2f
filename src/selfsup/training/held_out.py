"""Images that a run is not trained on, to watch its task."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int64, Integer

from selfsup.data.images import ImageStore

LEAST = 8
"""Fewer say nothing."""
MOST, SHARE = 512, 20


def hold_out(images: ImageStore) -> tuple[ImageStore, ImageStore]:
    """Keep up to 512 images (at most 5 %) from training, chosen by content, to watch the task on.

    Of clips whole videos are kept, of what belongs together all or nothing, and of scenes beside the images a share as
    large.
    """
    count = min(MOST, len(images) // SHARE)
    if count < LEAST:
        return images, images.select(np.arange(0))
    order = np.argsort(np.array(images.hashes), kind="stable")
    source = images.groups if images.clips is None else images.clips.source
    kept = order[:count] if source is None else _whole_videos(source, order, count)
    training = np.setdiff1d(np.arange(len(images)), kept)
    return _with_part(images.select(training), images, 0), _with_part(images.select(np.sort(kept)), images, 1)


def why_none(images: ImageStore) -> str:
    """Say why nothing of what belongs together was held out."""
    if len(images) // SHARE < LEAST:
        which = f"{len(images)} {images.things} are too few for some"
    else:
        which = f"No {'video is short' if images.groups is None else 'group is small'} enough"
    return f"{which} to be held out; the task is judged by what was trained on."


def _whole_videos(source: Integer[np.ndarray, " N"], order: Int64[np.ndarray, " N"], count: int) -> np.ndarray:
    """Take videos in the order of their first frame by content, as long as no more than `count` frames are taken.

    Where all are longer the shortest is taken, if it is no more than a fifth of all frames. Groups are taken likewise.
    """
    frames, taken = np.bincount(source), 0
    chosen: list[int] = []
    for video in dict.fromkeys(source[order].tolist()):
        if taken + frames[video] <= count:
            chosen.append(video)
            taken += frames[video]
    if not chosen and frames[frames > 0].min() * 5 <= len(source):  # one long video is better than none
        chosen = [int(np.flatnonzero(frames == frames[frames > 0].min())[0])]
    return np.flatnonzero(np.isin(source, chosen))


def _with_part(part: ImageStore, images: ImageStore, which: int) -> ImageStore:
    """Give training images (0) or held-out ones (1) scenes of their own: every twentieth is held out."""
    if images.beside is None:
        return part
    numbers = np.arange(len(images.beside))
    held_out = numbers % 20 == 19
    return replace(part, beside=images.beside.select(numbers[held_out if which else ~held_out]))
