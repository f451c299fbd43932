"""What all plots share: axes with few lines, colors, and the file. Importing it loads no matplotlib."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from epgraph.drawing.formats import suffix
from epgraph.files import check_writable, write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
"""Suffixes of the files that a plot can be written to."""

PHASE_COLORS = {"free": "#0072b2", "+β": "#d55e00", "−β": "#009e73"}
"""Colors of the phases that color-blind readers tell apart."""


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of so many inches, which a notebook shows by itself.

    It does not belong to pyplot, which would keep a global state and may need a display.
    """
    from epgraph.drawing.shown_figure import ShownFigure

    return ShownFigure(figsize=(width, height), layout="constrained")


def check_figure(path: Path) -> None:
    """Refuse a path that ``write`` would refuse, before a figure is computed.

    Raises
    ------
    EpgraphError
        If the suffix is unknown, or the file must not be written.
    """
    suffix(path, FORMATS)
    check_writable(path)


def write(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure to a file, whose suffix is the format: ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    EpgraphError
        If the suffix is unknown, or the file cannot be written.
    """
    path = Path(path)
    picture = io.BytesIO()
    figure.savefig(picture, format=suffix(path, FORMATS), dpi=150)
    return write_bytes(path, picture.getvalue())


def divided(figure: Figure, counts: Sequence[int]) -> list[list[Axes]]:
    """Return rows of so many axes; each row is divided among its own, so that none leaves a hole."""
    columns = math.lcm(*counts)
    grid = figure.add_gridspec(len(counts), columns)
    return [
        [figure.add_subplot(grid[row, i * columns // n : (i + 1) * columns // n]) for i in range(n)]
        for row, n in enumerate(counts)
    ]


def plain(axes: Axes, title: str, unit: str, x: str) -> None:
    """Give axes a title and labels, whole numbers along x, a light grid, and no frame."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, fontweight="bold")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel(x)
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)


def scaled(axes: Axes, values: Iterable[float], *, log: bool, empty: str = "not recorded") -> None:
    """Choose the vertical scale of what is drawn: logarithmic, or linear from 0, with room above the largest value.

    Parameters
    ----------
    values
        All values that are drawn.
    log
        Whether values are drawn on a logarithmic scale if they span a decade or more; the label of the axis says it.
        A value of 0, such as the residual of an exact equilibrium, is left out there.
    empty
        What stands in the axes where no value is finite.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    finite = [value for value in values if math.isfinite(value)]
    positive = [value for value in finite if value > 0]
    if not finite:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, empty, transform=axes.transAxes, ha="center", va="center", color="#555555")
    elif log and positive and max(positive) >= 10 * min(positive):
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylabel(f"{axes.get_ylabel()}, log scale")
        low, high = math.log10(min(positive)), math.log10(max(positive))
        if math.floor(high) - math.ceil(low) < 2:  # fewer than three powers of ten
            axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
            axes.grid(which="minor", color="#dddddd", linewidth=0.6)
        else:
            axes.yaxis.set_major_locator(LogLocator(numticks=9))
            axes.yaxis.set_minor_formatter(NullFormatter())
    elif min(finite) >= 0:
        axes.set_ylim(0, 1.12 * max(finite) or 1)


def state_colors(names: Sequence[str]) -> dict[str, tuple[float, float, float, float]]:
    """Return a color for each state, from the input side to the output."""
    from matplotlib import colormaps

    palette = colormaps["viridis"]
    return {name: palette(0.92 * i / max(1, len(names) - 1)) for i, name in enumerate(names)}
