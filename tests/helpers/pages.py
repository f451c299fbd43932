"""What stands in an HTML page: its tables, its elements with their attributes, and its text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = ("meta", "img", "br", "hr", "link", "input")


@dataclass
class Page(HTMLParser):
    """A page that has been read.

    Attributes
    ----------
    elements
        Names and attributes of all elements, in order.
    tables
        Rows of cells by the caption of the table; of equal captions all of them.
    headings
        Texts of h1, h2 and h3, each with its level.
    missing
        Sentences about what is not there.
    """

    text: str
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tables: dict[str, list[list[list[str]]]] = field(default_factory=dict)
    headings: list[tuple[int, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[tuple[str, dict[str, str]]] = []
        self._said = ""
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(self.text)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.elements.append((tag, found))
        if tag not in VOID:
            self._open.append((tag, found))
        if tag in ("th", "td", "caption", "h1", "h2", "h3", "p"):
            self._said = ""
        if tag == "tr":
            self._rows.append([])

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self._said += data

    def handle_endtag(self, tag: str) -> None:
        opened, attributes = self._open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"
        if tag in ("th", "td"):
            self._rows[-1].append(self._said)
        elif tag == "caption":
            self._caption = self._said
        elif tag == "table":
            self.tables.setdefault(self._caption, []).append(self._rows)
            self._rows = []
        elif tag in ("h1", "h2", "h3"):
            self.headings.append((int(tag[1]), self._said))
        elif tag == "p" and attributes.get("class") == "missing":
            self.missing.append(self._said)

    def table(self, caption: str) -> list[list[str]]:
        """The only table whose caption begins so, its head first."""
        (found,) = [rows for name, all_rows in self.tables.items() if name.startswith(caption) for rows in all_rows]
        return found

    @property
    def sections(self) -> list[str]:
        """Titles of the sections."""
        return [text for level, text in self.headings if level == 2]
