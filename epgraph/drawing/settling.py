"""How a network settles: energy, residual and states against the sweeps, phase by phase."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from epgraph.drawing.figures import FORMATS, PHASE_COLORS, divided, new_figure, plain, scaled, state_colors, write
from epgraph.drawing.formats import suffix
from epgraph.errors import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Phases = Mapping[str, Mapping[str, Any]]
"""Phases as ``Convergence.to_dict`` has them: the free one first, and those that start where it ended."""

MOST_NAMED = 24
"""States of which each is named in the legend; of more, some that are evenly spread, and the legend says so."""

MOST_MARKED = 40
"""Sweeps of a phase up to which each has a marker."""


class _Panel(NamedTuple):
    title: str
    unit: str
    key: str
    log: bool = False


_ENERGY = _Panel("Energy, free phase", "mean F per example", "energy")
_NUDGED = _Panel("Energy, nudged phases", "mean F − F of the free phase", "energy")
_RESIDUAL = _Panel("Residual", "largest of the examples", "residual", log=True)
_OF_STATES = (
    _Panel("Change of each state", "‖change‖ / ‖state‖", "residual", log=True),
    _Panel("Activity", "mean |s|", "activity"),
    _Panel("Units at a bound", "share (%)", "saturation"),
)

NUDGED_STYLES: dict[str, Any] = {"+β": "-", "−β": "--"}
"""How the curve of a state is drawn in each nudged phase; in the free phase it is a solid line."""


def draw_settling(name: str, phases: Phases, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw the phases on one axis of sweeps, the nudged ones after the free one; with a path also write the figure.

    The energy changes far less in a nudged phase than in the free one, so nudged phases have a panel of their own.

    Parameters
    ----------
    name
        Name of the network.
    phases
        What is drawn. Without ``states`` only energy and residual are.

    Raises
    ------
    EpgraphError
        If the suffix is unknown, or the file cannot be written.
    """
    if path is not None:
        suffix(Path(path), FORMATS)  # a wrong one is said before anything is drawn
    spans = _spans(phases)
    free, *nudged = phases
    one_pass = bool(phases[free].get("one_pass"))
    first = [] if one_pass else [(_ENERGY, [free], 0.0)]
    at_rest = (phases[free]["energy"] or [None])[-1]
    if nudged and at_rest is not None:
        first.append((_NUDGED, nudged, at_rest))
    # A forward pass leaves nothing to settle: it has no curve of its own.
    if moving := nudged if one_pass else [free, *nudged]:
        first.append((_RESIDUAL, moving, 0.0))
    with_states = bool(phases[free].get("states"))
    below = [panel for panel in _OF_STATES if moving or panel.key != "residual"] if with_states else []
    rows = [row for row in (first, below) if row]
    figure = new_figure(4.2 * max(map(len, rows)) + 1.2 * with_states, 3.4 * len(rows) + 0.2 * (len(rows) == 1))
    grid = iter(divided(figure, [len(row) for row in rows]))
    above: list[Axes] = next(grid) if first else []
    for axes, (panel, shown, zero) in zip(above, first, strict=True):
        curves = [(phase, spans[phase], phases[phase][panel.key] or (), PHASE_COLORS[phase], "-") for phase in shown]
        _draw(axes, panel, curves, zero)
        if len(shown) > 1 and axes.lines:
            axes.legend(frameon=False)
    of_states: list[Axes] = []
    if with_states:
        of_states = next(grid)
        for axes, panel in zip(of_states, below, strict=True):
            _draw(axes, panel, list(_of_states(phases, spans, panel.key)))
        _name_states(figure, list(phases[free]["states"]), nudged)
    for axes in (*above[-1:], *of_states) if nudged else ():
        axes.axvline(len(phases[free]["sweeps"]) + 0.5, color="#777777", linewidth=1, linestyle=":")
    heading = visible(name) if moving else f"{visible(name)}: one forward pass, nothing settles"
    title = figure.suptitle(heading, fontweight="bold")
    _no_mathematics([title])
    if path is not None:
        write(figure, path)
    return figure


_Curve = tuple[str, Sequence[int], Sequence[float | None], Any, str]
"""Label, sweeps, values, color and style of a line."""


def _of_states(phases: Phases, spans: Mapping[str, list[int]], key: str) -> Iterator[_Curve]:
    """Yield the curve of every state in every phase; shares are in percent."""
    scale = 100 if key == "saturation" else 1
    for phase, span in spans.items():
        for name, color in state_colors(list(phases[phase]["states"])).items():
            values = [None if v is None else scale * v for v in phases[phase]["states"][name][key]]
            yield name, span, values, color, NUDGED_STYLES.get(phase, "-")


def _name_states(figure: Figure, names: Sequence[str], nudged: Sequence[str]) -> None:
    """Name the colors of the states, and the styles of nudged phases, beside the panels."""
    from matplotlib.lines import Line2D

    step = math.ceil(len(names) / MOST_NAMED)
    handles = [Line2D([], [], color=c, label=visible(name)) for name, c in list(state_colors(names).items())[::step]]
    styles = [Line2D([], [], color="#555555", linestyle=NUDGED_STYLES[phase], label=phase) for phase in nudged]
    title = "states" if step == 1 else f"states ({len(handles)} of {len(names)})"
    legend = figure.legend(handles=handles, loc="outside right center", frameon=False, title=title)
    _no_mathematics(legend.get_texts())
    if styles:
        figure.legend(handles=styles, loc="outside right lower", frameon=False, title="nudged")


def _no_mathematics(texts: Sequence[Any]) -> None:
    """Show names as they are, whatever dollar signs they have."""
    for text in texts:
        text.set_parse_math(False)


def _spans(phases: Phases) -> dict[str, list[int]]:
    """Return the sweeps of every phase on the common axis: nudged phases begin where the free one ended."""
    free, *nudged = phases
    offset = len(phases[free]["sweeps"])
    spans = {name: [offset + sweep for sweep in phases[name]["sweeps"]] for name in nudged}
    return {free: list(phases[free]["sweeps"]), **spans}


def _draw(axes: Axes, panel: _Panel, curves: Sequence[_Curve], zero: float = 0.0) -> None:
    plain(axes, panel.title, panel.unit, "sweep")
    drawn: list[float] = []
    for label, span, found, color, style in curves:
        values = [math.nan if value is None else value - zero for value in found]
        drawn += values
        if values:
            marker = "o" if len(span) <= MOST_MARKED else None
            axes.plot(
                span, values, label=label, color=color, linestyle=style, linewidth=1.4, marker=marker, markersize=2.5
            )
    scaled(axes, drawn, log=panel.log, empty="there is none")
