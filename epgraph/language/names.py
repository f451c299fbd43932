"""Default names of edges."""

from __future__ import annotations

from collections.abc import Iterable


def numbered(edges: Iterable[tuple[str | None, str]]) -> list[str]:
    """Names of edges from pairs (name or None, default name); an equal default name gets a number."""
    given = list(edges)
    taken = {name for name, _ in given if name is not None}
    # Last number per name, so that thousands of parallel edges do not start from 2 each time.
    counts: dict[str, int] = {}
    names = []
    for name, unnamed in given:
        found = name or unnamed
        if name is None:
            count = counts.get(unnamed, 1)
            while found in taken:
                count += 1
                found = f"{unnamed}_{count}"
            counts[unnamed] = count
            taken.add(found)
        names.append(found)
    return names
