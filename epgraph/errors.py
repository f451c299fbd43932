"""``EpgraphError``, the only error type for users, and the diagnostics that it carries."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from epgraph.source import Mark, Source

Location = tuple[str | int, ...]
"""Position in the declaration: the keys and list indices that lead to a value."""

RULES: dict[str, str] = {
    "file": "the file cannot be read, is too large, or is not UTF-8 text",
    "yaml": "the text is not YAML, or uses features that the language does not have: tags, several documents",
    "too-large": "too many values, levels or digits",
    "alias": "an alias without an anchor, or inside of itself",
    "duplicate-name": "two keys, states, edges, or a state and the input or output, share a name",
    "version": "a version of the language that this epgraph does not read",
    "unknown-key": "a key that the language does not have there",
    "missing-key": "a required key is missing",
    "wrong-type": "a value of another type: text for a number, a list for a mapping",
    "unknown-value": "a word that is none of the possible values",
    "out-of-range": "a number beyond its bounds, or not finite",
    "wrong-length": "a list or a text with too few or too many entries",
    "not-a-name": "a name with other characters than letters, digits and '_'",
    "conflicting-keys": "keys that exclude each other, or that need each other",
    "activation": "an unknown activation, or an unknown option of one",
    "edge-kind": "an edge without a kind, with several, or with one that cannot act there",
    "edge-ends": "an edge whose ends do not fit its kind: 'from' and 'to', or 'at' for kinds that act on one state",
    "unknown-state": "an end of an edge that names no state",
    "self-loop": "an edge from a state to itself",
    "shape-mismatch": "an edge that does not map the shape of one end to that of the other",
    "unknown-shape": "a state whose shape does not follow from its edges",
    "unreachable": "a state, or the output, that no path joins to the input",
    "tie": "a weight that cannot be shared, or a frozen weight whose owner is not frozen",
    "energy": "an edge, a cycle or an activation that the energy cannot have",
    "dynamics": "dynamics that this network cannot use",
    "estimator": "an estimator that this network cannot use",
    "unheard": "a state from which no path along the edges leads to the output, where a forward pass learns",
    "learning-rate": "a learning rate that would rise while training",
    "readout": "a readout that this network cannot have",
    "verify": "an activation, a cost or an edge kind whose mathematics is wrong",
    "plugin": "a plugin that cannot be run, or a name that cannot be registered",
    "data": "data that do not fit the network",
    "expression": "an expression that cannot be evaluated",
    "block": "an instance of an unknown block, or without a parameter or port that the block needs",
    "recursion": "a block, a group or a file that contains itself",
    "pattern": "a pattern of edges that is invalid, or that matches nothing",
    "include": "a file that cannot be included",
    "unused-block": "warning: a block without an instance",
    "unused-parameter": "warning: an unused parameter",
    "override": "an assignment (--set) to a key that does not exist",
    "dead-end": "warning: a state without a path to the output learns nothing",
    "edge-from-output": "warning: an edge out of the output is initialized for the wrong direction",
    "untied-feedback": "warning: without an energy nothing is guaranteed",
    "not-proper": "warning: the schedule moves states together that share an edge",
    "dropped-pixels": "warning: a stride or a pooling leaves out rows or columns of its source",
    "beta": "warning: β is outside of what the paper found stable",
    "zero-gain": "warning: weights that start at zero",
    "no-effect": "warning: a key without effect in this network",
    "too-few-steps": "warning: a phase is too short for the input, or the nudge, to reach a state",
    "twin-edges": "warning: two edges that compute the same",
    "other": "anything else",
}
"""Every kind of mistake: the ``rule`` of a diagnostic, and what it means."""


def visible(text: str) -> str:
    r"""Return a text on one line, with unprintable characters written as ``\n``, ``\x1b`` or ``\u202e``.

    Names and paths come from files of others. A line break could forge a message, an escape sequence could control the
    terminal, and a direction mark could reorder the text. So all output for people goes through this function. JSON and
    YAML have their own escapes.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@dataclass(frozen=True)
