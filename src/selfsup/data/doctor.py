"""Look at images before training, and say what a person would want to know of them."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from selfsup.data.by_clip import similar_clips
from selfsup.data.duplicates import near_duplicates, overlap
from selfsup.data.listing import printable
from selfsup.data.splits import LabelledImages
from selfsup.data.store import ImageStore

__all__ = ["Finding", "diagnose", "diagnose_labels", "near_duplicates", "overlap", "worth_saying"]

_LOOKED_AT = 4096
"""Images, evenly spread, whose pixels are looked at."""
_CONSTANT = 4.0  # gray levels of standard deviation
_EXAMPLES = 5
_FAR = 30  # deviations


class Finding(NamedTuple):
    """Something about the images, in a sentence."""

    level: Literal["ok", "note", "warning"]
    topic: str
    """unreadable, number, sizes, duplicates, constant, gray, brightness, classes, split; range, of signals."""
    text: str
    examples: tuple[str, ...] = ()
    """Names of files it is about, a few."""


def diagnose(images: ImageStore, *, duplicates: bool = True) -> list[Finding]:
    """Give findings about a folder of images, the grave ones first.

    Args:
        images: the opened images.
        duplicates: whether to look for nearly identical images, which takes seconds for tens of thousands.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), _LOOKED_AT)).astype(np.int64))
    if images.holds_signals:
        return _signals(images, chosen)
    findings = [_skipped(images), _number(images), *_sizes(images), *_pixels(images, chosen)]
    if duplicates:
        findings.append(_duplicates(images))
    order = {"warning": 0, "note": 1, "ok": 2}
    return sorted(findings, key=lambda finding: order[finding.level])


def worth_saying(images: ImageStore, *, duplicates: bool = True) -> list[str]:
    """Give the findings that a person should know before training, as sentences; a healthy folder has none."""
    found = diagnose(images, duplicates=duplicates)
    return [finding.text + _for_example(finding) for finding in found if finding.level != "ok"]


def diagnose_labels(data: LabelledImages, pool: np.ndarray, test: np.ndarray) -> list[Finding]:
    """Give findings about classes and the division into pool and test images."""
    findings = []
    counts = np.bincount(data.labels, minlength=len(data.classes))
    small = [name for name, count in zip(data.classes, counts.tolist(), strict=True) if count < 10]
    if small:
        few = f"{len(small)} of {len(data.classes)} classes have fewer than 10 {data.things}"
        text = f"{few}; their results will be rough."
        findings.append(Finding("warning", "classes", text, tuple(small[:_EXAMPLES])))
    if counts.max() > 10 * max(1, counts.min()):
        most, least = data.classes[int(counts.argmax())], data.classes[int(counts.argmin())]
        text = (
            f"The classes are uneven ({most}: {counts.max()}, {least}: {counts.min()});"
            " look at balanced accuracy, which counts each class alike."
        )
        findings.append(Finding("note", "classes", text))
    for name, part in (("pool", pool), ("test set", test)):
        present = np.bincount(data.labels[part], minlength=len(data.classes)) > 0
        missing = [data.classes[number] for number in np.flatnonzero(~present)]
        if missing:
            text = f"The {name} holds no {data.things[:-1]} of {len(missing)} of {len(data.classes)} classes."
            findings.append(Finding("warning", "split", text, tuple(missing[:_EXAMPLES])))
    return findings


def _for_example(finding: Finding) -> str:
    if not finding.examples:
        return ""
    return f" For example: {', '.join(printable(name) for name in finding.examples[:3])}."


def _skipped(images: ImageStore) -> Finding:
    if not images.skipped:
        return Finding("ok", "unreadable", "Every image could be read.")
    total = len(images.skipped) + len(images)
    reasons = Counter(item.reason.split(":")[0] for item in images.skipped)
    most, count = reasons.most_common(1)[0]
    text = f"{len(images.skipped)} of {total} files cannot be used ({count} because {most})."
    level: Literal["note", "warning"] = "warning" if len(images.skipped) > total // 20 else "note"
    return Finding(level, "unreadable", text, tuple(item.name for item in images.skipped[:_EXAMPLES]))


def _number(images: ImageStore) -> Finding:
    count = len(images)
    if count < 1000:
        text = (
            f"{count} {images.things} are few: expect little from pretraining on them alone; start from given weights."
        )
        return Finding("warning", "number", text)
    return Finding("ok", "number", f"{count:,} {images.things}.")


