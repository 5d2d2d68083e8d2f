"""Open images with labels, for evaluation only, and divide them fairly."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from selfsup.data.by_clip import one_of_each
from selfsup.data.cache import cache_folder
from selfsup.data.checked_labels import Found, checked
from selfsup.data.clip_folders import Wanted
from selfsup.data.frames import series_of, surely_follow
from selfsup.data.grouping import searched
from selfsup.data.images import check_count, check_sizes, open_listed, open_scenes
from selfsup.data.layouts import Place, from_folders, from_group_pattern, from_pattern, split_of
from selfsup.data.listing import check_folder, list_files, list_folder, printable
from selfsup.data.progress import Progress, silent
from selfsup.data.splits import LabelledImages, test_split
from selfsup.data.store import ImageStore
from selfsup.data.tables import read_table
from selfsup.errors import InputError
from selfsup.values import is_drawn

__all__ = ["LabelledImages", "open_labelled", "test_split"]

LEAST = 4
"""Labelled images without which nothing can be tried and tested."""


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
    wanted: Wanted = "images",
) -> LabelledImages:
    r"""Open images with a class each, or clips: videos where there are no images, and "moving-scenes".

    Clips of one video, and those of one folder of frames, stay together.

    Args:
        source: class folders of images or of videos; train, val and test folders of class folders; a CSV of
            path,label[,group][,split], of files or of folders; a folder whose file names hold the class; CIFAR-10's
            binary version; "scenes", "plain-scenes" or "moving-scenes"; a data set of (image, label); or a pair (array
            of images, labels).
        image_size: side in pixels of what an encoder will see.
        store_size: as in `open_images`.
        pattern: regular expression whose first group is the class in a file name: `([a-z]+)\.` for `cat.1.jpg`.
        group: regular expression for the part of the relative path that images of one patient or scene share.
        cache: folder for decoded images.
        workers: files decoded at once.
        progress: is told how far the work is.
        wanted: as in `open_images`; `either` takes frames in folders for clips.

    Raises:
        InputError: in one sentence, if there are no labels, or of one class only.
    """
    check_sizes(image_size, store_size)
    words: dict[str, Any] = {"cache": cache, "workers": workers, "progress": progress}
    found = _find(source, image_size, store_size, pattern, {**words, "wanted": wanted})
    if wanted == "either" and not _is_table(source) and _one_series_a_class(found):
        found = _find(source, image_size, store_size, pattern, {**words, "wanted": "images"})
        found.notes.append("A class has a single series of frames, so images are judged one by one, not as clips.")
    if group is not None:
        found.groups = from_group_pattern(searched(found.images if found.frames is None else found.frames), group)
        left = found.groups.count("")
        if left:
            found.notes.append(
                f"The group pattern matches all but {left} {found.things}, which are groups of their own."
            )
    elif found.frames is None and _are_frames(source):
        found.notes.append(
            "These images are numbered as frames of clips and follow each other, and are judged one by one: neighbours"
            " may stand on both sides of the test split, unless --group says what belongs together."
        )
    check_count(found.images, LEAST, found.things)
    return checked(found, progress)


def _are_frames(source: Any) -> bool:
    """Say whether a folder's images are surely frames of clips."""
    if not isinstance(source, str | Path) or is_drawn(source) or not Path(source).expanduser().is_dir():
        return False
    root = Path(source).expanduser()
    images = list_folder(root).entries
    return surely_follow(root, series_of(images), len(images))


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
    return checked(Found(signals, places, text.get("groups", [""] * len(kept)), []), progress)


