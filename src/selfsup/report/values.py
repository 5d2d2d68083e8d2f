"""Take what JSON holds for what it should be, or for nothing: files on disk may be old, cut or edited."""

import math
from typing import Any, NamedTuple

Json = dict[str, Any]


class Estimate(NamedTuple):
    """A mean and its interval, as shares in [0, 1]; without an interval both ends are None."""

    mean: float
    low: float | None = None
    high: float | None = None


def number(value: object) -> float | None:
    """Read a finite number; None, NaN, infinity, booleans and text are None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def estimate(row: object) -> Estimate | None:
    """Read a row with mean, low and high; None without a mean."""
    if not isinstance(row, dict):
        return None
    mean = number(row.get("mean"))
    return None if mean is None else Estimate(mean, number(row.get("low")), number(row.get("high")))


def rows(content: object) -> list[Json]:
    """Keep the mappings of a list; anything else is an empty list."""
    return [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []


def sentences(content: object) -> list[str]:
    """Read a list of sentences that may be one sentence, a list, or rows with a text."""
    if isinstance(content, str):
        return [content]
    if isinstance(content, dict):
        return [str(content["text"])] if "text" in content else []
    return [text for row in content for text in sentences(row)] if isinstance(content, list) else []


def mapping(content: object) -> Json:
    """Keep a mapping; anything else is empty."""
    return content if isinstance(content, dict) else {}


def whole(value: object) -> int | None:
    """Read a whole number."""
    found = number(value)
    return None if found is None else int(found)


def names(content: object) -> list[str]:
    """Read a list of names, or of numbers as names."""
    return [str(name) for name in content] if isinstance(content, list) else []
