"""A run in a notebook: its learning curves, and the metrics of the last epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from epgraph.notebook.html import curve, curves, page, table

if TYPE_CHECKING:
    from epgraph.training import LoadedRun, TrainResult

SERIES = (
    ("train_loss", "loss, train", 1.0, True),
    ("test_loss", "loss, test", 1.0, True),
    ("train_error", "error, train (%)", 100.0, False),
    ("validation_error", "error, validation (%)", 100.0, False),
    ("test_error", "error, test (%)", 100.0, False),
)
"""Curves: the key in the metrics, the label, the factor, and whether the axis is logarithmic."""

LAST = 5
"""Epochs in the table."""


def loaded_run(run: LoadedRun) -> dict[str, str]:
    """Show a run that was loaded."""
    return _shown(repr(run), run.metrics)


def train_result(run: TrainResult) -> dict[str, str]:
    """Show a run that has just been trained."""
    return _shown(repr(run), list(run.epochs().values()))


def _shown(title: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    drawn = []
    for key, label, factor, log in SERIES:
        values = [_number(row.get(key)) for row in rows]
        drawn.append(curve(label, [None if v is None else factor * v for v in values], log=log))
    there = [entry for entry in SERIES if any(entry[0] in row for row in rows)]
    last = [
        (str(row.get("epoch", "–")), *(_cell(_number(row.get(key)), factor) for key, _, factor, _ in there))
        for row in rows[-LAST:]
    ]
    return page(title, curves(*drawn), table(("epoch", *(label for _, label, _, _ in there)), last))


def _cell(value: float | None, factor: float) -> str:
    return "–" if value is None else f"{factor * value:.4g}"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
