"""Keep what was seen of the frames of clips beside them, so that they are looked at once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from selfsup.clips import Clips, described
from selfsup.data.progress import Progress


def seen_clips(
    folder: Path | None,
    pixels: UInt8[np.ndarray, "N 3 S S"],
    clip: Int64[np.ndarray, " N"],
    seconds: Float64[np.ndarray, " N"],
    source: Int64[np.ndarray, " N"],
    names: Sequence[str],
    progress: Progress,
) -> Clips:
    """Give clips as `described` does; what that found is read from `folder` where it is known, else written there.

    Args:
        folder: the cache folder of these frames and no others; None: nothing is kept.
        pixels: of all frames.
        clip: of each frame.
        seconds: of each frame, since the start of its clip.
        source: of each frame.
        names: of the clips.
        progress: is told how far the work is.
    """
    file = None if folder is None else folder / "seen.npz"
    if file is not None and file.is_file():
        with np.load(file, allow_pickle=False) as seen:
            if len(seen["motion"]) == len(clip) and np.array_equal(seen["clip"], clip):
                return Clips(clip, seconds, source, seen["motion"], seen["thumbs"], tuple(names), pixels)
    clips = described(pixels, clip, seconds, source, names, progress)
    if file is not None:
        partial = file.with_name("seen.partial.npz")
        np.savez(partial, clip=clip, motion=clips.motion, thumbs=clips.thumbs)
        partial.replace(file)
    return clips
