"""Tell classes and splits from the places of files."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from selfsup.errors import InputError

_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation"), "test"),
}
_UNLABELLED = frozenset("unlabelled unlabeled unlabelled_images unlabeled_images unsup unsupervised nolabel".split())


class Place(NamedTuple):
    """What the place of a file says about it."""

    label: str | None
    split: str = ""


def split_of(name: str) -> str:
    """The split a folder (or a word in a table) stands for: train, val, test, or "" for none."""
    return _SPLITS.get(name.strip().lower(), "")


def from_folders(names: Sequence[str], source: str) -> list[Place]:
    """Give class and split of each relative path.

    Classes are the folders at the top; below train, val and test folders if those are at the top; above them if they
    are inside each class. A single outer folder is looked through.

    Raises:
        InputError: if there are no class folders, with what would do.
    """
    parts = [tuple(name.split("/")) for name in names]
    while len({part[0] for part in parts}) == 1 and all(len(part) > 2 for part in parts):
        parts = [part[1:] for part in parts]
    tops = Counter(part[0] for part in parts if len(part) > 1 and part[0].lower() not in _UNLABELLED)
    places = _places(parts, list(tops))
    if not any(place.label for place in places):
        raise InputError(
            f"{source} has no class folders; put the images of each class into a folder, say where file names hold the"
            r" class with a pattern such as --pattern '([a-z]+)\.' or give a CSV of path,label."
        )
    return places


def from_pattern(names: Sequence[str], pattern: str, source: str) -> list[Place]:
    r"""Give the class of each relative path: what the first group of `pattern` matches in the file name.

    A pattern with a slash is searched in the whole relative path. Folders named train, val or test are splits.

    Raises:
        InputError: if the pattern is no regular expression with a group, or matches nothing.
    """
    expression = compiled(pattern, "pattern")
    if expression.groups < 1:
        raise InputError(f"The pattern {pattern} has no group; put what names the class in brackets: ([a-z]+).")
    places = []
    for name in names:
        found = expression.search(name if "/" in pattern else name.rpartition("/")[2])
        split = split_of(name.split("/")[0]) if "/" in name else ""
        places.append(Place((found.group(1) or None) if found else None, split))
    if not any(place.label for place in places):
        examples = ", ".join(name.rpartition("/")[2] for name in names[:3])
        raise InputError(
            f"The pattern {pattern} matches none of the {len(names)} file names of {source} ({examples}, ...)."
        )
    return places


def from_group_pattern(names: Sequence[str], pattern: str) -> list[str]:
    """Give the group of each relative path: the first group of `pattern`, or all it matches; "" for no match.

    Raises:
        InputError: if the pattern is no regular expression, or matches nothing.
    """
    expression = compiled(pattern, "group pattern")
    found = [group_in(name, expression) for name in names]
    if not any(found):
        raise InputError(f"The group pattern {pattern} matches none of the paths ({', '.join(names[:3])}, ...).")
    return found


def group_in(name: str, expression: re.Pattern[str]) -> str:
    """Give the group of a relative path: the first group of `expression`, or all it matches; "" for no match."""
    match = expression.search(name)
    return "" if match is None else match.group(1 if expression.groups else 0) or ""


def compiled(pattern: str, what: str) -> re.Pattern[str]:
    """Compile a regular expression or raise an InputError."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(f"The {what} {pattern} is no regular expression ({error}).") from None


def _places(parts: Sequence[tuple[str, ...]], tops: Sequence[str]) -> list[Place]:
    if len({split_of(top) for top in tops} - {""}) > 1 or all(split_of(top) for top in tops):
        return [_below_split(part) for part in parts]
    deep = [part for part in parts if part[0] in tops]
    if all(len(part) > 2 and split_of(part[1]) for part in deep):
        return [Place(part[0], split_of(part[1])) if part[0] in tops else Place(None) for part in parts]
    return [Place(part[0]) if len(part) > 1 and part[0] in tops else Place(None) for part in parts]


def _below_split(part: tuple[str, ...]) -> Place:
    split = split_of(part[0])
    labelled = len(part) > 2 and split and part[1].lower() not in _UNLABELLED
    return Place(part[1] if labelled else None, split)
