"""Read a page as a browser would, with the standard library: elements, attributes, text, and whether tags match."""

from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Element(NamedTuple):
    """A start tag with its attributes."""

    tag: str
    attributes: dict[str, str]


class Page(HTMLParser):
    """What a page holds; `unmatched` lists tags that close nothing or stay open."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[Element] = []
        self.words: list[str] = []
        self.unmatched: list[str] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        self.unmatched += self._open

    @property
    def text(self) -> str:
        """Give the visible text, styles left out, white space as one blank."""
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[Element]:
        """Find the elements of a tag."""
        return [element for element in self.elements if element.tag == tag]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.unmatched.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)
