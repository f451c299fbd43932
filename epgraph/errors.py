"""The one error type that a user sees, and the diagnostics it carries."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from epgraph.source import Mark, Source

Location = tuple[str | int, ...]
"""Where in the declaration something stands: the keys and list positions that lead to it."""

RULES: dict[str, str] = {
    "file": "the file cannot be read, is too large, or is not UTF-8 text",
    "yaml": "the text is not YAML, or uses what the language does not have: tags, several documents",
    "too-large": "too many values, levels or digits",
    "alias": "an alias without an anchor, or inside of itself",
    "duplicate-name": "two keys, states, edges, or a state and the input or output, share a name",
    "version": "a version of the language that this epgraph does not read",
    "unknown-key": "a key that the language does not have there",
    "missing-key": "a key that has to be there",
    "wrong-type": "a value of another type: text for a number, a list for a mapping",
    "unknown-value": "a word that is none of those that are possible there",
    "out-of-range": "a number beyond its bounds, or not finite",
    "wrong-length": "a list or a text with too few or too many entries",
    "not-a-name": "a name that is more than letters, digits and '_'",
    "conflicting-keys": "keys that exclude each other, or that need each other",
    "activation": "an activation, or an option of one, that there is not",
    "edge-kind": "an edge with no kind, with several, or with one that does not act there",
    "edge-ends": "an edge whose ends do not fit its kind: 'from' and 'to', or 'at' for kinds that act on one state",
    "unknown-state": "an end of an edge that names no state",
    "self-loop": "an edge from a state to itself",
    "shape-mismatch": "an edge that does not map the shape of one end to that of the other",
    "unknown-shape": "a state whose shape does not follow from its edges",
    "unreachable": "a state, or the output, that no path joins to the input",
    "tie": "a weight that cannot be shared, or that is frozen where another says it",
    "dynamics": "dynamics that this network cannot use",
    "estimator": "an estimator that this network cannot use",
    "learning-rate": "a learning rate that would rise while training",
    "readout": "a readout that this network cannot have",
    "verify": "an activation, a cost or an edge kind that is not what it says",
    "plugin": "a plugin that cannot be run, or a name that cannot be registered",
    "data": "data that do not fit the network",
    "expression": "an expression that cannot be evaluated",
    "block": "an instance of a block that there is not, or that lacks what the block needs",
    "recursion": "a block, a group or a file that holds itself",
    "pattern": "a pattern of edges that matches nothing, or that cannot be",
    "include": "a file that cannot be included",
    "unused-block": "warning: a block that the network has no instance of",
    "unused-parameter": "warning: a parameter that nothing uses",
    "override": "an assignment (--set) that leads nowhere",
    "dead-end": "warning: a state without a path to the output learns nothing",
    "edge-from-output": "warning: an edge out of the output is initialised for the wrong direction",
    "untied-feedback": "warning: without an energy nothing is guaranteed",
    "not-proper": "warning: the schedule moves states together that share an edge",
    "dropped-pixels": "warning: a stride or a pooling leaves out rows or columns of its source",
    "beta": "warning: β is outside of what the paper found stable",
    "zero-gain": "warning: weights that are all zero at first",
    "no-effect": "warning: a key that changes nothing here",
    "too-few-steps": "warning: a phase is too short for the input, or the nudge, to reach a state",
    "twin-edges": "warning: two edges that compute the same",
    "other": "anything else",
}
"""Every kind of mistake by its name: ``rule`` of a diagnostic."""


def visible(text: str) -> str:
    r"""Return a text on one line, with what does not print written as ``\n``, ``\x1b`` or ``\u202e``.

    Names and paths come from files of others. Line breaks could forge messages, escapes command the terminal, and
    marks of direction show a text in another order than it has. Whatever leaves the program for a person goes through
    this function; JSON and YAML have escapes of their own.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


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
    rule
        Name of this kind of mistake, one of ``RULES``; it stays the same when messages are reworded.
    end
        Line and column behind the last character of the offending text, where they are known.
    source
        The text of the file, for an excerpt.
    trail
        How the network came to what stands there, innermost first: instances of blocks, and files that include it.
    """

    message: str
    hint: str = ""
    at: Location = ()
    on_key: bool = False
    file: str | None = None
    line: int | None = None
    column: int | None = None
    severity: Literal["error", "warning"] = "error"
    rule: str = "other"
    end: Mark | None = None
    source: Source | None = field(default=None, compare=False, repr=False)
    trail: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        if not where and self.at:
            where = path_text(self.at)
        text = f"{where}: {self.message}" if where else self.message
        text = f"{text}; {self.hint}" if self.hint else text
        return visible(f"{text} [{'; '.join(self.trail)}]" if self.trail else text)

    def located(
        self,
        file: str | None,
        line: int | None,
        column: int | None,
        end: Mark | None = None,
        source: Source | None = None,
    ) -> Diagnostic:
        """Return the same diagnostic with a position in a source file."""
        return replace(self, file=file, line=line, column=column, end=end, source=source)

    def span(self) -> str:
        """Return the offending text, as far as it stands in one line; empty without a source."""
        if self.source is None or self.line is None or self.column is None or self.end is None:
            return ""
        line, column = self.end
        return self.source.line(self.line)[self.column - 1 : column - 1 if line == self.line else None]

    def excerpt(self) -> tuple[str, str] | None:
        """Return the line of the source and the carets under the offending text; None without a source."""
        if self.source is None or self.line is None or self.column is None:
            return None
        line, carets = self.source.excerpt((self.line, self.column), self.end)
        return (line, carets) if line else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for editors; ``end_line`` and ``end_column`` point behind the offending text."""
        end_line, end_column = self.end or (None, None)
        return {
            "severity": self.severity,
            "rule": self.rule,
            "message": self.message,
            "hint": self.hint,
            "at": path_text(self.at),
            "on_key": self.on_key,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "end_line": end_line,
            "end_column": end_column,
            "trail": list(self.trail),
        }


