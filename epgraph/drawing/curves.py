"""Loss, error and residual of a training run, epoch by epoch, from its metrics file."""

from __future__ import annotations

import io
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from epgraph.drawing.formats import suffix
from epgraph.errors import EpgraphError
from epgraph.files import read_bytes, write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("png", "svg", "pdf")
"""Suffixes that ``curves`` writes."""

MARKED = 40
"""Most epochs whose points are marked one by one; beyond that the line alone is clearer."""


class Series(NamedTuple):
    """One curve: its key in the metrics and how it is drawn."""

    key: str
    label: str
    color: str
    style: str
    marker: str


class Panel(NamedTuple):
    """One set of axes. ``scale`` multiplies what the metrics hold."""

    title: str
    unit: str
    scale: float
    log: bool
    series: tuple[Series, ...]


_TRAIN = ("#0072b2", "-", "o")
_TEST = ("#d55e00", "--", "s")
_NUDGED = ("#00735c", ":", "^")

PANELS = (
    Panel(
        "Loss",
        "cost per example",
        1,
        True,
        (Series("train_loss", "train", *_TRAIN), Series("test_loss", "test", *_TEST)),
    ),
    Panel(
        "Error",
        "wrong answers (%)",
        100,
        False,
        (Series("train_error", "train", *_TRAIN), Series("test_error", "test", *_TEST)),
    ),
    Panel(
        "Residual",
        "relative residual",
        1,
        True,
        (
            Series("train_residual", "train, free", *_TRAIN),
            Series("nudged_residual", "train, nudged", *_NUDGED),
            Series("test_residual", "test, free", *_TEST),
        ),
    ),
)


MAX_BYTES = 2**28
"""What a metrics file may have at most: half a million epochs."""

LATEST = 1e9
"""Epochs from here on are no numbers of epochs."""


def curves(metrics: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """Plot a run: loss, error and residual, train and test, against epochs.

    Parameters
    ----------
    metrics
        JSON lines as the trainer writes them, an object an epoch. What is missing is left out of the plot; a
        line that was cut short is passed over, and of an epoch that was run again the last counts.
    path
        File to write; the suffix says how: ``.png``, ``.svg`` or ``.pdf``.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    EpgraphError
        Where the metrics cannot be read or hold no epoch, the suffix is unknown, or ``path`` cannot be
        written.
    """
    path = Path(path)
    format = suffix(path, FORMATS)
    epochs = read_metrics(Path(metrics))
    if not epochs:
        raise EpgraphError(f"{metrics}: holds no epoch", "train for at least one epoch")

    from matplotlib.figure import Figure

    # A figure of its own, not pyplot's: nothing is left behind in global state and no display is needed.
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        _draw(axes, panel, epochs)
    picture = io.BytesIO()
    figure.savefig(picture, format=format, dpi=150)
    return write_bytes(path, picture.getvalue())


def read_metrics(path: Path) -> dict[int, dict[str, Any]]:
    """Return the records of a metrics file by epoch, in order.

    Raises
    ------
    EpgraphError
        Where the file cannot be read.
    """
    text = read_bytes(path, MAX_BYTES, "give the metrics.jsonl of a run").decode(errors="replace")
    records: dict[int, dict[str, Any]] = {}
    for line in text.splitlines():
        # A run killed while it writes leaves half a line, which is mid-file once the run is resumed.
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        epoch = _number(record.get("epoch")) if isinstance(record, dict) else math.nan
        if abs(epoch) < LATEST:
            records[int(epoch)] = record
    return dict(sorted(records.items()))


def _draw(axes: Axes, panel: Panel, epochs: dict[int, dict[str, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    drawn: list[float] = []
    for series in panel.series:
        values = [panel.scale * _number(record.get(series.key)) for record in epochs.values()]
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            continue
        drawn += finite
        axes.plot(
            list(epochs),
            values,
            label=series.label,
            color=series.color,
            linestyle=series.style,
            # A value between two gaps has no line to show it.
            marker=series.marker if min(len(epochs), len(finite)) <= MARKED else None,
            markersize=4,
            linewidth=1.6,
        )
    axes.set_title(panel.title, fontweight="bold")
    axes.set_xlabel("epoch")
    axes.set_ylabel(panel.unit)
    axes.spines[["top", "right"]].set_visible(False)
    if not drawn:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", va="center", color="#555555")
        return
    if panel.log and max(drawn) > 0:
        # A network that settles completely has a residual of 0, which a logarithm can only leave out.
        axes.set_yscale("log", nonpositive="mask")
    else:
        axes.set_ylim(0, 1.08 * max(drawn) or 1)
    first, last = min(epochs), max(epochs)
    pad = max(0.5, 0.02 * (last - first))
    axes.set_xlim(first - pad, last + pad)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)


def _number(value: object) -> float:
    """Return a number, or NaN, which leaves a gap, for anything else."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer of hundreds of digits
        return math.nan
