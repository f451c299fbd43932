"""Limits of an expansion: a short file must not take minutes, or all memory, to expand."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import islice

from epgraph.errors import Location, nearest

MAX_MADE = 4_000
"""Largest number of states and edges from the sugar of a file."""

MAX_NESTING = 16
"""Largest depth of blocks inside blocks."""

MAX_STEPS = 500_000
"""Largest number of steps of all expressions and patterns of a file: operations, and entries of lists."""

MAX_TEXT = 1_000
"""Largest length of a text with expressions, and of a text that an expression gives."""

MAX_ENTRIES = 1_024
"""Largest number of entries of a list that an expression gives, inner lists included."""

MAX_NUMBER = 2**63
"""Bound on the size of integers that an expression gives."""

MAX_COMPARED = 50_000
"""Largest number of names to compare with misspelled ones: a tenth of a second."""

MAX_FILES = 64
"""Largest number of files of one network."""


class TooMuchError(Exception):
    """A limit is exceeded: the text names it, ``at`` is the location in the file."""

    def __init__(self, message: str, at: Location = ()) -> None:
        super().__init__(message)
        self.at = at


class Budget:
    """Counts the states, edges and steps of an expansion."""

    def __init__(self) -> None:
        self.made = 0
        self.steps = 0
        self.compared = 0
        self.hints: dict[Hashable, str] = {}

    def make(self, number: int = 1) -> None:
        """Count states and edges. Raises TooMuchError beyond ``MAX_MADE``."""
        self.made += number
        if self.made > MAX_MADE:
            raise TooMuchError(f"blocks and patterns make more than {MAX_MADE:,} states and edges")

    @property
    def left(self) -> int:
        """Number of states and edges that are still allowed."""
        return MAX_MADE - self.made

    def step(self, number: int = 1) -> None:
        """Count steps. Raises TooMuchError beyond ``MAX_STEPS``."""
        self.steps += number
        if self.steps > MAX_STEPS:
            raise TooMuchError(f"the expressions and patterns of the file take more than {MAX_STEPS:,} steps")

    def nearest(self, word: str, known: Iterable[str], scope: Hashable = None) -> str:
        """Return ``errors.nearest``, computed once for a word in a scope; only a list after ``MAX_COMPARED`` names."""
        key = (scope, word)
        if scope is not None and key in self.hints:
            return self.hints[key]
        names = list(dict.fromkeys(known if self.compared < MAX_COMPARED else islice(known, 50)))
        hint = nearest(word if self.compared < MAX_COMPARED else "", names)
        self.compared += len(names)
        if scope is not None:
            self.hints[key] = hint
        return hint