class EpgraphError(Exception):
    """What the user gave cannot be used; every mistake found is in ``diagnostics``.

    The command line prints the diagnostics and exits with 1. ``str(error)`` is the same text.
    """

    def __init__(self, problem: str | Diagnostic | Iterable[Diagnostic], hint: str = "", rule: str = "other") -> None:
        if isinstance(problem, str):
            problem = Diagnostic(problem, hint, rule=rule)
        self.diagnostics: tuple[Diagnostic, ...] = (problem,) if isinstance(problem, Diagnostic) else tuple(problem)
        super().__init__("\n".join(str(d) for d in self.diagnostics))


def path_text(at: Location) -> str:
    """Write a location the way one would say it: ``edges[3].conv.kernel``."""
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def listed(names: Sequence[str], most: int = 3) -> str:
    """Write the first names of a list, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


MOST_COMPARED = 30_000
"""Names that are compared in search of those that misspelt ones may mean; takes a fraction of a second."""


class Suggestions:
    """``nearest`` for any number of words that may mean one of the same names.

    ``meanings`` are words whose meaning is clear. Any other word is looked up once, and when ``MOST_COMPARED`` names
    have been compared no other is: thousands of mistakes in thousands of names would take minutes.
    """

    def __init__(self, known: Sequence[str], meanings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._known = known
        self._hints = {word: f"did you mean '{meant}'?" for word, meant in meanings.items()}
        self._left = MOST_COMPARED

    def __call__(self, word: str) -> str:
        """Return the hint of ``nearest``, or beyond the budget the first names that there are."""
        if word not in self._hints:
            compared = self._known[: self._left]
            self._left -= len(compared)
            close = _closest(word, compared)
            self._hints[word] = f"did you mean '{close}'?" if close else _known(self._known)
        return self._hints[word]


def nearest(word: str, known: Sequence[str], most: int = 12) -> str:
    """Return a hint that names the known word nearest to ``word``, or lists the first of those that there are."""
    close = _closest(word, known)
    return f"did you mean '{close}'?" if close else _known(known, most)


SYNONYMS = {
    "mse": "squared_error",
    "mean_squared_error": "squared_error",
    "ce": "cross_entropy",
    "sigmoid": "logistic",
    "lr": "learning_rate",
    "wd": "weight_decay",
    "filters": "channels",
    "features": "channels",
    "fc": "dense",
    "linear": "dense",
}
"""What other software calls something that has another name here."""


def _closest(word: str, known: Sequence[str]) -> str | None:
    if SYNONYMS.get(word) in known:
        return SYNONYMS[word]
    # A very long "word" is no misspelling, and difflib is quadratic in it.
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6) if len(word) <= 64 else []
    return close[0] if close else None


def _known(known: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(known[:most]) + (", …" if len(known) > most else "")
    return f"known: {shown}" if known else ""
