"""How a run settles: energy, residual and saturation sweep by sweep, and the sweeps that its batches took."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from epgraph.drawing.figures import new_figure, plain, scaled
from epgraph.errors import EpgraphError
from epgraph.reporting.batches import Batches, mean, read_batches
from epgraph.reporting.blocks import Block, Picture, Table, Text
from epgraph.reporting.context import Context, Part
from epgraph.reporting.pictures import cut, stem
from epgraph.reporting.runs import ReportedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from epgraph.convergence import Convergence

MOST_STATES = 100
"""States that the table lists."""

MOST_MARKED = 40
"""Batches up to which each has a marker: a line of one batch is not seen."""

PHASES = {"free": ("#0072b2", "-"), "nudged": ("#d55e00", "--")}


def _equilibrium(context: Context, run: ReportedRun) -> Iterator[Block]:
    yield from context.attempt(EQUILIBRIUM.title, run, lambda: _settling(context, run))
    yield from context.attempt(EQUILIBRIUM.title, run, lambda: _batches(context, run))


def _settling(context: Context, run: ReportedRun) -> Iterator[Block]:
    from epgraph.convergence import converge

    engine = context.loaded.engine(run)
    data, lacking = None, ""
    try:
        data = context.loaded.data(run)
    except EpgraphError as error:
        lacking = str(error)
    found = converge(engine, data=data, examples=context.examples, warn=lambda _: None)
    if lacking:
        yield Text(f"The data of the run are not there, so the examples are {found.source}: {lacking}", missing=True)
    if all(len(phase.sweeps) <= 1 for phase in found.phases.values()):
        yield Text(f"{run.label} computes its states in one pass, so there is nothing to settle.")
    else:
        yield _curves(context, found, run, context.shown.index(run) + 1)
    yield Table(
        "End of each phase",
        ("phase", "sweeps", "energy per example", "mean residual", "largest residual", "ended"),
        [
            [
                name,
                str(len(phase.sweeps)),
                _last(phase.energy, ".6g"),
                f"{phase.mean_residual:.1e}",
                _last(phase.residual, ".1e"),
                _ended(phase.status),
            ]
            for name, phase in found.phases.items()
        ],
        numbers=True,
    )
    for sentence in found.advice:
        yield Text(f"{sentence[:1].upper()}{sentence[1:]}.")
    free = found.phases["free"].states
    head = ["state", *(f"{what}, {name}" for what in ("at a bound", "activity") for name in found.phases)]
    rows = [
        [
            state,
            *(_last(phase.states[state].saturation, ".1%") for phase in found.phases.values()),
            *(_last(phase.states[state].activity, ".3g") for phase in found.phases.values()),
        ]
        for state in list(free)[:MOST_STATES]
    ]
    yield Table(
        "Saturation: share of units at a bound of their activation; activity: mean |s|", head, rows, numbers=True
    )
    if len(free) > MOST_STATES:
        yield Text(f"The first {MOST_STATES} of {len(free)} states are listed.")


def _curves(context: Context, found: Convergence, run: ReportedRun, number: int) -> Picture:
    from epgraph.drawing.settling import draw_settling

    phases = found.to_dict()["phases"]
    return context.picture(
        stem("settling", number),
        f"{run.label}: energy and residual against sweeps, first of the free phase and then of the nudged ones; below, "
        f"the states. {found.examples} examples ({found.source}){_nudge(found.beta)}",
        f"Curves of energy, residual and states of {run.label} over the sweeps. The tables below have their ends.",
        lambda: draw_settling(cut(run.label), phases),
    )


def _nudge(beta: float | None) -> str:
    return "." if beta is None else f", β = {beta:g}."


def _last(values: list[float] | None, how: str) -> str:
    return format(values[-1], how) if values and math.isfinite(values[-1]) else "–"


def _ended(status: str) -> str:
    return status.lower().replace("_", " ")


def _batches(context: Context, run: ReportedRun) -> Iterator[Block]:
    found = read_batches(run.folder / "batches.jsonl")
    if not len(found):
        raise EpgraphError(f"{run.label} has finished no batch")
    number = context.shown.index(run) + 1
    if found.known("nudged_steps") or any(steps > 1 for steps in found.columns["free_steps"]):
        yield _picture(context, found, run, number)
    for phase in PHASES:
        steps = found.columns[f"{phase}_steps"]
        counted = {status: count for (name, status), count in found.statuses.items() if name == phase}
        if counted:
            how = ", ".join(f"{status.replace('_', ' ')} {count:,}" for status, count in counted.items())
            batches = f"{len(found):,} batch{'es' * (len(found) != 1)}"
            average = f"{mean(steps):.1f} sweeps on average"
            yield Text(f"{phase.capitalize()} phases of {batches}: {average}; how they ended: {how}.")


def _picture(context: Context, found: Batches, run: ReportedRun, number: int) -> Picture:
    return context.picture(
        stem("batches", number),
        f"{run.label}: sweeps and residual of the phases against batches of the training.",
        f"Sweeps and residuals of {len(found):,} batches of {run.label}. The sentences below have the means.",
        lambda: _figure(found),
    )


def _figure(found: Batches) -> Figure:
    figure = new_figure(8.4, 2.9)
    marker = "o" if len(found) <= MOST_MARKED else None
    panels = (("Sweeps of a phase", "sweeps", "steps"), ("Residual at its end", "largest of the batch", "residual"))
    for axes, (title, unit, what) in zip(figure.subplots(1, 2), panels, strict=True):
        drawn: list[float] = []
        for phase, (color, style) in PHASES.items():
            key = f"{phase}_{what}"
            if found.known(key):
                x, y = found.curve(key)
                drawn += y
                axes.plot(x, y, color=color, linestyle=style, label=phase, linewidth=1.3, marker=marker, markersize=3)
        plain(axes, title, unit, "batch")
        scaled(axes, drawn, log=what == "residual")
        if axes.lines:
            axes.legend(frameon=False)
    return figure


EQUILIBRIUM = Part("Equilibrium", "equilibrium", None, _equilibrium, slow=True)
