"""How a network settles: energy, residual and states against the sweeps, phase by phase."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from epgraph.drawing.figures import FORMATS, PHASE_COLORS, new_figure, plain, state_colors, write
from epgraph.drawing.formats import suffix
from epgraph.errors import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Phases = Mapping[str, Mapping[str, Any]]
"""Phases as ``Convergence.to_dict`` has them: the free one first, and those that start where it ended."""

MOST_NAMED = 12
"""States of which each is named in the legend; of more, some that are evenly spread."""

MOST_MARKED = 40
"""Sweeps of a phase up to which each has a marker."""


class _Panel(NamedTuple):
    title: str
    unit: str
    key: str
    log: bool


_OF_PHASES = (
    _Panel("Energy", "mean F per example", "energy", False),
    _Panel("Residual", "largest of the examples", "residual", True),
)
_OF_STATES = (
    _Panel("Change of each state", "‖change‖ / ‖state‖", "residual", True),
    _Panel("Activity", "mean |s|", "activity", False),
    _Panel("Units at a bound", "share (%)", "saturation", False),
)


def draw_settling(name: str, phases: Phases, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw the phases on one axis of sweeps, the nudged ones after the free one; with a path also write the figure.

    Parameters
    ----------
    name
        Name of the network.
    phases
        What is drawn. Without ``states`` only energy and residual are. States are those of the free phase and, after
        it, of the first nudged one.

    Raises
    ------
    EpgraphError
        If the suffix is unknown, or the file cannot be written.
    """
    if path is not None:
        suffix(Path(path), FORMATS)  # a wrong one is said before anything is drawn
    with_states = bool(next(iter(phases.values())).get("states"))
    figure = new_figure(12.6 if with_states else 8.4, 6.8 if with_states else 3.6)
    grid = figure.subplots(2 if with_states else 1, 3 if with_states else 2, squeeze=False)
    for axes, panel in zip(grid[0], _OF_PHASES, strict=False):
        _draw_phases(axes, panel, phases)
    if with_states:
        for axes, panel in zip(grid[1], _OF_STATES, strict=True):
            _draw_states(axes, panel, phases)
        _name_states(grid[0][2], grid[1][0])
    title = figure.suptitle(visible(name), fontweight="bold")
    _no_mathematics([title])
    if path is not None:
        write(figure, path)
    return figure


def _name_states(axes: Axes, drawn: Axes) -> None:
    """Fill free axes with the legend of the states."""
    axes.set_axis_off()
    handles, labels = drawn.get_legend_handles_labels()
    step = math.ceil(len(labels) / MOST_NAMED)
    legend = axes.legend(handles[::step], labels[::step], loc="center left", frameon=False, title="states")
    _no_mathematics(legend.get_texts())


def _no_mathematics(texts: Sequence[Any]) -> None:
    """Show names as they are, whatever dollar signs they have."""
    for text in texts:
        text.set_parse_math(False)


def _spans(phases: Phases) -> dict[str, list[int]]:
    """Return the sweeps of every phase on the common axis: nudged phases begin where the free one ended."""
    spans: dict[str, list[int]] = {}
    offset = 0
    for i, (name, phase) in enumerate(phases.items()):
        spans[name] = [offset + sweep for sweep in phase["sweeps"]]
        if i == 0:
            offset = len(phase["sweeps"])
    return spans


def _draw_phases(axes: Axes, panel: _Panel, phases: Phases) -> None:
    plotted: list[float] = []
    for name, span in _spans(phases).items():
        values = _numbers(phases[name][panel.key] or [math.nan] * len(span))
        plotted += values
        color = PHASE_COLORS.get(name, PHASE_COLORS["free"])
        axes.plot(span, values, label=name, color=color, **_style(len(span)))
    _finish(axes, panel, phases, plotted)
    if len(phases) > 1 and any(map(math.isfinite, plotted)):
        axes.legend(frameon=False)


def _draw_states(axes: Axes, panel: _Panel, phases: Phases) -> None:
    spans = _spans(phases)
    shown = list(spans)[:2]
    names = list(phases[shown[0]]["states"])
    plotted: list[float] = []
    for name, color in state_colors(names).items():
        span = [sweep for phase in shown for sweep in spans[phase]]
        values = _numbers([v for phase in shown for v in phases[phase]["states"][name][panel.key]])
        values = [100 * value for value in values] if panel.key == "saturation" else values
        plotted += values
        axes.plot(span, values, label=visible(name), color=color, **_style(len(span)))
    _finish(axes, panel, phases, plotted)


def _style(count: int) -> dict[str, Any]:
    return {"linewidth": 1.4, "marker": "o" if count <= MOST_MARKED else None, "markersize": 2.5}


def _finish(axes: Axes, panel: _Panel, phases: Phases, plotted: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    # A value of 0, an exact equilibrium, has no place on a logarithmic axis.
    log = panel.log and any(value > 0 and math.isfinite(value) for value in plotted)
    plain(axes, panel.title, f"{panel.unit}, log scale" if log else panel.unit, "sweep")
    if not any(map(math.isfinite, plotted)):
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "there is none", transform=axes.transAxes, ha="center", va="center", color="#555555")
        return
    if log:
        axes.set_yscale("log", nonpositive="mask")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(phases) > 1:
        free = len(next(iter(phases.values()))["sweeps"])
        axes.axvline(free + 0.5, color="#777777", linewidth=1, linestyle=":")


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
