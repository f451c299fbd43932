"""What the runs took: seconds, speed and memory of every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from epgraph.comparison.result import band
from epgraph.drawing.comparison import BandPanel, learning_figure
from epgraph.errors import EpgraphError
from epgraph.progress import duration
from epgraph.reporting.batches import mean
from epgraph.reporting.blocks import Block, Table
from epgraph.reporting.context import Context, Part
from epgraph.reporting.parts.overview import MOST_ROWS
from epgraph.reporting.pictures import short
from epgraph.reporting.runs import ReportedRun

PANELS = (
    BandPanel("Time of an epoch", "seconds", "seconds"),
    BandPanel("Speed", "images per second", "images_per_second"),
    BandPanel("Peak memory", "MiB", "peak_memory_mib"),
)

KEYS = tuple(panel.metric for panel in PANELS)


def _cost(context: Context) -> Iterator[Block]:
    runs = [run for run in context.runs if run.epochs]
    if not runs:
        raise EpgraphError("no run has finished an epoch")
    head = (
        "run",
        "seed",
        "epochs",
        "time",
        "seconds per epoch",
        "images per second",
        "peak MiB",
        "device MiB",
        "device",
    )
    rows = [
        [
            run.label,
            str(run.seed),
            str(len(run.epochs)),
            duration(math.fsum(_values(run, "seconds"))),
            _text(mean(_values(run, "seconds")), ".3g"),
            _text(mean(_values(run, "images_per_second")), ",.0f"),
            _text(max(_values(run, "peak_memory_mib"), default=math.nan), ",.0f"),
            _text(max(_values(run, "peak_device_memory_mib"), default=math.nan), ",.0f"),
            f"{run.record.options.device}, {run.record.options.dtype}",
        ]
        for run in runs[:MOST_ROWS]
    ]
    yield Table("Time and memory; speeds are means over the epochs", head, rows, numbers=True)
    labels = dict.fromkeys(run.label for run in context.shown if run.epochs)
    bands = [band(short(label), [run for run in runs if run.label == label], KEYS) for label in labels]
    if bands:
        yield context.picture(
            "cost",
            "Seconds, images per second and peak memory of each epoch. Of several seeds the line is the mean, and the "
            "area their range.",
            f"Curves of time, speed and memory of {'; '.join(labels)}. The table has their means.",
            lambda: learning_figure(bands, PANELS),
        )


def _values(run: ReportedRun, key: str) -> list[float]:
    return [float(row[key]) for row in run.epochs.values() if isinstance(row.get(key), int | float)]


def _text(value: float, how: str) -> str:
    return format(value, how) if math.isfinite(value) else "–"


COST = Part("Time and memory", "cost", _cost)
