"""Which runs a report is about, and what they came to."""

from __future__ import annotations

import math
from collections.abc import Iterator

from epgraph.comparison.verdict import quantity
from epgraph.progress import duration
from epgraph.reporting.blocks import Block, Table, Text
from epgraph.reporting.context import Context, Part
from epgraph.reporting.runs import MOST_SHOWN, ReportedRun

MOST_ROWS = 60
"""Runs that a table lists."""


def _overview(context: Context) -> Iterator[Block]:
    head = ("run", "seed", "state", "learning rule", "energy", "data", "test error", "test loss", "epochs", "time")
    rows = [_row(run) for run in context.runs[:MOST_ROWS]]
    yield Table("Runs, with the metrics of their last epoch", head, rows)
    if len(context.runs) > MOST_ROWS:
        yield Text(f"{len(context.runs) - MOST_ROWS} more runs are not listed.")
    if len(context.shown) < len({run.label for run in context.runs}):
        yield Text(
            f"Networks, weights, equilibria, gradients and predictions are those of the first {MOST_SHOWN} settings."
        )
    if len(context.runs) > len(context.shown):
        named = "; ".join(f"{run.label} (seed {run.seed})" for run in context.shown)
        yield Text(f"Of each setting one run stands for the others where a run is shown by itself: {named}.")
    for note in [*context.notes, *(context.comparison.notes if context.comparison else ())]:
        yield Text(note[:1].upper() + note[1:] + "." * (not note.endswith(".")))


def _row(run: ReportedRun) -> list[str]:
    settings, last = run.record.settings, run.last
    return [
        run.label,
        str(run.seed),
        run.state,
        str(settings["learning"]["estimator"]),
        str(settings["energy"]),
        str(run.record.data.get("name")),
        metric(last, "test_error"),
        metric(last, "test_loss"),
        str(max(run.epochs, default=0)),
        duration(math.fsum(row.get("seconds") or 0.0 for row in run.epochs.values())),
    ]


def metric(row: dict[str, object], name: str) -> str:
    """Write a metric of an epoch; a dash where it is not known."""
    value = row.get(name)
    return quantity(name, float(value)) if isinstance(value, int | float) else "–"


OVERVIEW = Part("Runs", "runs", _overview)
