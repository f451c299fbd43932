"""What a name is, and the names of edges that have none of their own."""

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
    """Return the names of edges: each its own, or what it is called without one, with a number where that is in use.

    ``edges`` are pairs of the two.
    """
    pairs = list(edges)
    in_use = {name for name, _ in pairs if name is not None}
    # The number that was last tried: of thousands of parallel edges each goes on from the one before.
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
