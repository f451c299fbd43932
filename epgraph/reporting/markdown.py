"""A report as Markdown, for a pull request: tables, and figures as files beside it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from epgraph.errors import visible
from epgraph.reporting.blocks import Block, Details, Document, Gallery, Heading, Picture, Table, Text

_MARKS = re.compile(r"[\\`*_\[\]|~]")
_MENTIONS = str.maketrans({mark: f"&#{ord(mark)};" for mark in "@#$"})
"""What GitHub makes a person, another thread or a formula of."""


def markdown(document: Document, folder: str | None) -> str:
    """Write a report; ``folder`` is the relative path of its figures, None where they are left out."""
    parts = [f"# {escaped(document.title)}", *map(escaped, document.lead)]
    for section in document.sections:
        parts += [f"## {escaped(section.title)}", *_blocks(section.blocks, folder)]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return a text that Markdown and HTML take for nothing else."""
    text = html.escape(_MARKS.sub(lambda mark: f"\\{mark[0]}", visible(text)), quote=False)
    # After the escapes of HTML, which have a "#" of their own only where quotes are escaped.
    return text.translate(_MENTIONS)


def _blocks(blocks: Sequence[Block], folder: str | None) -> Iterator[str]:
    for block in blocks:
        match block:
            case Text():
                yield f"*{escaped(block.text)}*" if block.missing else escaped(block.text)
            case Heading():
                yield f"### {escaped(block.text)}"
            case Table():
                yield from _table(block)
            case Picture() | Gallery():
                yield from _picture(block.sheet if isinstance(block, Gallery) else block, folder)
            case Details():
                yield f"<details><summary>{html.escape(visible(block.summary))}</summary>"
                yield from _blocks(block.blocks, folder)
                yield "</details>"


def _table(table: Table) -> Iterator[str]:
    head, *rows = ([escaped(cell) or " " for cell in row] for row in (table.head, *table.rows))
    rule = [" --- ", *(" ---: " if table.numbers else " --- " for _ in head[1:])]
    yield f"**{escaped(table.caption)}**"
    yield "\n".join([_row(head), f"|{'|'.join(rule)}|", *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _picture(picture: Picture, folder: str | None) -> Iterator[str]:
    if folder is not None:
        yield f"![{escaped(picture.description)}]({quote(folder)}/{quote(picture.name)}.png)"
        yield escaped(picture.caption)
