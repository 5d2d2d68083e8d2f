"""Descriptions: what an encoder is, read from the JSON beside its weights or from what they carry along."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.errors import InputError
from selfsup.networks.names import OF_SIGNALS

SEEN = ("colour", "lightness", "edges", "halves")
"""What an encoder may see of an image; nothing written means colour."""


LABELS = ("none", "unknown", "used")
"""Whether labels came into an encoder's weights; nothing written means none. Of what others made nothing is known."""


def find_description(weights: Path, metadata: Mapping[str, str], *, beside_first: bool) -> dict[str, Any] | None:
    """Give the first text that says which encoder a file holds, checked; None if none does.

    Args:
        weights: the file; the JSON beside it has its name.
        metadata: of the file.
        beside_first: whether the JSON counts for more than the metadata.

    Raises:
        InputError: if the text holds what selfsup never writes, or the JSON may not be read.
    """
    beside = weights.with_suffix(".json")
    texts = [metadata.get("selfsup", ""), _text_of(beside)]
    for text in reversed(texts) if beside_first else texts:
        try:
            description = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(description, dict) and {"name", "image_size"} <= set(description):
            _check(description, weights)
            return description
    return None


def is_whole(value: object) -> bool:
    """Whether a value is a whole number from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); make it readable, or move it away.") from error


def _check(description: Mapping[str, Any], weights: Path) -> None:
    """Refuse values of the wrong kind; which arguments and changes of the stem there are, `fitting` knows."""
    stem = description.get("stem", {})
    fine = {
        "name": isinstance(description["name"], str),
        "image_size": is_whole(description["image_size"]),
        "arguments": isinstance(description.get("arguments", {}), dict),
        "stem": isinstance(stem, dict) and all(isinstance(change, dict) for change in stem.values()),
        "sees": description.get("sees", "colour") in SEEN,
        "labels": description.get("labels", "none") in LABELS,
        **{part: _is_per_channel(description, part) for part in ("mean", "std")},
    }
    wrong = [part for part, well in fine.items() if not well]
    if wrong:
        raise InputError(
            f"The description of the encoder in {weights} is not one that selfsup wrote (see its {', '.join(wrong)}); "
            "give files as they were written, or the weights alone as initial ones (--init)."
        )


def _is_per_channel(description: Mapping[str, Any], part: str) -> bool:
    """Whether there is a number for each channel: three of an image, one or more of a signal."""
    signals = description["name"] in OF_SIGNALS
    values, means = (description.get(name, [] if signals else [0, 0, 0]) for name in (part, "mean"))
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        return False
    return isinstance(means, list) and len(values) == len(means) > 0 if signals else len(values) == 3
