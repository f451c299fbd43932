"""The text of a file by its lines, and the excerpt that shows where in it something stands."""

from __future__ import annotations

import re
import unicodedata

Mark = tuple[int, int]
"""Line and column, both 1-based; columns count characters."""

WIDTH = 100
"""Columns of source that an excerpt shows; a longer line is cut around what it points at."""

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_TAB = 4


class Source:
    """A text whose lines are numbered as libyaml numbers them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._reached = (1, 0)

    def line(self, number: int) -> str:
        """Return a line without its break; empty beyond the end."""
        # Diagnostics come in the order of the file, so that one walk serves all of them and no index is kept.
        at, offset = self._reached if self._reached[0] <= number else (1, 0)
        while at < number:
            found = _BREAK.search(self.text, offset)
            if found is None:
                return ""
            at, offset = at + 1, found.end()
        self._reached = (at, offset)
        found = _BREAK.search(self.text, offset)
        return self.text[offset : found.start() if found else len(self.text)]

    def mark(self, offset: int) -> Mark:
        """Return the line and column of the character at an offset."""
        line, begin = 1, 0
        for found in _BREAK.finditer(self.text, 0, offset):
            line, begin = line + 1, found.end()
        return line, offset - begin + 1

    def excerpt(self, start: Mark, end: Mark | None = None, width: int = WIDTH) -> tuple[str, str]:
        """Return a line of the text, and a line of carets under what begins at ``start`` and ends before ``end``.

        A text that goes on in the next line is underlined to the end of its first. Tabs become spaces, characters that
        do not print become ``�``, and wide ones are underlined in both of their columns.
        """
        line = self.line(start[0])
        first = min(start[1] - 1, len(line))
        last = len(line.rstrip()) if end is None or end[0] > start[0] else min(end[1] - 1, len(line))
        if end is None:
            last = first + 1
        last = max(last, first + 1)
        # Cut before widths are looked up: a line may have megabytes.
        least = max(0, first - width // 3) if len(line) > width else 0
        if first < width // 2 and last <= width:
            least = 0
        most = min(len(line), least + width)
        shown, carets = ("…", " ") if least else ("", "")
        for index in range(least, most):
            text, columns = _shown(line[index])
            if len(shown) + len(text) > width + 1 and index > first:
                most = index
                break
            shown += text
            carets += ("^" if first <= index < last else " ") * columns
        if first >= most:
            carets += "^"
        if most < len(line):
            shown += "…"
        return shown.rstrip(), carets.rstrip()


def _shown(character: str) -> tuple[str, int]:
    """A character as it is shown, and the columns that it takes."""
    if character == "\t":
        return " " * _TAB, _TAB
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return character, 0
    if not (character.isprintable() or character == "\u00a0"):
        return "�", 1
    return character, 2 if unicodedata.east_asian_width(character) in "WF" else 1
