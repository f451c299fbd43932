"""Sweeps and residuals of every batch of a run, from its ``batches.jsonl``: read line by line, and thinned out."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from epgraph.files import open_regular

MAX_LINE = 1 << 16
MAX_LINES = 5_000_000
"""A log beyond is read up to here."""

MOST_POINTS = 300
"""Points that a curve is drawn with; each is the mean of as many batches as it takes."""

KEYS = ("free_steps", "nudged_steps", "free_residual", "nudged_residual")


@dataclass
class Batches:
    """What the phases of each batch took.

    Attributes
    ----------
    columns
        Values of ``KEYS`` by batch; NaN where there is none.
    statuses
        How often each phase ended how, as in (``free``, ``converged``).
    """

    columns: dict[str, array[float]] = field(default_factory=lambda: {key: array("d") for key in KEYS})
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.columns["free_steps"])

    def known(self, key: str) -> bool:
        """Whether any batch has a value."""
        return any(map(math.isfinite, self.columns[key]))

    def curve(self, key: str) -> tuple[list[float], list[float]]:
        """Return numbers of batches and means of so many as to give ``MOST_POINTS``; gaps where there are none."""
        values, step = self.columns[key], -(-len(self) // MOST_POINTS)
        starts = range(0, len(values), step)
        return [i + (step + 1) / 2 for i in starts], [mean(values[i : i + step]) for i in starts]


def mean(values: Sequence[float]) -> float:
    """Return the mean of what is finite; NaN of nothing."""
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def read_batches(path: Path) -> Batches:
    """Read the log of a run; half a line, as a killed run leaves it, is skipped.

    Raises
    ------
    EpgraphError
        If the file cannot be read.
    """
    found = Batches()
    with open_regular(path, "the log of batches is part of a run folder") as file:
        for _ in range(MAX_LINES):
            line = file.readline(MAX_LINE)
            if not line:
                break
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and "batch" in row:
                _add(found, row)
    return found


def _add(found: Batches, row: dict[str, object]) -> None:
    for key, column in found.columns.items():
        value = row.get(key)
        column.append(float(value) if isinstance(value, int | float) else math.nan)
    for phase in ("free", "nudged"):
        status = row.get(f"{phase}_status")
        if isinstance(status, str):
            found.statuses[phase, status[:40]] += 1
