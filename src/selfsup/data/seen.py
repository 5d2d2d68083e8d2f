"""Keep what was seen of the frames of clips beside them, so that they are looked at once."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from selfsup.clips import THUMB, Clips, described
from selfsup.data.cache import replaced
from selfsup.data.progress import Progress

FORMAT = 1
"""To be raised when frames are looked at in another way, so that what was found before is not used again."""


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
    file = None if folder is None else folder / f"seen-{FORMAT}.npz"
    known = None if file is None else _read(file, clip)
    if known is not None:
        return Clips(clip, seconds, source, *known, tuple(names), pixels)
    clips = described(pixels, clip, seconds, source, names, progress)
    if file is not None:
        with replaced(file) as opened:  # no lock is held
            np.savez(opened, clip=clip, motion=clips.motion, thumbs=clips.thumbs)
    return clips


def _read(
    file: Path, clip: Int64[np.ndarray, " N"]
) -> tuple[Float32[np.ndarray, " N"], UInt8[np.ndarray, "N 3 16 16"]] | None:
    """Read motion and small pictures; None where there are none of these clips, or the file is damaged."""
    try:
        with np.load(file, allow_pickle=False) as seen:
            own, motion, thumbs = seen["clip"], seen["motion"], seen["thumbs"]
    except (OSError, EOFError, KeyError, ValueError, TypeError, NotImplementedError, BadZipFile, zlib.error):
        return None
    fits = np.array_equal(own, clip) and motion.shape == (len(clip),) and thumbs.shape == (len(clip), 3, THUMB, THUMB)
    return (motion, thumbs) if fits else None
