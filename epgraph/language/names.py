"""Names of edges that are given none."""

from __future__ import annotations

from collections.abc import Iterable


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
