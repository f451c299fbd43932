"""A gradient check as a picture: error and cosine of every edge against β, nudged sweeps and free sweeps."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from epgraph.drawing.figures import FORMATS, new_figure, state_colors, write
from epgraph.drawing.formats import suffix
from epgraph.errors import EpgraphError, visible
from epgraph.gradient_check.verdict import REFERENCES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[dict[str, Any]]


class Sweep(NamedTuple):
    """A column of the picture: the section of the report, its setting, and whose gradient stands beside it."""

    key: str
    setting: str
    label: str
    beside: str | None


SWEEPS = (
    Sweep("beta", "beta", "β", None),
    Sweep("nudged_steps", "steps", "nudged sweeps", "truncated"),
    Sweep("free_steps", "steps", "free sweeps", "unrolled"),
)

BESIDE: dict[str, dict[str, Any]] = {
    "truncated": {"color": "#d55e00", "linestyle": "--"},
    "unrolled": {"color": "#0072b2", "linestyle": "-."},
}
"""How the line of each gradient that stands beside the estimator is drawn."""

MEASURES = (("error", "relative error"), ("cosine", "cosine"))

FLOOR = 1e-12
"""Errors below are drawn as this: two gradients may agree to the last digit."""


def draw(report: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Draw how a gradient compares with the reference of the report, edge by edge, as β and the sweeps vary.

    Parameters
    ----------
    report
        What ``epgraph gradcheck --json`` prints.
    path
        File to write: ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    EpgraphError
        Where the report holds nothing to draw, the suffix is unknown, or ``path`` cannot be written.
    """
    path = Path(path)
    suffix(path, FORMATS)  # a wrong one is said before anything is drawn
    columns = [sweep for sweep in SWEEPS if report.get(sweep.key)]
    if not columns:
        if report["equilibrium"]["diverged"]:
            raise EpgraphError(f"{path} is not drawn: the states diverge, and there is no gradient to check")
        raise EpgraphError(f"{path} is not drawn: the report does not say how the gradient varies", "leave --quick out")

    network = report["network"]
    reference = network["reference"]
    names = [n for n in report["agreement"][f"estimator_{reference}"] if n != "all" and not n.startswith("bias of ")]
    colors = state_colors(names)
    figure = new_figure(4.2 * len(columns) + 2.2, 7)
    grid = figure.subplots(len(MEASURES), len(columns), sharex="col", sharey="row", squeeze=False)
    for axes_row, (measure, label) in zip(grid, MEASURES, strict=True):
        for axes, sweep in zip(axes_row, columns, strict=True):
            _panel(axes, report[sweep.key], sweep, measure, colors)
            configured = axes.axvline(network[sweep.key], color="#777777", linewidth=1, linestyle=":")
        axes_row[0].set_ylabel(label)
        _limits(axes_row, measure)
    for axes, sweep in zip(grid[-1], columns, strict=True):
        axes.set_xlabel(sweep.label)
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    handles["as configured"] = configured
    figure.legend(handles.values(), handles, loc="outside right upper", frameon=False, fontsize=9)
    against = REFERENCES[reference]
    title = f"{visible(network['name'])}: gradient of '{network['estimator']}' against {against}"
    # Names are no mathematics, whatever dollar signs they have.
    figure.suptitle(title, fontweight="bold", parse_math=False)
    return write(figure, path)


def _panel(axes: Axes, rows: Rows, sweep: Sweep, measure: str, colors: Mapping[str, Any]) -> None:
    at = [row[sweep.setting] for row in rows]
    lines: list[tuple[str, str, str, dict[str, Any]]]
    lines = [("estimator", name, name, {"color": color, "linewidth": 1.1}) for name, color in colors.items()]
    lines.append(("estimator", "all", "all parameters", {"color": "black", "linewidth": 2.4}))
    if sweep.beside is not None and sweep.beside in rows[0]:
        lines.append((sweep.beside, "all", f"{sweep.beside}, all", {"linewidth": 2, **BESIDE[sweep.beside]}))
    for column, name, label, style in lines:
        values = [_value(row[column][name][measure], measure) for row in rows]
        axes.plot(at, values, label=label, marker="o", markersize=3.5, **style)
    axes.set_xscale("log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xticks(at, [f"{value:.3g}" for value in at])
    axes.minorticks_off()


def _value(value: float | None, measure: str) -> float:
    if value is None:
        return math.nan
    return max(value, FLOOR) if measure == "error" else value


def _limits(row: Any, measure: str) -> None:
    shown = [v for axes in row for line in axes.get_lines() for v in line.get_ydata() if line.get_label()[0] != "_"]
    finite = [float(v) for v in shown if math.isfinite(v)]
    if measure == "error":
        row[0].set_yscale("log")
    elif finite:
        low = min(finite)
        margin = 0.05 * max(1 - low, 1e-6)
        row[0].set_ylim(low - margin, 1 + margin)
