"""Learning curves of several settings: the mean over seeds, and the range of the seeds as a band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from epgraph.drawing.curves import MAX_MARKED_EPOCHS
from epgraph.drawing.figures import FORMATS, new_figure, plain, scaled, write
from epgraph.drawing.formats import suffix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#00735c", "#cc79a7", "#8a6d00", "#56b4e9", "#555555", "#7a3e9d")
"""Told apart by the color-blind too; they repeat with another style of line."""

STYLES = ("-", "--", ":", "-.")

MOST_BANDS = 12
"""Settings that are drawn: more cannot be told apart."""


class BandPanel(NamedTuple):
    """One set of axes. ``scale`` multiplies the values of the metric."""

    title: str
    unit: str
    metric: str
    scale: float = 1
    log: bool = False


PANELS = (
    BandPanel("Test error", "wrong answers (%)", "test_error", 100, log=True),
    BandPanel("Training loss", "cost per example", "train_loss", log=True),
)


@dataclass(frozen=True)
class Band:
    """The curves of one setting: for each metric and epoch, the values of all its runs."""

    label: str
    epochs: list[int]
    values: dict[str, list[list[float]]]


def learning_curves(bands: Sequence[Band], path: Path) -> Path:
    """Draw test error and training loss against epochs, on logarithmic axes where they span a decade.

    Raises
    ------
    EpgraphError
        If the suffix is unknown, or ``path`` cannot be written.
    """
    suffix(path, FORMATS)  # a wrong one is said before anything is drawn
    return write(learning_figure(bands), path)


def learning_figure(bands: Sequence[Band], panels: Sequence[BandPanel] = PANELS) -> Figure:
    """Return the figure that ``learning_curves`` writes, or one of other metrics."""
    shown = bands[:MOST_BANDS]
    figure = new_figure(2 + 4 * len(panels), 4.2 + 0.22 * len(shown))
    grid = figure.subplots(1, len(panels))
    for axes, panel in zip(grid, panels, strict=True):
        _draw(axes, shown, panel)
    drawn = next((axes for axes in grid if axes.lines), grid[0])
    more = f"the first {MOST_BANDS} of {len(bands)} settings" if len(bands) > MOST_BANDS else ""
    figure.legend(
        *drawn.get_legend_handles_labels(),
        loc="outside lower center",
        frameon=False,
        fontsize="small",
        title="; ".join(filter(None, [_drawn(shown), more])) or None,
    )
    return figure


def _drawn(bands: Sequence[Band]) -> str:
    """Say what lines and areas are; nothing of one seed, whose curve is the run itself."""
    several = [band for band in bands if any(len(column) > 1 for values in band.values.values() for column in values)]
    if not several:
        return ""
    # The range is an area: it needs two epochs.
    return "mean, and range of the seeds" if any(len(band.epochs) > 1 for band in several) else "mean of the seeds"


def _draw(axes: Axes, bands: Sequence[Band], panel: BandPanel) -> None:
    plain(axes, panel.title, panel.unit, "epoch")
    drawn: list[float] = []
    for number, band in enumerate(bands):
        columns = [[panel.scale * value for value in column] for column in band.values.get(panel.metric, ())]
        if not columns:
            continue
        drawn += [value for column in columns for value in column]
        color, style = COLORS[number % len(COLORS)], STYLES[number // len(COLORS) % len(STYLES)]
        runs = max(map(len, columns))
        mean = [math.fsum(column) / len(column) for column in columns]
        marker = "o" if len(band.epochs) <= MAX_MARKED_EPOCHS else None
        label = f"{band.label} ({runs} {'seed' if runs == 1 else 'seeds'})"
        axes.plot(band.epochs, mean, color=color, linestyle=style, marker=marker, markersize=3, label=label)
        if runs > 1 and len(band.epochs) > 1:
            low, high = map(min, columns), map(max, columns)
            axes.fill_between(band.epochs, list(low), list(high), color=color, alpha=0.2, linewidth=0)
    scaled(axes, drawn, log=panel.log)
