"""Learning curves of several settings: the mean over seeds, and the range of the seeds as a band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from epgraph.drawing.curves import MAX_MARKED_EPOCHS
from epgraph.drawing.figures import FORMATS, new_figure, write
from epgraph.drawing.formats import suffix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#00735c", "#cc79a7", "#8a6d00", "#56b4e9", "#555555", "#7a3e9d")
"""Told apart by the color-blind too; they repeat with another style of line."""

STYLES = ("-", "--", ":", "-.")

MOST_BANDS = 12
"""Settings that are drawn: more cannot be told apart."""

PANELS = (
    ("Test error", "wrong answers (%)", "test_error", 100),
    ("Training loss", "cost per example", "train_loss", 1),
)


@dataclass(frozen=True)
class Band:
    """The curves of one setting: for each metric and epoch, the values of all its runs."""

    label: str
    epochs: list[int]
    values: dict[str, list[list[float]]]


def learning_curves(bands: Sequence[Band], path: Path) -> Path:
    """Draw test error and training loss against epochs, on logarithmic axes.

    Raises
    ------
    EpgraphError
        If the suffix is unknown, or ``path`` cannot be written.
    """
    suffix(path, FORMATS)  # a wrong one is said before anything is drawn
    return write(learning_figure(bands), path)


def learning_figure(bands: Sequence[Band]) -> Figure:
    """Return the figure that ``learning_curves`` writes."""
    shown = bands[:MOST_BANDS]
    figure = new_figure(10, 4.2 + 0.22 * len(shown))
    panels = figure.subplots(1, len(PANELS))
    for axes, panel in zip(panels, PANELS, strict=True):
        _draw(axes, shown, *panel)
    drawn = next((axes for axes in panels if axes.lines), panels[0])
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


def _draw(axes: Axes, bands: Sequence[Band], title: str, unit: str, metric: str, scale: float) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, StrMethodFormatter

    for number, band in enumerate(bands):
        columns = band.values.get(metric)
        if columns is None:
            continue
        color, style = COLORS[number % len(COLORS)], STYLES[number // len(COLORS) % len(STYLES)]
        runs = max(len(column) for column in columns)
        mean = [scale * math.fsum(column) / len(column) for column in columns]
        low, high = ([scale * side(column) for column in columns] for side in (min, max))
        marker = "o" if len(band.epochs) <= MAX_MARKED_EPOCHS else None
        label = f"{band.label} ({runs} {'seed' if runs == 1 else 'seeds'})"
        axes.plot(band.epochs, mean, color=color, linestyle=style, marker=marker, markersize=3, label=label)
        if runs > 1 and len(band.epochs) > 1:
            axes.fill_between(band.epochs, low, high, color=color, alpha=0.2, linewidth=0)
    axes.set_title(title, fontweight="bold")
    axes.set_xlabel("epoch")
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    if not axes.lines:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center", color="#555555")
        return
    axes.set_yscale("log", nonpositive="mask")
    axes.set_ylabel(f"{unit}, log scale")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(which="both", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
