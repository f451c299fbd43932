"""Versions of the language: 1 has states and edges, 2 has what writes them out as well."""

from __future__ import annotations

import re
from typing import Any

from epgraph.errors import Diagnostic, EpgraphError, Location
from epgraph.kinds import KINDS
from epgraph.language.architecture import LANGUAGE
from epgraph.language.document import parse
from epgraph.language.expand.edges import PATTERN_KEYS
from epgraph.source import Mark

SECTIONS = ("include", "parameters", "blocks", "groups")
"""Sections that are written out before a network is checked."""


def sugar_in(data: dict[str, Any]) -> Location | None:
    """Return the first place that only version 2 has; texts with a dollar sign mean nothing to version 1."""
    for section in SECTIONS:
        if section in data:
            return (section,)
    states, edges = data.get("states"), data.get("edges")
    defaults = data.get("defaults")
    for key in defaults if isinstance(defaults, dict) else ():
        if key in KINDS:
            return ("defaults", key)
    for name, state in (states if isinstance(states, dict) else {}).items():
        if isinstance(state, dict) and "block" in state:
            return ("states", name, "block")
    for index, edge in enumerate(edges if isinstance(edges, list) else ()):
        if isinstance(edge, dict):
            for key in PATTERN_KEYS:
                if key in edge:
                    return ("edges", index, key)
            for key in ("from", "to", "at"):
                if isinstance(edge.get(key), list):
                    return ("edges", index, key)
    return None


def expression_in(data: Any) -> Location | None:
    """Return the first place of a text with a dollar sign where version 1 has no text that could hold one."""
    level: list[tuple[Location, Any]] = [((), data)]
    while level:
        at, value = level.pop()
        if isinstance(value, str) and "$" in value and at != ("name",):
            return at
        if isinstance(value, dict | list):
            entries = value.items() if isinstance(value, dict) else enumerate(value)
            level += reversed([((*at, key), entry) for key, entry in entries])
    return None


def too_old(at: Location) -> Diagnostic:
    """Say that a file of version 1 has what only version 2 has."""
    key = next(part for part in reversed(at) if isinstance(part, str))
    message = f"'{key}' is of language version 2, and this file says 'epgraph: 1'"
    return Diagnostic(message, "write 'epgraph: 2'", at, on_key=True, rule="version")


def upgrade(content: str | bytes, name: str = "<text>") -> str:
    """Rewrite a file in the newest version of the language; comments and layout stay.

    Raises
    ------
    EpgraphError
        If the text is not YAML, says no version that can be upgraded, a dollar sign in it is written as an escape, or
        it has what only the newest version has, so that a dollar sign may begin an expression.
    """
    document = parse(content, name)
    assert document.source is not None, "parse gives the document its text"
    text = document.source.text
    data = document.data
    version = data.get("epgraph") if isinstance(data, dict) else None
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= LANGUAGE:
        found = "only files that say 'epgraph: 1' can be upgraded"
        hint = f"write 'epgraph: {LANGUAGE}' at the top; a dollar sign that begins no expression is '$$'"
        raise EpgraphError(document.locate(Diagnostic(found, hint, ("epgraph",), rule="version")))
    if version == LANGUAGE:
        return text
    newer = sugar_in(data) or expression_in(data)
    if newer is not None:
        found = f"this is of language version {LANGUAGE}, and the file says 'epgraph: 1'"
        hint = f"write 'epgraph: {LANGUAGE}': there is nothing else to upgrade"
        raise EpgraphError(document.locate(Diagnostic(found, hint, newer, rule="version")))
    changes: list[tuple[Mark, Mark, str]] = []
    for at, mark in document.values.items():
        end = document.ends.get(mark)
        value = _value(data, at)
        if at == ("epgraph",) and end:
            changes.append((mark, end, str(LANGUAGE)))
        elif isinstance(value, str) and "$" in value and end:
            changes.append((mark, end, ""))
    starts = [0, *(found.end() for found in re.finditer("\r\n|[\n\r\x85\u2028\u2029]", text))]
    for mark, end, new in sorted(set(changes), reverse=True):
        first, last = (starts[line - 1] + column - 1 for line, column in (mark, end))
        text = text[:first] + (new or text[first:last].replace("$", "$$")) + text[last:]
    after = parse(text, name)
    for at in document.values:
        value = _value(data, at)
        if isinstance(value, str) and _value(after.data, at) != value.replace("$", "$$"):
            found = "this text has a '$' that cannot be doubled where it stands"
            raise EpgraphError(document.locate(Diagnostic(found, "write it as a plain '$'", at, rule="version")))
    return text


def escaped(value: Any) -> Any:
    """Double the dollar signs of plain values, so that they are dollar signs in version 2 as well."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: escaped(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [escaped(entry) for entry in value]
    return value


def _value(data: Any, at: Location) -> Any:
    for part in at:
        data = data[part]
    return data
