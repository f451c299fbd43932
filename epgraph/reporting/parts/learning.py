"""Learning curves: of the settings with their seeds, and training beside test of each run."""

from __future__ import annotations

from collections.abc import Iterator

from epgraph.comparison.result import band
from epgraph.drawing.comparison import MOST_BANDS, Band, learning_figure
from epgraph.drawing.curves import PANELS, draw_curves
from epgraph.errors import EpgraphError
from epgraph.reporting.blocks import Block, Text
from epgraph.reporting.context import Context, Part
from epgraph.reporting.pictures import short, stem
from epgraph.reporting.runs import ReportedRun

MOST_UNFINISHED = 6
"""Unfinished runs that are drawn."""


def _learning(context: Context) -> Iterator[Block]:
    bands = list(context.comparison.curves if context.comparison else ())
    unfinished = [run for run in context.runs if not run.finished and run.epochs]
    if not context.comparison:
        unfinished += [run for run in context.runs if run.finished]
    for run in unfinished[:MOST_UNFINISHED]:
        bands.append(band(f"{run.label}, {run.state}" if not run.finished else run.label, [run]))
    if not bands:
        raise EpgraphError("no run has finished an epoch")
    drawn = [Band(short(one.label), one.epochs, one.values) for one in bands]
    names = "; ".join(one.label for one in drawn[:MOST_BANDS])
    yield context.picture(
        "learning",
        "Test error and training loss against epochs. Of several seeds the line is the mean, and the area their range.",
        f"Learning curves of {names}. The tables of runs and of the comparison have the values of the last epoch.",
        lambda: learning_figure(drawn),
    )
    if len(unfinished) > MOST_UNFINISHED:
        yield Text(f"{len(unfinished) - MOST_UNFINISHED} more runs that have not finished are not drawn.")


def _run(context: Context, run: ReportedRun) -> Iterator[Block]:
    if not run.epochs:
        raise EpgraphError("the run has finished no epoch")
    number = context.shown.index(run) + 1
    last = max(run.epochs)
    yield context.picture(
        stem("epochs", number),
        f"Loss, error and residual of {run.label}, seed {run.seed}, against epochs.",
        f"Curves of training and test of {run.label} over {last} epochs.",
        lambda: draw_curves(run.epochs, panels=PANELS),
    )


LEARNING = Part("Learning curves", "learning", _learning, _run)
