"""What belongs together among the images to learn from, where the user says so: clips of one film, images of a patient.

Only the hold-out and the negatives of methods that read clips ask for it; labels are grouped in `data.labels`.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from selfsup.data.layouts import compiled, from_group_pattern, group_in
from selfsup.data.splits import merged
from selfsup.data.store import ImageStore
from selfsup.errors import InputError
from selfsup.values import is_drawn


def check_group(pattern: str, source: Any) -> None:
    """Refuse, before anything is opened, what cannot be a group pattern or has no paths to look at.

    Raises:
        InputError: if it is no regular expression, or `source` is drawn.
    """
    compiled(pattern, "group pattern")
    if isinstance(source, str) and is_drawn(source):
        raise _nameless(pattern, source)


def grouped(images: ImageStore, pattern: str) -> ImageStore:
    """Number what belongs together: rows of one group are held out together, and clips of one have one source.

    A group is what the first group of `pattern` matches in a path of `searched`. What it does not match stays by
    itself; what was of one source before still is.

    Raises:
        InputError: if the pattern matches nothing, or what was opened has no paths.
    """
    if not _has_paths(images):
        raise _nameless(pattern, images.source)
    clips = images.clips
    found = from_group_pattern(searched(images), pattern)
    left, what = found.count(""), "images" if clips is None else "clips"
    note = f"The group pattern matches all but {left} {what}, which are groups of their own."
    notes = [*images.notes, *([note] if left and note not in images.notes else [])]
    if clips is None:
        return replace(images, groups=merged(np.arange(len(images)), found), notes=notes)
    of_clip = merged(clips.source[clips.starts[:-1]], found)
    source = of_clip[clips.clip]
    return replace(images, groups=source, clips=replace(clips, source=source), notes=notes)


def has_groups(images: ImageStore, pattern: str) -> bool:
    """Say whether a group pattern finds anything in the paths of images; labels may have others."""
    expression = compiled(pattern, "group pattern")
    return _has_paths(images) and any(group_in(name, expression) for name in searched(images))


def searched(images: ImageStore) -> list[str]:
    """Give the paths below the folder in which groups are searched: of each image, or of each clip.

    A clip of frames in files has the path of its first one, so that a pattern that finds something in clips finds it
    too where the same files are taken for images.
    """
    clips = images.clips
    if clips is None:
        return images.names
    if not images.in_files:
        return list(clips.names)
    return [images.names[start] for start in clips.starts[:-1].tolist()]


def _has_paths(images: ImageStore) -> bool:
    if is_drawn(images.source) or images.made_by is not None:
        return False
    return images.clips is not None or images.in_files


def _nameless(pattern: str, source: str) -> InputError:
    return InputError(
        f"The group pattern {pattern} looks at paths of files, which {source} has none of; leave --group out, or give"
        " a folder of images or videos."
    )
