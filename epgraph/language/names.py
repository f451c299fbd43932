"""Names of edges that are given none."""

from __future__ import annotations

from collections.abc import Iterable


def numbered(edges: Iterable[tuple[str | None, str]]) -> list[str]:
    """Names of edges, from those given and what each is called without: numbered where that is taken."""
    given = list(edges)
    taken = {name for name, _ in given if name is not None}
    # The number that was last tried: of thousands of parallel edges each goes on from the one before.
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
