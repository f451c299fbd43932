"""What sugar may grow to: a short file must not ask for a network that takes minutes, or all memory, to write out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import islice

from epgraph.errors import Location, nearest

MAX_MADE = 4_000
"""Most states and edges that the sugar of a file may make."""

MAX_NESTING = 16
"""Most blocks inside one another."""

MAX_STEPS = 500_000
"""Most steps that all expressions and patterns of a file may take together: operations, and entries of lists."""

MAX_TEXT = 1_000
"""Most characters of a text that holds expressions, and of one that an expression gives."""

MAX_ENTRIES = 1_024
"""Most entries of a list that an expression gives, those of inner lists included."""

MAX_NUMBER = 2**63
"""Bound on the size of integers that an expression gives."""

MAX_COMPARED = 50_000
"""Most names that misspelt ones are compared with: a tenth of a second."""

MAX_FILES = 64
"""Most files that a network may be made of."""


class TooMuchError(Exception):
    """A cap is reached; the text says which, ``at`` where in the file."""

    def __init__(self, message: str, at: Location = ()) -> None:
        super().__init__(message)
        self.at = at


class Budget:
    """Counts what an expansion makes, and the steps that it takes."""

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
        """How many more may be made."""
        return MAX_MADE - self.made

    def step(self, number: int = 1) -> None:
        """Count steps. Raises TooMuchError beyond ``MAX_STEPS``."""
        self.steps += number
        if self.steps > MAX_STEPS:
            raise TooMuchError(f"the expressions and patterns of the file take more than {MAX_STEPS:,} steps")

    def nearest(self, word: str, known: Iterable[str], scope: Hashable = None) -> str:
        """Return what ``errors.nearest`` says, once for a word in a scope, and only a list after too many words."""
        key = (scope, word)
        if scope is not None and key in self.hints:
            return self.hints[key]
        names = list(dict.fromkeys(known if self.compared < MAX_COMPARED else islice(known, 50)))
        hint = nearest(word if self.compared < MAX_COMPARED else "", names)
        self.compared += len(names)
        if scope is not None:
            self.hints[key] = hint
        return hint