def _sizes(images: ImageStore) -> list[Finding]:
    if images.sizes is None or not len(images):
        return []
    short, long = images.sizes.min(1), images.sizes.max(1)
    low, middle, high = (int(value) for value in (short.min(), np.median(short), short.max()))
    findings = [Finding("ok", "sizes", f"Short sides from {low} to {high} pixels, {middle} in the middle.")]
    small = short < images.size
    if small.mean() > 0.05:
        few = f"{small.sum()} {images.things} are smaller than {images.size} pixels"
        text = f"{few} and were enlarged; train at a smaller size."
        findings.append(Finding("note", "sizes", text, _names(images, small)))
    thin = long > 3 * short
    if thin.mean() > 0.05:
        text = f"{thin.sum()} {images.things} are more than 3 times longer than wide; only their centre square is seen."
        findings.append(Finding("warning", "sizes", text, _names(images, thin)))
    return findings


def _pixels(images: ImageStore, chosen: np.ndarray) -> list[Finding]:
    gray, spread, level = [], [], []
    for some in np.array_split(chosen, len(chosen) // 256 + 1):
        pixels = images.rows(some).astype(np.float32)
        colour = (pixels.max(1) - pixels.min(1)).max((1, 2))  # JPEG leaves gray images a level or two of colour
        gray.append(colour <= 8)
        spread.append(pixels.std((2, 3)).max(1))  # of each channel: one colour is flat too
        level.append(pixels.mean((1, 2, 3)))
    is_gray, deviation, brightness = np.concatenate(gray), np.concatenate(spread), np.concatenate(level)
    findings = []
    constant = deviation < _CONSTANT
    if constant.any():
        text = f"{constant.mean():.1%} of the {images.things} show nearly nothing: they are of one colour."
        grave: Literal["note", "warning"] = "warning" if constant.mean() > 0.02 else "note"
        findings.append(Finding(grave, "constant", text, tuple(images.names[n] for n in chosen[constant][:_EXAMPLES])))
    if is_gray.all():
        tasks = "tasks that need colour (colorization, colour jitter)"
        text = f"All {images.things} are gray: {tasks} have nothing to work with."
        findings.append(Finding("note", "gray", text))
    elif is_gray.mean() > 0.01:
        text = f"{is_gray.mean():.0%} of the {images.things} are gray, the others in colour: colour may give them away."
        findings.append(Finding("note", "gray", text, tuple(images.names[n] for n in chosen[is_gray][:_EXAMPLES])))
    if not 16 < np.median(brightness) < 239:
        what = "dark" if np.median(brightness) <= 16 else "bright"
        findings.append(
            Finding("note", "brightness", f"Most {images.things} are very {what}: check their range of values.")
        )
    return findings


def _signals(images: ImageStore, chosen: np.ndarray) -> list[Finding]:
    """Look at signals: enough of them, none flat, no value far from all others."""
    rows = images.rows(chosen).astype(np.float64)
    deviation = rows.std(2)  # [n, C]
    findings = []
    if images.skipped:
        findings.append(_skipped(images))
    if len(images) < 1000:
        text = f"{len(images)} signals are few: expect little from pretraining on them alone."
        findings.append(Finding("warning", "number", text))
    flat = deviation.max(1) == 0
    if flat.any():
        names = tuple(images.names[number] for number in chosen[flat][:_EXAMPLES])
        findings.append(Finding("note", "constant", f"{flat.mean():.1%} of the signals are constant.", names))
    far = np.abs(rows - rows.mean((0, 2), keepdims=True)).max((1, 2)) > _FAR * rows.std((0, 2)).max()
    if far.any():
        names = tuple(images.names[number] for number in chosen[far][:_EXAMPLES])
        text = f"{far.mean():.1%} of the signals reach more than {_FAR} deviations from the mean: look for artefacts."
        findings.append(Finding("note", "range", text, names))
    return findings


def _duplicates(images: ImageStore) -> Finding:
    clips = images.clips
    groups, titles, what = (
        (near_duplicates(images), images.names, "image")
        if clips is None
        else (similar_clips(images), clips.names, "clip")
    )
    extra = groups != np.arange(len(groups))
    if not extra.any():
        return Finding("ok", "duplicates", f"No {what} repeats another one.")
    first = np.flatnonzero(extra)[:_EXAMPLES].tolist()
    names = tuple(f"{titles[number]} = {titles[groups[number]]}" for number in first)
    grave: Literal["note", "warning"] = "warning" if extra.mean() > 0.05 else "note"
    return Finding(grave, "duplicates", f"{extra.sum()} {what}s nearly repeat another one ({extra.mean():.1%}).", names)


def _names(images: ImageStore, which: Sequence[bool] | np.ndarray) -> tuple[str, ...]:
    return tuple(images.names[number] for number in np.flatnonzero(which)[:_EXAMPLES])
