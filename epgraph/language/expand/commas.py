"""Expressions with commas that are not in quotes: inside of braces YAML cuts them in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from epgraph.errors import Diagnostic, Location
from epgraph.language.expand.expression import is_open


def mended(data: Any, report: Callable[[Diagnostic], None]) -> Any:
    """Return values with such expressions put together again, each reported, so that the rest can be checked."""
    return _mended(data, (), report) if _any_open(data) else data


def _any_open(data: Any) -> bool:
    level = [data]
    while level:
        part = level.pop()
        if isinstance(part, dict):
            level += part.values()
        elif isinstance(part, list):
            level += part
        elif isinstance(part, str) and "$(" in part and is_open(part):
            return True
    return False


def _mended(value: Any, at: Location, report: Callable[[Diagnostic], None]) -> Any:
    if isinstance(value, dict):
        # What stands behind the comma is a key without a value.
        pieces = [(key, str(key), entry, entry is None) for key, entry in value.items()]
    elif isinstance(value, list):
        pieces = [(index, str(entry), entry, not isinstance(entry, dict | list)) for index, entry in enumerate(value)]
    else:
        return value
    kept: list[tuple[Any, Any]] = []
    number = 0
    while number < len(pieces):
        key, _, entry, _ = pieces[number]
        number += 1
        if isinstance(entry, str) and is_open(entry):
            whole, end = entry, number
            while end < len(pieces) and pieces[end][3] and is_open(whole):
                whole, end = f"{whole}, {pieces[end][1]}", end + 1
            if end > number and not is_open(whole):
                found = "a comma cuts this expression in two"
                report(Diagnostic(found, f'put it in quotes: "{whole[:100]}"', (*at, key), rule="expression"))
                entry, number = whole, end
        kept.append((key, _mended(entry, (*at, key), report)))
    return dict(kept) if isinstance(value, dict) else [entry for _, entry in kept]
