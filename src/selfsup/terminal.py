"""What is printed: text that is safe to show, and tables."""

import sys
from collections.abc import Iterable, Sequence
from io import TextIOBase
from typing import TextIO

Stream = TextIO | TextIOBase
"""What text is written to."""


def visible(text: object) -> str:
    """Escape what a terminal would obey instead of show: control characters, turned writing, broken Unicode.

    File names come from anywhere, and one of them may hold the code that clears a screen.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text))


def say(text: object = "", stream: Stream | None = None) -> None:
    """Print one line, escaped; characters that the terminal's encoding lacks are replaced, never fatal."""
    stream = sys.stdout if stream is None else stream
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(visible(text).encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()


def table(head: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> list[str]:
    """Set rows in columns, the first `left` ones flush left, numbers flush right; give the lines."""
    cells = [[visible(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
