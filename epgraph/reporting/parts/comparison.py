"""What differs between the settings, and whether it matters: the table and the tests of ``epgraph compare``."""

from __future__ import annotations

from collections.abc import Iterator

from epgraph.errors import EpgraphError
from epgraph.reporting.blocks import Block, Details, Table, Text
from epgraph.reporting.context import Context, Part

MOST_KEYS = 40
"""Keys that differ, up to which they are shown unasked."""

MOST_COLUMNS = 12
"""Settings beside each other in the table of keys that differ."""


def _comparison(context: Context) -> Iterator[Block]:
    if len(context.runs) == 1:
        raise EpgraphError("one run has nothing to be compared with; name several runs, or a sweep folder")
    result = context.comparison
    if result is None:
        raise EpgraphError(" ".join(context.notes))
    head, *rows = result.rows()
    yield Table(
        "Last epoch of each setting: mean ± sample deviation over its seeds", ["setting", *head[1:]], rows, numbers=True
    )
    for sentence in result.sentences():
        if sentence not in result.notes:
            yield Text(sentence)
    if len(result.groups) == 1:
        yield Text("All runs have one setting, so there is nothing to test.")
        return
    columns = min(len(result.groups), MOST_COLUMNS)
    found = [[key, *values[:columns]] for key, values in result.differing.items()]
    table = Table("Keys that differ", ["key", *(group.label for group in result.groups[:columns])], found)
    yield table if len(found) <= MOST_KEYS else Details(f"{len(found)} keys that differ", [table])
    if len(result.groups) > columns:
        yield Text(f"Of {len(result.groups)} settings the first {columns} are in this table.")


COMPARISON = Part("Comparison", "comparison", _comparison)
