"""What the runs took: seconds, speed and memory of every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from epgraph.drawing.figures import new_figure, plain
from epgraph.errors import EpgraphError
from epgraph.progress import duration
from epgraph.reporting.batches import mean
from epgraph.reporting.blocks import Block, Table
from epgraph.reporting.context import Context, Part
from epgraph.reporting.parts.overview import MOST_ROWS
from epgraph.reporting.pictures import line_style, short
from epgraph.reporting.runs import ReportedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = (
    ("Time of an epoch", "seconds", "seconds"),
    ("Speed", "images per second", "images_per_second"),
    ("Peak memory", "MiB", "peak_memory_mib"),
)


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
    shown = [run for run in context.shown if run.epochs]
    if shown:
        yield context.picture(
            "cost",
            "Seconds, images per second and peak memory of each epoch.",
            f"Curves of time, speed and memory of {', '.join(run.label for run in shown)}. The table has their means.",
            lambda: _figure(shown),
        )


def _values(run: ReportedRun, key: str) -> list[float]:
    return [float(row[key]) for row in run.epochs.values() if isinstance(row.get(key), int | float)]


def _text(value: float, how: str) -> str:
    return format(value, how) if math.isfinite(value) else "–"


def _figure(runs: Sequence[ReportedRun]) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(11, 3.1 + 0.22 * len(runs))
    panels = figure.subplots(1, len(PANELS))
    for axes, (title, unit, key) in zip(panels, PANELS, strict=True):
        for i, run in enumerate(runs):
            points = [(epoch, row[key]) for epoch, row in run.epochs.items() if isinstance(row.get(key), int | float)]
            marker = "o" if len(points) == 1 else None
            axes.plot(
                *zip(*points, strict=True), label=short(run.label), marker=marker, **line_style(i)
            ) if points else None
        plain(axes, title, unit, "epoch")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize="small")
    return figure


COST = Part("Time and memory", "cost", _cost)
