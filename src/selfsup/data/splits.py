"""Labelled images, and how they are divided so that nothing of the test set was seen before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64, Integer

from selfsup.data.by_clip import clips_of
from selfsup.data.duplicates import components
from selfsup.data.store import ImageStore

_RANK = {"": 0, "train": 0, "val": 1, "test": 2}


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with a class each, or clips."""

    images: ImageStore
    labels: Int64[np.ndarray, " N"]
    """Index of the class of each image."""
    classes: list[str]
    split: np.ndarray
    """What the user's split says of each image: "train", "val", "test" or ""."""
    groups: Int64[np.ndarray, " N"]
    """Images of one group (patient, scene, nearly the same picture) never straddle a split."""
    notes: list[str]
    """Sentences to show, those of the images included."""
    frames: ImageStore | None = None
    """Where clips have the labels: all of their frames, clip by clip; `images` holds one frame of each then."""

    @property
    def seen(self) -> ImageStore:
        """What an encoder looks at: the images, or the frames of all clips."""
        return self.images if self.frames is None else self.frames

    @property
    def things(self) -> str:
        """What has labels, in a word."""
        return "images" if self.frames is None else "clips"

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Integer[np.ndarray, " n"] | Sequence[int]) -> "LabelledImages":
        """Give a part of the images, in the order asked."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            images=self.images.select(chosen),
            labels=self.labels[chosen],
            split=self.split[chosen],
            groups=self.groups[chosen],
            frames=None if self.frames is None else clips_of(self.frames, chosen),
        )


def test_split(
    data: LabelledImages,
    share: float = 1 / 3,  # noqa: PT028 (no test)
) -> tuple[Int64[np.ndarray, " pool"], Int64[np.ndarray, " test"]]:
    """Give the indices of the pool, from which labels may be drawn, and of the test images.

    The test images are those of the user's test split, or of a validation split if there is nothing else; without
    any, a `share` of each class, in whole groups. Which ones depends on the content of the images alone, not on names
    or order: the same images give the same split.
    """
    for name in ("test", "val"):
        test = data.split == name
        if test.any() and not test.all():
            return np.flatnonzero(~test), np.flatnonzero(test)
    return _fair_share(data, share)


test_split.__test__ = False  # type: ignore[attr-defined]  # no test, whatever pytest thinks of its name


def merged(near: Integer[np.ndarray, " N"], named: Sequence[str]) -> Int64[np.ndarray, " N"]:
    """Join groups that share an image: nearly identical ones, and those the user named ("" for none)."""
    first: dict[object, int] = {}
    pairs = []
    for number, (group, name) in enumerate(zip(near.tolist(), named, strict=True)):
        for mark in [("near", group), *([("named", name)] if name else [])]:
            known = first.setdefault(mark, number)
            if known != number:
                pairs.append((known, number))
    return components(len(named), np.array(pairs, dtype=np.int64).reshape(-1, 2))


def duplicate_notes(data: LabelledImages, near: Integer[np.ndarray, " N"]) -> list[str]:
    """Sentences about nearly identical images, and about those with different labels."""
    order = np.argsort(near, kind="stable")
    starts = np.flatnonzero(np.diff(near[order], prepend=-1))
    families = [family for family in np.split(order, starts[1:]) if len(family) > 1]
    if not families:
        return []
    extra = sum(len(family) - 1 for family in families)
    one, other = (data.images.names[number] for number in families[0][:2])
    notes = [
        f"{extra} of {len(near)} {data.things} nearly repeat another one (such as {other} and {one});"
        " they stay on one side of every split."
    ]
    mixed = [family for family in families if len(set(data.labels[family].tolist())) > 1]
    if mixed:
        family = mixed[0]
        other = next(number for number in family if data.labels[number] != data.labels[family[0]])
        pair = [f"{data.images.names[n]} ({data.classes[data.labels[n]]})" for n in (family[0], other)]
        notes.append(
            f"{len(mixed)} groups of nearly identical {data.things} carry different labels, such as"
            f" {' and '.join(pair)}."
        )
    return notes


def without_straddling(data: LabelledImages) -> LabelledImages:
    """Leave out training images whose group reaches into validation or test, and validation ones reaching into test."""
    if len(set(data.split.tolist())) < 2:
        return data
    rank = np.array([_RANK[name] for name in data.split])
    highest = np.zeros(data.groups.max() + 1, np.int64)
    np.maximum.at(highest, data.groups, rank)
    kept = rank == highest[data.groups]
    if kept.all():
        return data
    notes = []
    for name in ("train", "val", ""):
        left = ~kept & (data.split == name)
        if left.any():
            example = data.images.names[int(np.flatnonzero(left)[0])]
            notes.append(
                f"{left.sum()} {name or 'other'} {data.things} (such as {example}) are nearly identical to, or of one"
                f" group with, {data.things} of the test or validation split and are left out."
            )
    return replace(data.select(np.flatnonzero(kept)), notes=data.notes + notes)


def _fair_share(data: LabelledImages, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Fill the test set with whole groups in the order of their content, until each class has its share."""
    classes = len(data.classes)
    members: dict[int, list[int]] = {}
    for number, group in enumerate(data.groups.tolist()):
        members.setdefault(group, []).append(number)
    order = sorted(members.values(), key=lambda group: min(data.images.hashes[number] for number in group))
    counts = {id(group): np.bincount(data.labels[group], minlength=classes) for group in order}
    total = np.bincount(data.labels, minlength=classes)
    wanted = np.round(total * share).astype(np.int64)
    in_groups = sum((counts[id(group)] > 0).astype(np.int64) for group in order)
    wanted = np.where((in_groups > 1) & (total > 1), np.maximum(wanted, 1), 0)
    taken = np.zeros(classes, np.int64)
    test: list[int] = []
    for group in order:
        count = counts[id(group)]
        if (taken + count <= wanted).all():
            test += group
            taken += count
    for group in sorted(order, key=len):  # classes whose groups are all too large: the smallest that leaves some
        count = counts[id(group)]
        missing = (count > 0) & (taken == 0) & (wanted > 0)
        if missing.any() and (taken + count < total)[count > 0].all():
            test += group
            taken += count
    chosen = np.zeros(len(data.labels), bool)
    chosen[test] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
