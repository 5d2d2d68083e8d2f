"""What a section of a report is made of. The template draws each kind of block in one place."""

from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup

from selfsup.report.pictures import Picture

NOTHING = Markup("")


@dataclass(frozen=True)
class Cell:
    """A cell of a table; `shade` in [0, 1] tints it, `note` stands small beneath."""

    content: str | Markup
    note: str = ""
    shade: float | None = None
    best: bool = False
    numeric: bool = True
    key: Markup = NOTHING


@dataclass(frozen=True)
class Table:
    """A table that scrolls inside its own box; its first column names the row."""

    kind: ClassVar[str] = "table"
    caption: str
    header: list[str | Markup]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Chart:
    """One chart drawn twice: for wide pages, and for a phone. Without `narrow` one drawing does for both."""

    kind: ClassVar[str] = "chart"
    wide: Markup
    narrow: Markup = NOTHING
    caption: str = ""


@dataclass(frozen=True)
class Grid:
    """Small charts side by side, each under its title."""

    kind: ClassVar[str] = "grid"
    heading: str
    key: Markup
    charts: list[tuple[str, Markup]]


@dataclass(frozen=True)
class Gallery:
    """Pictures under a heading, with sentences about them."""

    kind: ClassVar[str] = "gallery"
    heading: str
    key: Markup
    sentences: list[str]
    pictures: list[Picture]


@dataclass(frozen=True)
class Code:
    """A command or a file, shown exactly."""

    kind: ClassVar[str] = "code"
    label: str
    text: str


@dataclass(frozen=True)
class Listing:
    """A list of sentences; `level` is plain, ok or warning."""

    kind: ClassVar[str] = "listing"
    items: list[str]
    level: str = "plain"
    heading: str = ""


@dataclass(frozen=True)
class Fold:
    """Blocks behind a summary line that opens without JavaScript."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: list["Block"]


Block = Table | Chart | Grid | Gallery | Code | Listing | Fold


@dataclass(frozen=True)
class Section:
    """A part of the page: sentences first, blocks after."""

    anchor: str
    title: str
    sentences: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Headline:
    """The top of the page: what is known, what to do next, and the command that does it.

    `tone` names the colour of the badge: good, mixed, bad or quiet.
    """

    badge: str
    tone: str
    sentences: list[str]
    next_step: str = ""
    command: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    subject: str
    headline: Headline
    sections: list[Section]
