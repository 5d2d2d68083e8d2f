"""The images of an advice: what is pretrained on, what is learned from with labels, and what is only asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfsup.advice.plan import fingerprint
from selfsup.advice.trial import Exam
from selfsup.errors import InputError
from selfsup.progress import Progress, silent
from selfsup.values import is_drawn

if TYPE_CHECKING:
    from selfsup.data.images import ImageStore
    from selfsup.data.labels import LabelledImages

LEAST_IMAGES = 16
LEAST_TEST_IMAGES = 8


@dataclass(frozen=True)
class Material:
    """Opened images and labels."""

    images: "ImageStore"
    """To pretrain on: without test images and their near-duplicates, unless that was asked for."""
    labelled: "ImageStore | None"
    exam: Exam | None
    image_size: int
    source: str
    labels_source: str | None
    notes: list[str] = field(default_factory=list)
    frames: "ImageStore | None" = None
    """Of the labelled clips, where clips have the labels; `labelled` holds one frame of each then."""
    group: str | None = None
    """Regular expression that finds in a path what of `images` belongs together; None where it finds nothing."""
    opened: "ImageStore | None" = None
    """`images` before those of the test set were taken out; None where they were not."""

    def content(self) -> dict[str, Any]:
        """Give the fields of a plan by which changed images are noticed."""
        exam = self.exam
        parts = None if exam is None or self.labelled is None else fingerprint(
            self.labelled.hashes, ",".join(map(str, exam.labels)), ",".join(map(str, exam.test)), exam.names
        )  # fmt: skip
        return {"images": fingerprint(self.images.hashes), "labelled": parts, "image_size": self.image_size}

    def described(self) -> dict[str, Any]:
        """Give the fields of a plan that say which images it is for."""
        side = int(self.images.rows(np.arange(1)).shape[-1])
        exam = self.exam
        seen = self.labelled if self.frames is None else self.frames
        stored = len(self.images) + (0 if seen is None else len(seen))
        return {
            **self.content(), "data": self.source, "labels": self.labels_source, "count": len(self.images),
            "pool": 0 if exam is None else len(exam.pool), "test": 0 if exam is None else len(exam.test),
            "store_size": side,
            "store_mb": stored * 3 * side**2 / 1e6,
        }  # fmt: skip


def open_material(
    data: Any,
    labels: Any,
    *,
    image_size: int | None,
    store_size: int | None,
    label_budgets: Sequence[int | None],
    draws: int,
    transductive: bool = False,
    pattern: str | None = None,
    group: str | None = None,
    frame_rate: float | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Material:
    """Open images and labels, split off the test images and take them out of pretraining.

    Raises:
        InputError: if too little is left of either.
    """
    from selfsup.data.doctor import worth_saying
    from selfsup.data.frames import assumed_rate
    from selfsup.data.grouping import grouped, has_groups
    from selfsup.data.images import open_images
    from selfsup.data.labels import open_labelled, test_split
    from selfsup.data.sizes import natural_size

    size = image_size or natural_size(data)
    images = open_images(
        data, size, store_size=store_size, cache=cache, progress=progress, wanted="either", frame_rate=frame_rate
    )
    finds = group is not None and has_groups(images, group)
    if group is not None and (finds or labels is None):
        images = grouped(images, group)
    notes = [*images.notes, *assumed_rate(images, frame_rate), *worth_saying(images)]
    if group is not None and not finds:
        notes.append(
            f"The group pattern {group} finds nothing in the paths of the {images.things} to pretrain on, so it groups"
            " only what has labels."
        )
    if images.skipped:
        notes.append("skipped.csv of each run names every file that could not be used, with the reason.")
    if labels is None:
        return Material(images, None, None, size, shown(data), None, notes, group=group)
    side = int(images.rows(np.arange(1)).shape[-1])
    labelled = open_labelled(
        labels, size, store_size=side, pattern=pattern, group=group, cache=cache, progress=progress,
        wanted="images" if images.clips is None else "either",
    )  # fmt: skip
    notes += [note for note in labelled.notes if note not in notes]
    pool, test = test_split(labelled)
    exam = make_exam(labelled, pool, test, label_budgets, draws)
    if transductive:
        notes.append(f"Transductive: the test {labelled.things} stay among the {images.things} to pretrain on.")
        opened = None
    else:
        opened = images
        kept, said = without_test(images, labelled.select(test).seen, group, frame_rate)
        notes += said
        images = images.select(kept)
    if labelled.frames is not None:
        notes.append(
            "What is judged is clips: features are means over the frames of a clip, and every number of labels or of"
            " test images counts clips."
        )
    return Material(
        images, labelled.images, exam, size, shown(data), shown(labels), notes, labelled.frames,
        _finding(images, group), opened,
    )  # fmt: skip


def _finding(images: "ImageStore", group: str | None) -> str | None:
    """Give a group pattern where it finds something in the paths of images."""
    from selfsup.data.grouping import has_groups

    return group if group is not None and has_groups(images, group) else None


def make_exam(
    labelled: "LabelledImages",
    pool: NDArray[np.int64],
    test: NDArray[np.int64],
    label_budgets: Sequence[int | None],
    draws: int,
) -> Exam:
    """Draw the labelled images of every budget inside the pool.

    Raises:
        InputError: if there is too little to learn from or to test on.
    """
    from selfsup.evaluation.budgets import label_draws

    labels, things = np.asarray(labelled.labels, dtype=np.int64), labelled.things
    classes = len(labelled.classes)
    if len(test) < LEAST_TEST_IMAGES or len(np.unique(labels[pool])) < 2 or len(np.unique(labels[test])) < 2:
        raise InputError(
            f"There are too few labelled {things}: {len(pool)} to learn from and {len(test)} to test on, in {classes} "
            f"classes; give {LEAST_TEST_IMAGES} test {things} and 2 classes at least, or leave --labels out."
        )
    missing = sorted(set(np.unique(labels[test])) - set(np.unique(labels[pool])))
    if missing:
        names = ", ".join(repr(labelled.classes[label]) for label in missing[:5])
        raise InputError(f"There are test {things} but none to learn from of the class {names}; label more of it.")
    found = label_draws(labels[pool], label_budgets, draws, 0)
    if not found:
        wanted = ", ".join(str(budget) for budget in label_budgets)
        raise InputError(f"No class budget of {wanted} can be filled from {len(pool)} labelled {things}; add all.")
    return Exam(
        labels, classes, np.asarray(pool), np.asarray(test), _distinct(found, len(pool)),
        None if labelled.groups is None else np.asarray(labelled.groups, dtype=np.int64), tuple(labelled.classes),
        pictures=len(labelled.seen) / len(labelled),
    )  # fmt: skip


def _distinct(
    draws: dict[tuple[int | None, int], NDArray[np.int64]], pool: int
) -> dict[tuple[int | None, int], NDArray[np.int64]]:
    """Leave out what repeats: a budget that takes the whole pool has one draw, and is not also called all."""
    whole = {key for key, positions in draws.items() if len(positions) == pool}
    numbered = any(key[0] is not None for key in whole)
    return {
        key: positions
        for key, positions in draws.items()
        if key not in whole or (key[1] == 0 and (key[0] is not None or not numbered))
    }


def without_test(
    images: "ImageStore", test: "ImageStore", group: str | None = None, frame_rate: float | None = None
) -> tuple[NDArray[np.int64], list[str]]:
    """Give the positions of the images that have nothing to do with the test images, and say what left.

    Test images leave, their near-duplicates, and members of their groups; of frames, all of the same video, and of
    videos that share a part with a test clip.

    Args:
        images: to pretrain on.
        test: what encoders will be asked, of clips all frames.
        group: regular expression that finds the group in a file name.
        frame_rate: that was asked for of `images`.

    Raises:
        InputError: if fewer than 16 are left.
    """
    from selfsup.data.doctor import overlap

    hashes = set(test.hashes)
    same = np.array([content in hashes for content in images.hashes], dtype=bool)
    if images.clips is not None:
        return _clips_without_test(images, test, same, group, frame_rate)
    near = np.zeros(len(images), dtype=bool)
    near[overlap(images, test)] = True
    grouped = _of_test_groups(images.names, test.names, group)
    kept = np.flatnonzero(~(same | near | grouped))
    notes: list[str] = []
    if len(kept) < len(images):
        relatives = f" and {int((grouped & ~near & ~same).sum()):,} members of their groups" if grouped.any() else ""
        notes.append(
            f"{int(same.sum()):,} test images, {int((near & ~same).sum()):,} near-duplicates of test images{relatives} "
            f"were taken out of pretraining; {len(kept):,} images are left."
        )
    _refuse_few(kept, images.things)
    return kept, notes


def _clips_without_test(
    images: "ImageStore",
    test: "ImageStore",
    same: NDArray[np.bool_],
    group: str | None,
    frame_rate: float | None,
) -> tuple[NDArray[np.int64], list[str]]:
    """Take out every video that has anything to do with the test clips: frames of one clip are all alike."""
    from selfsup.data.by_clip import FEW, sources_apart
    from selfsup.data.doctor import overlap
    from selfsup.data.grouping import searched

    clips = images.clips
    assert clips is not None
    grouped = _of_test_groups(searched(images), searched(test), group)[clips.clip]
    gone = same | grouped
    if test.clips is None:
        gone[overlap(images, test)] = True
    decoded = not images.in_files  # of frames in folders all are there, whatever the rate
    kept = sources_apart(images, test, np.flatnonzero(gone), frame_rate if decoded else None)
    left = clips.count - len(np.unique(clips.clip[kept]))
    notes = []
    if left:
        notes.append(
            f"{left:,} of {clips.count:,} clips were taken out of pretraining, because their videos are test clips,"
            f" repeat them or a part of them or are of their groups; {len(kept):,} frames are left."
        )
    if decoded and test.clips is not None and frame_rate is not None and frame_rate < FEW:
        notes.append(
            f"At {frame_rate:g} frames a second parts of test clips may not be found in longer videos; a --frame-rate"
            f" of {FEW:g} or more finds more of them, and a --group that names the film takes out all."
        )
    _refuse_few(kept, images.things)
    return kept, notes


def _refuse_few(kept: NDArray[np.int64], things: str) -> None:
    if len(kept) < LEAST_IMAGES:
        raise InputError(
            f"Only {len(kept)} {things} are left to pretrain on when those of the test set are taken out, and "
            f"{LEAST_IMAGES} are needed; give more without labels, or allow those of the test set with --transductive."
        )


def _of_test_groups(names: Sequence[str], test: Sequence[str], group: str | None) -> NDArray[np.bool_]:
    """Say which images are of a group that the test images hold too."""
    if group is None:
        return np.zeros(len(names), dtype=bool)
    from selfsup.data.layouts import compiled, group_in

    expression = compiled(group, "group pattern")  # one that finds nothing here is no error: it did among the labels
    asked = {group_in(name, expression) for name in test} - {""}
    return np.array([group_in(name, expression) in asked for name in names], dtype=bool)


def shown(source: Any) -> str:
    """Name a source so that a command can use it again."""
    if isinstance(source, Path):
        return str(source.expanduser().resolve())
    if isinstance(source, str):
        return source if is_drawn(source) else str(Path(source).expanduser().resolve())
    return f"<{type(source).__name__}>"
