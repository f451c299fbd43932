"""The text of a file by lines, and excerpts that mark a position."""

from __future__ import annotations

import re
import unicodedata

Mark = tuple[int, int]
"""Line and column, both 1-based; columns count characters."""

WIDTH = 100
"""Columns of an excerpt; a longer line is cut around the marked text."""

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_TAB = 4


class Source:
    """A text whose lines are numbered as libyaml numbers them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._reached = (1, 0)

    def line(self, number: int) -> str:
        """Return a line without its break; empty beyond the end."""
        # Diagnostics come in the order of the file: one walk serves them all, without an index.
        at, offset = self._reached if self._reached[0] <= number else (1, 0)
        while at < number:
            line_break = _BREAK.search(self.text, offset)
            if line_break is None:
                return ""
            at, offset = at + 1, line_break.end()
        self._reached = (at, offset)
        line_break = _BREAK.search(self.text, offset)
        return self.text[offset : line_break.start() if line_break else len(self.text)]

    def mark(self, offset: int) -> Mark:
        """Return the line and column of the character at an offset."""
        line, begin = 1, 0
        for line_break in _BREAK.finditer(self.text, 0, offset):
            line, begin = line + 1, line_break.end()
        return line, offset - begin + 1

    def excerpt(self, start: Mark, end: Mark | None = None, width: int = WIDTH) -> tuple[str, str]:
        """Return a line of the text, and a line of carets under the characters from ``start`` to before ``end``.

        Of several lines the first is underlined. A tab becomes spaces, an unprintable character becomes ``�``, and a
        wide character is underlined in both of its columns.
        """
        line = self.line(start[0])
        first = min(start[1] - 1, len(line))
        last = len(line.rstrip()) if end is None or end[0] > start[0] else min(end[1] - 1, len(line))
        if end is None:
            last = first + 1
        last = max(last, first + 1)
        # Cut first, look up widths later: a line may have megabytes.
        least = max(0, first - width // 3) if len(line) > width else 0
        if first < width // 2 and last <= width:
            least = 0
        most = min(len(line), least + width)
        text_line, carets = ("…", " ") if least else ("", "")
        for index in range(least, most):
            text, columns = _shown(line[index])
            if len(text_line) + len(text) > width + 1 and index > first:
                most = index
                break
            text_line += text
            carets += ("^" if first <= index < last else " ") * columns
        if first >= most:
            carets += "^"
        if most < len(line):
            text_line += "…"
        return text_line.rstrip(), carets.rstrip()


def _shown(character: str) -> tuple[str, int]:
    """A character as an excerpt shows it, and its width in columns."""
    if character == "\t":
        return " " * _TAB, _TAB
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return character, 0
    if not (character.isprintable() or character == "\u00a0"):
        return "�", 1
    return character, 2 if unicodedata.east_asian_width(character) in "WF" else 1