class Diagnostic:
    """One mistake, or one warning, about what the user wrote.

    Attributes
    ----------
    message
        The mistake and the expectation, in one line.
    hint
        A correction that works when followed. May be empty.
    at
        Path of keys to the offending value, e.g. ``("edges", 3, "conv", "kernel")``.
    on_key
        Whether the key itself is at fault (an unknown name) and not its value.
    file, line, column
        Position in the source, 1-based; None for a network that was built in Python.
    rule
        Kind of mistake, one of ``RULES``; it stays the same when messages are reworded.
    end
        Line and column after the last character of the offending text, if known.
    source
        Text of the file, for an excerpt.
    trail
        Origin of the offending text, innermost first: instances of blocks, and files that include it.
    related
        Other places where the mistake may be: each with its own message, hint and position.
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
    related: tuple[Diagnostic, ...] = ()

    def __str__(self) -> str:
        return "; ".join((self.headline(), *(f"or here: {other.headline()}" for other in self.related)))

    def headline(self) -> str:
        """Return the diagnostic on one line, without the related ones."""
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
        """Return the offending text, or its first line; empty without a source."""
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
        """Return plain values for editors; ``end_line`` and ``end_column`` point after the offending text."""
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
            "related": [other.to_dict() for other in self.related],
        }


class EpgraphError(Exception):
    """The user's input cannot be used; ``diagnostics`` has all mistakes.

    The command line prints them and exits with 1. ``str(error)`` is the same text.
    """

    def __init__(self, problem: str | Diagnostic | Iterable[Diagnostic], hint: str = "", rule: str = "other") -> None:
        if isinstance(problem, str):
            problem = Diagnostic(problem, hint, rule=rule)
        self.diagnostics: tuple[Diagnostic, ...] = (problem,) if isinstance(problem, Diagnostic) else tuple(problem)
        super().__init__("\n".join(str(d) for d in self.diagnostics))


def path_text(at: Location) -> str:
    """Write a location as ``edges[3].conv.kernel``."""
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def listed(names: Sequence[str], most: int = 3) -> str:
    """Write the first names of a list, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


MAX_COMPARISONS = 30_000
"""Largest number of names to compare with misspelled words: a fraction of a second."""


class Suggestions:
    """``nearest`` for many words and one list of names, in bounded time.

    ``meanings`` maps words to the names that they certainly mean. Any other word is compared once, until
    ``MAX_COMPARISONS`` names were compared: thousands of mistakes in thousands of names would take minutes.
    """

    def __init__(self, names: Sequence[str], meanings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._names = names
        self._hints = {word: f"did you mean '{name}'?" for word, name in meanings.items()}
        self._budget = MAX_COMPARISONS

    def __call__(self, word: str) -> str:
        """Return the hint of ``nearest``; beyond the budget, list the first names."""
        if word not in self._hints:
            compared = self._names[: self._budget]
            self._budget -= len(compared)
            close = _closest(word, compared)
            self._hints[word] = f"did you mean '{close}'?" if close else _listing(self._names)
        return self._hints[word]


def nearest(word: str, names: Sequence[str], most: int = 12) -> str:
    """Return a hint with the name closest to ``word``, or else a list of the first names."""
    close = _closest(word, names)
    return f"did you mean '{close}'?" if close else _listing(names, most)


SYNONYMS = {
    "mse": "squared_error",
    "mean_squared_error": "squared_error",
    "ce": "cross_entropy",
    "sigmoid": "logistic",
    "loss": "cost",
    "symmetric": "centered",
    "bptt": "unrolled",
    "tbptt": "truncated",
    "backpropagation": "backprop",
    "version": "epgraph",
    "lr": "learning_rate",
    "wd": "weight_decay",
    "filters": "channels",
    "features": "channels",
    "fc": "dense",
    "linear": "dense",
}
"""Names in other software → names here."""


def _closest(word: str, names: Sequence[str]) -> str | None:
    if SYNONYMS.get(word) in names:
        return SYNONYMS[word]
    # A very long word is no misspelling, and difflib takes quadratic time.
    if len(word) > 64:
        return None
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    same = (name for name in names if name.casefold() == word.casefold()) if not close else ()
    return next(iter(close), next(iter(same), None))


def _listing(names: Sequence[str], most: int = 12) -> str:
    first = ", ".join(names[:most]) + (", …" if len(names) > most else "")
    return f"known: {first}" if names else ""
