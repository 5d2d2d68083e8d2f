"""Labels that were found, checked: classes numbered, relatives kept together, and what a person should know said."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Int64

from selfsup.data.by_clip import clips_of, similar_clips
from selfsup.data.cache import replaced
from selfsup.data.duplicates import near_duplicates
from selfsup.data.layouts import Place
from selfsup.data.progress import Progress
from selfsup.data.splits import LabelledImages, duplicate_notes, merged, without_straddling
from selfsup.data.store import ImageStore
from selfsup.errors import InputError


@dataclass
class Found:
    """Images (or a frame of each clip) and what their places or a table say, before it is checked."""

    images: ImageStore
    places: list[Place]
    groups: list[str]
    notes: list[str]
    frames: ImageStore | None = None
    """Of clips."""

    @property
    def things(self) -> str:
        """What has labels, in a word."""
        return "images" if self.frames is None else "clips"


def checked(found: Found, progress: Progress) -> LabelledImages:
    """Leave out what has no label, number the classes, find duplicates and keep them on one side of every split."""
    images, notes = found.images, [*found.images.notes, *found.notes]
    labelled = [number for number, place in enumerate(found.places) if place.label is not None]
    if len(labelled) < len(images):
        left = sorted(set(range(len(images))) - set(labelled))
        example = images.names[left[0]]
        notes.append(
            f"{len(left)} {found.things} have no label (such as {example}) and are left out of the evaluation."
        )
    counts = Counter(found.places[number].label for number in labelled)
    chosen = np.array(labelled, dtype=np.int64)
    classes = sorted((label for label in counts if label is not None), key=_natural)
    if len(classes) < 2:
        what = f"a single class, {classes[0]}" if classes else "no labels"
        raise InputError(f"{images.source} has {what}; at least two classes are needed to compare encoders.")
    notes += _class_notes(classes, counts, found.things)
    near = _groups_of(images, progress) if found.frames is None else similar_clips(found.frames)
    groups = merged(near[chosen], [found.groups[number] for number in labelled])
    if found.frames is not None:
        groups = merged(groups, _sources_of(found.frames, chosen))
    number_of = {label: number for number, label in enumerate(classes)}
    data = LabelledImages(
        images=images if len(chosen) == len(images) else images.select(chosen),
        labels=np.array([number_of[str(found.places[number].label)] for number in labelled], dtype=np.int64),
        classes=classes,
        split=np.array([found.places[number].split for number in labelled], dtype=object),
        groups=groups,
        notes=notes,
        frames=found.frames,
    )
    if len(chosen) < len(images):
        data = replace(data, frames=None if found.frames is None else clips_of(found.frames, chosen))
    return without_straddling(replace(data, notes=notes + duplicate_notes(data, near[chosen])))


def _natural(text: str) -> tuple[Any, ...]:
    """Sort numbers by value and words by letters."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part)


def _class_notes(classes: Sequence[str], counts: Counter[str | None], things: str) -> list[str]:
    notes = []
    single = [name for name in classes if counts[name] == 1]
    if single:
        names = ", ".join(single[:5]) + (", ..." if len(single) > 5 else "")
        notes.append(
            f"{len(single)} classes have a single {things[:-1]} ({names}), which cannot be learned and tested."
        )
    spelled: dict[str, list[str]] = {}
    for name in classes:
        spelled.setdefault(name.strip().lower(), []).append(name)
    for alike in (names for names in spelled.values() if len(names) > 1):
        notes.append(f"The classes {' and '.join(repr(name) for name in alike)} differ in spelling only.")
    return notes


def _sources_of(frames: ImageStore, chosen: Int64[np.ndarray, " n"]) -> list[str]:
    """The video of each clip, as text."""
    assert frames.clips is not None
    return [str(source) for source in frames.clips.source[frames.clips.starts[:-1]][chosen].tolist()]


def _groups_of(images: ImageStore, progress: Progress) -> Int64[np.ndarray, " N"]:
    """Groups of nearly identical images, kept beside the decoded images."""
    kept = images.folder / "duplicates.npy" if images.folder is not None else None
    if images.holds_signals:  # no picture to compare: equal values only
        return np.unique(images.hashes, return_inverse=True)[1].astype(np.int64)
    if kept is not None and kept.exists():
        known: np.ndarray = np.load(kept, allow_pickle=False)
        if len(known) == len(images):
            return known
    progress("looking for duplicates", 0, len(images))
    groups = near_duplicates(images)
    progress("looking for duplicates", len(images), len(images))
    if kept is not None:
        with replaced(kept) as file:
            np.save(file, groups, allow_pickle=False)
    return groups
