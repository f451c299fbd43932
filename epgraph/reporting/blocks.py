"""What a report is made of, whatever the format that it is written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Text:
    """A paragraph; ``missing`` says why something is not there."""

    text: str
    missing: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names it.

    Attributes
    ----------
    head, rows
        Texts of the cells; every row is as long as the head.
    numbers
        Whether all columns but the first are numbers, which are aligned at their ends.
    shades
        For each row and cell a level from 0 (none) to 10 of the background, as of a confusion matrix; empty for none.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: bool = False
    shades: Sequence[Sequence[int]] = ()

    @classmethod
    def of_pairs(cls, caption: str, pairs: dict[str, str], head: tuple[str, str] = ("key", "value")) -> Table:
        """Return a table of names and values."""
        return cls(caption, head, list(pairs.items()))


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes
    ----------
    name
        Name of its files, without a suffix; unique within a report.
    caption
        What is under the figure.
    description
        What the figure shows, for those who do not see it.
    inline
        SVG that takes its colors from the page.
    files
        Content by suffix, for papers: ``svg`` and ``png``.
    """

    name: str
    caption: str
    description: str
    inline: str
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """A small image of a gallery, as PNG, and what stands under it."""

    png: bytes
    label: str


@dataclass(frozen=True)
class Gallery:
    """Small images; ``sheet`` is one figure of all of them, for formats that have no images within."""

    caption: str
    images: Sequence[Image]
    sheet: Picture


@dataclass(frozen=True)
class Details:
    """What is shown when it is asked for."""

    summary: str
    blocks: Sequence[Block]


Block = Text | Heading | Table | Picture | Gallery | Details


@dataclass(frozen=True)
class Section:
    """A section of a report."""

    title: str
    anchor: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes
    ----------
    title, lead
        The title, and sentences under it.
    """

    title: str
    lead: Sequence[str]
    sections: Sequence[Section]


Format = Literal["html", "md"]


def walk(blocks: Sequence[Block]) -> list[Block]:
    """Return blocks, and those within them, in their order."""
    return [one for block in blocks for one in (block, *(walk(block.blocks) if isinstance(block, Details) else ()))]


def pictures(document: Document) -> list[Picture]:
    """Return every figure of a report, the sheets of galleries among them."""
    found = (block for section in document.sections for block in walk(section.blocks))
    return [b.sheet if isinstance(b, Gallery) else b for b in found if isinstance(b, Gallery | Picture)]
