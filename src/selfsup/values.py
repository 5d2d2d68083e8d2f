"""Values as text, both ways: what stands on a command line or in a YAML file, and the value it means."""

import difflib
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

YES = ("yes", "true", "on", "1")
NO = ("no", "false", "off", "0")
NOTHING = ("none", "null", "all")
"""Words for None; `all` reads better where None means "no limit"."""
DRAWN = ("scenes", "plain-scenes", "moving-scenes")
"""Sources of images that are drawn, not found on disk: with a room around the things, without, and in motion."""
WORDS = {int: "a whole number", float: "a number", bool: "yes or no", str: "a text", Path: "a path", None: "none"}


def read(kind: Any, text: str) -> Any:
    """Read `text` as a value of a type: `int`, `float`, `bool`, `str`, `Path`, `Literal`, tuples, unions, None.

    Raises:
        ValueError: with what would do. 3.5 is no whole number: it is refused, never rounded.
    """
    if get_origin(kind) in (Union, types.UnionType):
        return _read_union(get_args(kind), text)
    if get_origin(kind) is tuple:
        return _read_tuple(get_args(kind), text)
    if get_origin(kind) is Literal:
        return _read_choice(get_args(kind), text)
    if kind in (None, types.NoneType) and text.lower() in NOTHING:
        return None
    if kind is bool and text.lower() in YES + NO:
        return text.lower() in YES
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    if kind is str or kind is Path:
        return kind(text)
    raise ValueError(f"{text!r} is not {words(kind)}.")


def write(value: Any) -> str:
    """Write a value so that `read` gives it back."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ",".join("all" if item is None else write(item) for item in value)
    return str(value)


def is_drawn(source: object) -> bool:
    """Whether a source of images is drawn scenes: one of DRAWN, with or without `:COUNT:SEED`."""
    return isinstance(source, str) and source.partition(":")[0] in DRAWN


def words(kind: Any) -> str:
    """Say in words what a type takes."""
    arguments = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(words(one) for one in arguments)
    if get_origin(kind) is tuple:
        many = "values separated by commas" if arguments[-1] is ... else f"{len(arguments)} values separated by commas"
        return f"{many}, each {words(arguments[0])}"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(write(choice) for choice in arguments)
    return WORDS[None if kind is types.NoneType else kind]


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of `names` was probably meant: `did you mean X?`, else the list of them."""
    names = list(names)
    near = close(name, names)
    return f"did you mean {near}?" if near else f"choose one of {', '.join(names)}."


def close(name: str, names: Iterable[str]) -> str | None:
    """Find the one of `names` that was probably meant, if any."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1)), None)


def _read_union(kinds: tuple[Any, ...], text: str) -> Any:
    # None before all others, or a text would swallow it; whole numbers before numbers, as they are written.
    for kind in sorted(kinds, key=lambda kind: (kind is not types.NoneType, kind is str)):
        try:
            return read(kind, text)
        except ValueError:
            continue
    raise ValueError(f"{text!r} is not {' or '.join(words(kind) for kind in kinds)}.")


def _read_tuple(kinds: tuple[Any, ...], text: str) -> tuple[Any, ...]:
    pieces = [piece.strip() for piece in text.split(",")] if text else []
    if kinds[-1] is ...:
        return tuple(read(kinds[0], piece) for piece in pieces)
    if len(pieces) != len(kinds):
        raise ValueError(f"{text!r} has {len(pieces)} values, not {len(kinds)}.")
    return tuple(read(kind, piece) for kind, piece in zip(kinds, pieces, strict=True))


def _read_choice(choices: tuple[Any, ...], text: str) -> Any:
    for choice in choices:
        if write(choice) == text:
            return choice
    raise ValueError(f"{text!r} is not known; {nearest(text, [write(choice) for choice in choices])}")
