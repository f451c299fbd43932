"""Default names of edges."""

from __future__ import annotations

import re
from collections.abc import Iterable

from epgraph.errors import Diagnostic, Location
from epgraph.language.model.fields import NAME_PATTERN

_NAME = re.compile(NAME_PATTERN)


def check_name(name: str, at: Location) -> Diagnostic | None:
    """Return what is wrong with a name that is the key at a location; None where it is well formed."""
    if _NAME.fullmatch(name):
        return None
    hint = "a name is a letter followed by at most 63 letters, digits or '_'"
    if "{" in name:
        hint += "; is there a ':' missing before '{'?"
    return Diagnostic(f"'{name[:64]}' is not a name", hint, at, on_key=True, rule="not-a-name")


def numbered(edges: Iterable[tuple[str | None, str]]) -> list[str]:
    """Names of edges from pairs (name or None, default name); an equal default name gets a number."""
    pairs = list(edges)
    in_use = {name for name, _ in pairs if name is not None}
    # Last number per name, so that thousands of parallel edges do not start from 2 each time.
    counts: dict[str, int] = {}
    names = []
    for own, unnamed in pairs:
        name = own or unnamed
        if own is None:
            count = counts.get(unnamed, 1)
            while name in in_use:
                count += 1
                name = f"{unnamed}_{count}"
            counts[unnamed] = count
            in_use.add(name)
        names.append(name)
    return names