def _find(
    source: Any,
    image_size: int,
    store_size: int | None,
    pattern: str | None,
    words: dict[str, Any],
) -> Found:
    from selfsup.data.arrays import is_array, open_array
    from selfsup.data.cifar import cifar_files, open_cifar
    from selfsup.data.items import open_items

    cache, progress = words["cache"], words["progress"]
    if is_drawn(source):
        from selfsup.data.scenes import CLASSES, MOTIONS

        images, labels = open_scenes(source, image_size, store_size, cache, words["workers"], progress)
        if images.clips is not None:
            places = [Place(MOTIONS[label]) for label in labels[images.clips.starts[:-1]]]
            return Found(one_of_each(images), places, [""] * len(places), [], images)
        return Found(images, [Place(CLASSES[label]) for label in labels], [""] * len(images), [])
    if isinstance(source, tuple | list) and len(source) == 2 and is_array(source[0]):
        images = open_array(source[0], image_size, store_size, "the array", progress)
        labels = [str(label) for label in np.asarray(source[1]).tolist()]
        if len(labels) != len(images):
            raise InputError(f"There are {len(images)} images but {len(labels)} labels.")
        return Found(images, [Place(label) for label in labels], [""] * len(labels), [])
    if is_array(source) or (isinstance(source, str | Path) and Path(source).suffix == ".npy"):
        raise InputError(
            "An array holds no labels; give a pair (images, labels), class folders or a CSV of path,label."
        )
    if not isinstance(source, str | Path):
        images, items = open_items(source, image_size, store_size, cache, progress)
        return Found(images, [Place(label) for label in _item_labels(source, items)], [""] * len(images), [])
    path = Path(source).expanduser()
    if _is_table(source):
        return _from_table(path, image_size, store_size, words)
    check_folder(path)
    if cifar_files(path):
        images, numbers, classes, split = open_cifar(path, image_size, store_size, cache_folder(cache), progress)
        places = [Place(classes[number], part) for number, part in zip(numbers, split, strict=True)]
        return Found(images, places, [""] * len(images), [])
    images, frames = _each(open_listed(path, list_folder(path), image_size, store_size, **words))
    if not len(images):
        check_count(images, LEAST)
    names = images.names
    places = (
        from_pattern(names, pattern, str(source))
        if pattern
        else from_folders(searched(images if frames is None else frames), str(source))
    )
    return Found(images, places, [""] * len(names), [], frames)


def _one_series_a_class(found: Found) -> bool:
    """Say whether there is a class of frames in folders that has one clip, which cannot be learned and tested."""
    if found.frames is None or not found.frames.in_files:
        return False
    counts = Counter(place.label for place in found.places if place.label is not None)
    return min(counts.values(), default=2) == 1


def _each(opened: ImageStore) -> tuple[ImageStore, ImageStore | None]:
    """Give what has labels, images or a frame of each clip, and the frames of clips."""
    return (opened, None) if opened.clips is None else (one_of_each(opened), opened)


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


def _is_table(source: Any) -> bool:
    return isinstance(source, str | Path) and Path(source).expanduser().is_file()


def _from_table(
    file: Path,
    image_size: int,
    store_size: int | None,
    words: dict[str, Any],
) -> Found:
    rows, notes = read_table(file)
    folders = [row.path for row in rows if (file.parent / row.path).is_dir()]
    files = [row.path for row in rows if (file.parent / row.path).is_file()]
    if folders and files:
        raise InputError(
            f"{file} names folders ({folders[0]}) and files ({files[0]}); give a label to each folder, or to each file."
        )
    listing = list_files(file.parent, [row.path for row in rows])
    if rows and not (listing.entries or listing.videos):
        first = listing.skipped[0]
        raise InputError(
            f"None of the {len(rows)} files or folders named in {file} can be used; of {first.name}, {first.reason}."
            " Paths are relative to the CSV."
        )
    for reason, left in Counter(item.reason for item in listing.skipped).items():
        few = [item.name for item in listing.skipped if item.reason == reason][:5]
        named = ", ".join(few) + (", ..." if left > 5 else "")
        notes.append(f"{left} of {len(rows)} files named in {file.name} cannot be used, as {reason}: {named}.")
    # numbered images with a label each are no frames; folders with a label each hold one thing each, whoever asks
    words = {**words, "table": str(file.resolve()), "wanted": "either" if folders else "images"}
    images, frames = _each(open_listed(file.parent, listing, image_size, store_size, **words))
    row_of = {printable(row.path): row for row in rows}
    names = searched(images if frames is None else frames)
    chosen = [row_of[name.rpartition("/")[0] if folders else name] for name in names]
    return Found(
        replace(images, source=str(file)),
        [Place(row.label, split_of(row.split)) for row in chosen],
        [row.group or (row.path if folders else "") for row in chosen],
        notes,
        frames,
    )
