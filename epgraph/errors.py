"""The one error type that a user sees, and the diagnostics it carries."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Location = tuple[str | int, ...]
"""Where in the declaration something stands: the keys and list positions that lead to it."""


@dataclass(frozen=True)
class Diagnostic:
    """One thing that is wrong (or doubtful) in what the user wrote.

    Attributes
    ----------
    message
        What is wrong and what was expected, in one line.
    hint
        What to do about it; it works when followed. May be empty.
    at
        Path of keys to the offending value, e.g. ``("edges", 3, "conv", "kernel")``.
    on_key
        Whether the key itself is at fault (an unknown name) rather than its value.
    file, line, column
        Position in the source, 1-based; ``None`` where the network was built in Python.
    """

    message: str
    hint: str = ""
    at: Location = ()
    on_key: bool = False
    file: str | None = None
    line: int | None = None
    column: int | None = None
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        if not where and self.at:
            where = path_text(self.at)
        text = f"{where}: {self.message}" if where else self.message
        return f"{text}; {self.hint}" if self.hint else text

    def located(self, file: str | None, line: int | None, column: int | None) -> Diagnostic:
        """Return the same diagnostic with a position in a source file."""
        return replace(self, file=file, line=line, column=column)


class EpgraphError(Exception):
    """What the user gave cannot be used; every mistake found is in ``diagnostics``.

    The command line prints the diagnostics and exits with 1. ``str(error)`` is the same text.
    """

    def __init__(self, problem: str | Diagnostic | Iterable[Diagnostic], hint: str = "") -> None:
        if isinstance(problem, str):
            problem = Diagnostic(problem, hint)
        self.diagnostics: tuple[Diagnostic, ...] = (problem,) if isinstance(problem, Diagnostic) else tuple(problem)
        super().__init__("\n".join(str(d) for d in self.diagnostics))


def path_text(at: Location) -> str:
    """Write a location the way one would say it: ``edges[3].conv.kernel``."""
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a hint that names the known word nearest to ``word``, or lists those that there are."""
    if not known:
        return ""
    # A very long "word" is no misspelling, and difflib is quadratic in it.
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6) if len(word) <= 64 else []
    if close:
        return f"did you mean '{close[0]}'?"
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"known: {shown}"
