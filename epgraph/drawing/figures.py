"""What all plots share: axes with few lines, colours, and the file. Importing it loads no matplotlib."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from epgraph.drawing.formats import suffix
from epgraph.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
"""Suffixes of the files that a plot can be written to."""

PHASE_COLORS = {"free": "#0072b2", "+β": "#d55e00", "−β": "#009e73"}
"""Colours of the phases that colour-blind readers tell apart."""


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of so many inches, which a notebook shows by itself.

    It does not belong to pyplot, which would keep a global state and may need a display.
    """
    from epgraph.drawing.shown_figure import ShownFigure

    return ShownFigure(figsize=(width, height), layout="constrained")


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


def plain(axes: Axes, title: str, unit: str, x: str) -> None:
    """Give axes a title and labels, a light grid, and no frame."""
    axes.set_title(title, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)


def state_colors(names: Sequence[str]) -> dict[str, tuple[float, float, float, float]]:
    """Return a colour for each state, from the input side to the output."""
    from matplotlib import colormaps

    palette = colormaps["viridis"]
    return {name: palette(0.92 * i / max(1, len(names) - 1)) for i, name in enumerate(names)}
