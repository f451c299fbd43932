"""``Architecture`` → YAML text that loads back to the same architecture, one state and one edge a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from epgraph.arguments import instance, several, text
from epgraph.errors import EpgraphError, Location, visible
from epgraph.language.model import Architecture
from epgraph.language.reader import plain_scalar

_WIDEST = 16
"""Longest name for which the columns of edges are aligned."""

_PLAIN = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_ ./()+²³×-]*[A-Za-z0-9_./()+²³×-])?")
"""Text that needs no quotes, even in braces."""


def to_yaml(
    architecture: Architecture,
    header: str | Iterable[str] = (),
    notes: Mapping[Location, str] | None = None,
    *,
    complete: bool = False,
) -> str:
    """Write an architecture as YAML that ``load`` reads back as an equal one, with all digits of numbers.

    Values that equal the language's defaults are left out.

    Parameters
    ----------
    header
        Comment at the top: text, or a list of lines.
    notes
        Comments behind states and edges, by location: ``("states", "h1")``, ``("edges", 3)``.
    complete
        Write the defaults as well.

    Raises
    ------
    EpgraphError
        Where it is no architecture, or a comment is no text or belongs to nothing.
    """
    instance("to_yaml", architecture, Architecture, "load it with ep.load, or build() it")
    data = _doubled_dollars(architecture.to_dict(complete=complete))
    parts = header.splitlines() if isinstance(header, str) else several("header", header)
    # A line break would end a comment.
    lines = [f"# {visible(line)}".rstrip() for part in parts for line in text("header", part).splitlines() or [""]]
    notes = {} if notes is None else instance("notes", notes, Mapping, 'e.g. {("states", "h1"): "8×8"}')
    places = {("states", name) for name in data.get("states", {})} | {("edges", i) for i in range(len(data["edges"]))}
    for place, note in notes.items():
        text(f"the note at {place!r}", note)
        if place not in places:
            raise EpgraphError(f"notes: there is nothing at {place!r}", "e.g. ('states', 'h1') or ('edges', 0)")
    for end in ("input", "output"):
        # Edges refer to these names, so they are written even if they are the defaults.
        data[end] = {"name": getattr(architecture, end).name, **data.get(end, {})}
    for key in Architecture.model_fields:
        if key not in data:
            continue
        if key == "states" and data["states"]:
            names = list(data["states"])
            lines.append("states:")
            lines += _rows(
                [f"  {_scalar(n)}: {flow(data['states'][n])}" for n in names], [(key, n) for n in names], notes
            )
        elif key == "edges":
            lines.append("edges:")
            edges = _edges(data["edges"])
            lines += _rows(edges, [(key, i) for i in range(len(edges))], notes)
        else:
            gap = "  " if key == "input" else " "  # so that input stands above output
            lines.append(f"{key}:{gap}{flow(data[key])}")
    return "\n".join(lines) + "\n"


def _doubled_dollars(value: Any) -> Any:
    """Double the dollar signs in values: a single one begins an expression."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _doubled_dollars(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_doubled_dollars(entry) for entry in value]
    return value


def _rows(rows: list[str], places: list[Location], notes: Mapping[Location, str]) -> list[str]:
    width = max((len(row) for row, place in zip(rows, places, strict=True) if place in notes), default=0)
    return [
        f"{row:<{width}}   # {visible(' '.join(notes[place].split()))}" if place in notes else row
        for row, place in zip(rows, places, strict=True)
    ]


def _edges(edges: list[dict[str, Any]]) -> list[str]:
    """One edge a line: its ends in columns, its kind, and then the rest."""
    widths = {
        key: max((len(e[key]) for e in edges if key in e and len(e[key]) <= _WIDEST), default=0)
        for key in ("from", "to", "at")
    }
    rows = []
    for edge in edges:
        text = ""
        for key, value in edge.items():
            part = f"{key}: {flow(value)}, "
            # The mapping is the kind, for which a reader looks first.
            text += part.ljust(len(key) + 2 + widths[key] + 2) if key in widths else ""
        rest = {key: value for key, value in edge.items() if key not in widths}
        ordered = sorted(rest.items(), key=lambda entry: not isinstance(entry[1], dict))
        text += ", ".join(f"{_scalar(key)}: {flow(value)}" for key, value in ordered)
        rows.append(f"  - {{{text}}}")
    return rows


def flow(value: Any) -> str:
    """Return plain values as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {flow(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    if _PLAIN.fullmatch(value) and isinstance(plain_scalar(value), str):
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 2**8 else f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"
