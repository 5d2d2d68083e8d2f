"""Open images with labels, for evaluation only, and divide them fairly."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from selfsup.data.cache import cache_folder
from selfsup.data.duplicates import near_duplicates
from selfsup.data.images import check_count, check_sizes, open_listed, open_scenes
from selfsup.data.layouts import Place, from_folders, from_group_pattern, from_pattern, split_of
from selfsup.data.listing import check_folder, list_files, list_folder
from selfsup.data.progress import Progress, silent
from selfsup.data.splits import LabelledImages, duplicate_notes, merged, test_split, without_straddling
from selfsup.data.store import ImageStore
from selfsup.data.tables import read_table
from selfsup.errors import InputError
from selfsup.values import is_drawn

__all__ = ["LabelledImages", "open_labelled", "test_split"]

LEAST = 4
"""Labelled images without which nothing can be tried and tested."""


@dataclass
class _Found:
    """Images and what their places or a table say, before it is checked."""

    images: ImageStore
    places: list[Place]
    groups: list[str]
    notes: list[str]


def open_labelled(
    source: Any,
    image_size: int,
    *,
    store_size: int | None = None,
    pattern: str | None = None,
    group: str | None = None,
    cache: Path | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> LabelledImages:
    r"""Open images with a class each.

    Args:
        source: class folders; train, val and test folders of class folders; a CSV of path,label[,group][,split]; a
            folder whose file names hold the class; CIFAR-10's binary version; "scenes" or "plain-scenes"; a data
            set of (image, label); or a pair (array of images, labels).
        image_size: side in pixels of what an encoder will see.
        store_size: as in `open_images`.
        pattern: regular expression whose first group is the class in a file name: `([a-z]+)\.` for `cat.1.jpg`.
        group: regular expression for the part of the relative path that images of one patient or scene share.
        cache: folder for decoded images.
        workers: files decoded at once.
        progress: is told how far the work is.

    Raises:
        InputError: in one sentence, if there are no labels, or of one class only.
    """
    check_sizes(image_size, store_size)
    found = _find(source, image_size, store_size, pattern, cache, workers, progress)
    if group is not None:
        found.groups = from_group_pattern(found.images.names, group)
        left = found.groups.count("")
        if left:
            found.notes.append(f"The group pattern matches all but {left} images, which are groups of their own.")
    check_count(found.images, LEAST)
    return _checked(found, progress)


def open_labelled_signals(
    source: Any, length: int, *, channels: int | None = None, cache: Path | None = None, progress: Progress = silent
) -> LabelledImages:
    """Open signals with a class each.

    Args:
        source: a folder with `signals.npy` [N, C, L] and `labels.npy` [N], whole numbers or text, and, if there are
            any, `groups.npy` [N] (signals of one patient or machine never straddle a split) and `split.npy` [N]
            ("train", "val" or "test"); or a pair (array of signals, labels).
        length: samples that an encoder will see.
        channels: as in `open_signals`.
        cache: as in `open_signals`.
        progress: is told how far the work is.

    Raises:
        InputError: in one sentence, if there are no labels, not as many as signals, or of one class only.
    """
    from selfsup.data.arrays import load_npy
    from selfsup.data.signals import open_signals

    columns: dict[str, np.ndarray] = {}
    if isinstance(source, tuple | list) and len(source) == 2:
        source, columns["labels"] = source[0], np.asarray(source[1])
    elif isinstance(source, str | Path) and (Path(source).expanduser() / "labels.npy").is_file():
        folder = Path(source).expanduser()
        files = {name: folder / f"{name}.npy" for name in ("labels", "groups", "split")}
        columns = {name: load_npy(file, "[N]") for name, file in files.items() if file.is_file()}
    else:
        raise InputError(
            f"{source if isinstance(source, str | Path) else 'The array'} has no labels of signals; give a folder with"
            " signals.npy [N, C, L] and labels.npy [N], or a pair (signals, labels)."
        )
    signals = open_signals(source, length, channels=channels, cache=cache, progress=progress, least=LEAST)
    count = len(signals) + len(signals.skipped)
    for name, column in columns.items():
        if column.shape != (count,) or column.dtype.kind not in "uibU":
            raise InputError(
                f"There are {count} signals, but {name} is of shape {column.shape} and type {column.dtype}; give one"
                " whole number or text for each signal."
            )
    kept = np.arange(count) if signals.index is None else signals.index
    text = {name: [str(value) for value in column[kept].tolist()] for name, column in columns.items()}
    splits = text.get("split", [""] * len(kept))
    places = [Place(label, split_of(split)) for label, split in zip(text["labels"], splits, strict=True)]
    return _checked(_Found(signals, places, text.get("groups", [""] * len(kept)), []), progress)


def _find(
    source: Any,
    image_size: int,
    store_size: int | None,
    pattern: str | None,
    cache: Path | None,
    workers: int | None,
    progress: Progress,
) -> _Found:
    from selfsup.data.arrays import is_array, open_array
    from selfsup.data.cifar import cifar_files, open_cifar
    from selfsup.data.items import open_items

    if is_drawn(source):
        from selfsup.data.scenes import CLASSES

        images, labels = open_scenes(source, image_size, store_size, cache, workers, progress)
        return _Found(images, [Place(CLASSES[label]) for label in labels], [""] * len(images), [])
    if isinstance(source, tuple | list) and len(source) == 2 and is_array(source[0]):
        images = open_array(source[0], image_size, store_size, "the array", progress)
        labels = [str(label) for label in np.asarray(source[1]).tolist()]
        if len(labels) != len(images):
            raise InputError(f"There are {len(images)} images but {len(labels)} labels.")
        return _Found(images, [Place(label) for label in labels], [""] * len(labels), [])
    if is_array(source) or (isinstance(source, str | Path) and Path(source).suffix == ".npy"):
        raise InputError(
            "An array holds no labels; give a pair (images, labels), class folders or a CSV of path,label."
        )
    if not isinstance(source, str | Path):
        images, items = open_items(source, image_size, store_size, cache, progress)
        return _Found(images, [Place(label) for label in _item_labels(source, items)], [""] * len(images), [])
    path = Path(source).expanduser()
    if path.is_file():
        return _from_table(path, image_size, store_size, cache, workers, progress)
    check_folder(path)
    if cifar_files(path):
        images, numbers, classes, split = open_cifar(path, image_size, store_size, cache_folder(cache), progress)
        places = [Place(classes[number], part) for number, part in zip(numbers, split, strict=True)]
        return _Found(images, places, [""] * len(images), [])
    images = open_listed(path, list_folder(path), image_size, store_size, cache, workers, progress)
    if not len(images):
        check_count(images, LEAST)
    names = images.names
    places = from_pattern(names, pattern, str(source)) if pattern else from_folders(names, str(source))
    return _Found(images, places, [""] * len(names), [])


def _item_labels(source: Any, labels: Sequence[Any]) -> list[str | None]:
    names = getattr(source, "classes", None)
    classes: Sequence[Any] = names if isinstance(names, list | tuple) else []
    result: list[str | None] = []
    for label in labels:
        if hasattr(label, "item"):
            label = label.item() if getattr(label, "size", 1) in (1, ()) or getattr(label, "ndim", 1) == 0 else None
        if isinstance(label, int) and 0 <= label < len(classes):
            label = classes[label]
        result.append(None if label is None else str(label))
    return result


def _from_table(
    file: Path,
    image_size: int,
    store_size: int | None,
    cache: Path | None,
    workers: int | None,
    progress: Progress,
) -> _Found:
    rows, notes = read_table(file)
    listing = list_files(file.parent, [row.path for row in rows])
    missing = [item.name for item in listing.skipped]
    if rows and not listing.entries:
        raise InputError(
            f"None of the {len(rows)} files named in {file} exist; the first would be {file.parent / rows[0].path}."
            " Paths are relative to the CSV."
        )
    if missing:
        names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        notes.append(f"{len(missing)} of {len(rows)} files named in {file.name} do not exist: {names}.")
    images = open_listed(file.parent, listing, image_size, store_size, cache, workers, progress, str(file.resolve()))
    row_of = {str(file.parent / row.path): row for row in rows}
    chosen = [row_of[str(path)] for path in images.sources]
    return _Found(
        replace(images, source=str(file)),
        [Place(row.label, split_of(row.split)) for row in chosen],
        [row.group for row in chosen],
        notes,
    )


def _checked(found: _Found, progress: Progress) -> LabelledImages:
    """Leave out what has no label, number the classes, find duplicates and keep them on one side of every split."""
    images, notes = found.images, [*found.images.notes, *found.notes]
    labelled = [number for number, place in enumerate(found.places) if place.label is not None]
    if len(labelled) < len(images):
        left = sorted(set(range(len(images))) - set(labelled))
        example = images.names[left[0]]
        notes.append(f"{len(left)} images have no label (such as {example}) and are left out of the evaluation.")
    counts = Counter(found.places[number].label for number in labelled)
    classes = sorted((label for label in counts if label is not None), key=_natural)
    if len(classes) < 2:
        what = f"a single class, {classes[0]}" if classes else "no labels"
        raise InputError(f"{images.source} has {what}; at least two classes are needed to compare encoders.")
    notes += _class_notes(classes, counts)
    near = _groups_of(images, progress)
    number_of = {label: number for number, label in enumerate(classes)}
    chosen = np.array(labelled, dtype=np.int64)
    data = LabelledImages(
        images=images if len(chosen) == len(images) else images.select(chosen),
        labels=np.array([number_of[str(found.places[number].label)] for number in labelled], dtype=np.int64),
        classes=classes,
        split=np.array([found.places[number].split for number in labelled], dtype=object),
        groups=merged(near[chosen], [found.groups[number] for number in labelled]),
        notes=notes,
    )
    return without_straddling(replace(data, notes=notes + duplicate_notes(data, near[chosen])))


def _natural(text: str) -> tuple[Any, ...]:
    """Sort numbers by value and words by letters."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part)


def _class_notes(classes: Sequence[str], counts: Counter[str | None]) -> list[str]:
    notes = []
    single = [name for name in classes if counts[name] == 1]
    if single:
        names = ", ".join(single[:5]) + (", ..." if len(single) > 5 else "")
        notes.append(f"{len(single)} classes have a single image ({names}), which cannot be learned and tested.")
    spelled: dict[str, list[str]] = {}
    for name in classes:
        spelled.setdefault(name.strip().lower(), []).append(name)
    for alike in (names for names in spelled.values() if len(names) > 1):
        notes.append(f"The classes {' and '.join(repr(name) for name in alike)} differ in spelling only.")
    return notes


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
        partial = kept.with_name("duplicates.partial.npy")
        np.save(partial, groups, allow_pickle=False)
        partial.replace(kept)
    return groups
