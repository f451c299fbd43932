"""Loss, error, residual, speed and memory of a training run, epoch by epoch, from its metrics file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from epgraph.drawing.figures import FORMATS, divided, new_figure, plain, scaled, write
from epgraph.drawing.formats import suffix
from epgraph.errors import EpgraphError
from epgraph.files import read_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Epochs = dict[int, dict[str, Any]]
"""Records of a metrics file by their epochs."""

MAX_MARKED_EPOCHS = 40
"""Largest number of epochs for which each point has a marker; beyond it the line alone is clearer."""


class Series(NamedTuple):
    """One curve: its key in the metrics and how it is drawn."""

    key: str
    label: str
    color: str
    style: str
    marker: str


class Panel(NamedTuple):
    """One set of axes. ``scale`` multiplies the values of the metrics file."""

    title: str
    unit: str
    scale: float
    log: bool
    series: tuple[Series, ...]


_TRAIN = ("#0072b2", "-", "o")
_TEST = ("#d55e00", "--", "s")
_VALIDATION = ("#cc79a7", "-.", "D")
_NUDGED = ("#00735c", ":", "^")

PANELS = (
    Panel(
        "Loss",
        "cost per example",
        1,
        True,
        (
            Series("train_loss", "train", *_TRAIN),
            Series("validation_loss", "validation", *_VALIDATION),
            Series("test_loss", "test", *_TEST),
        ),
    ),
    Panel(
        "Error",
        "wrong answers (%)",
        100,
        False,
        (
            Series("train_error", "train", *_TRAIN),
            Series("validation_error", "validation", *_VALIDATION),
            Series("test_error", "test", *_TEST),
        ),
    ),
    Panel(
        "Residual",
        "mean of the examples",
        1,
        True,
        (
            Series("train_residual", "train, free", *_TRAIN),
            Series("nudged_residual", "train, nudged", *_NUDGED),
            Series("test_residual", "test, free", *_TEST),
        ),
    ),
)

MEASURED_PANELS = (
    Panel(
        "Gradient",
        "cosine to that at rest",
        1,
        False,
        (
            Series("gradient_cosine", "as trained", *_TRAIN),
            Series("gradient_cosine_float32", "in float32", *_NUDGED),
        ),
    ),
    Panel("Speed", "images per second", 1, False, (Series("images_per_second", "train", *_TRAIN),)),
    Panel(
        "Peak memory",
        "MiB",
        1,
        False,
        (Series("peak_memory_mib", "process", *_TRAIN), Series("peak_device_memory_mib", "device", *_TEST)),
    ),
)
"""Panels that are drawn where they are recorded, which older runs did not do."""

MAX_BYTES = 2**28
"""Largest size of a metrics file: half a million epochs."""

MOST_IN_A_ROW = 3
"""Panels beside each other."""

MAX_EPOCH = 1e9
"""Larger numbers of an epoch are taken for damage."""


def curves(metrics: str | os.PathLike[str], path: str | os.PathLike[str]) -> Path:
    """Plot a run against epochs: loss, error and residual of train and test, images per second and peak memory.

    Parameters
    ----------
    metrics
        JSON lines as the trainer writes them, one object per epoch. A missing value is a gap in the plot, an
        incomplete line is skipped, and of a repeated epoch the last record counts.
    path
        File to write; its suffix is the format: ``.png``, ``.svg`` or ``.pdf``.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    EpgraphError
        If the metrics cannot be read or hold no epoch, the suffix is unknown, or ``path`` cannot be written.
    """
    path = Path(path)
    suffix(path, FORMATS)  # a wrong one is said before anything is drawn
    epochs = read_metrics(Path(metrics))
    if not epochs:
        raise EpgraphError(f"{metrics}: holds no epoch", "train for at least one epoch")
    draw_curves(epochs, path)
    return path


def draw_curves(
    epochs: Epochs, path: str | os.PathLike[str] | None = None, panels: Sequence[Panel] | None = None
) -> Figure:
    """Plot the records of epochs, by their numbers, as ``curves`` does; with a path also write the figure.

    ``panels``: which; left out, all that are recorded.

    Raises
    ------
    EpgraphError
        If there is no epoch, the suffix is unknown, or ``path`` cannot be written.
    """
    if path is not None:
        suffix(Path(path), FORMATS)
    if not epochs:
        raise EpgraphError("there is no epoch to draw", "train for at least one epoch")
    panels = panels or [*PANELS, *(panel for panel in MEASURED_PANELS if _recorded(panel, epochs))]
    # Of a forward pass every residual is 0, which a logarithmic axis cannot show.
    panels = [one for one in panels if not (one.log and _recorded(one, epochs) and not _recorded(one, epochs, 0.0))]
    rows = math.ceil(len(panels) / MOST_IN_A_ROW)
    counts = [len(panels) // rows + (row < len(panels) % rows) for row in range(rows)]
    figure = new_figure(4 * max(counts), 3.8 * rows)
    grid = [axes for row in divided(figure, counts) for axes in row]
    for axes, panel in zip(grid, panels, strict=True):
        _draw(axes, panel, epochs)
    if path is not None:
        write(figure, path)
    return figure


def read_metrics(path: Path) -> Epochs:
    """Return the records of a metrics file by epoch, in order.

    Raises
    ------
    EpgraphError
        If the file cannot be read.
    """
    text = read_bytes(path, MAX_BYTES, "give the metrics.jsonl of a run").decode(errors="replace")
    records: Epochs = {}
    for line in text.splitlines():
        # A killed run may leave half a line, which is in the middle of the file once the run resumes.
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        epoch = _number(record.get("epoch")) if isinstance(record, dict) else math.nan
        if abs(epoch) < MAX_EPOCH:
            records[int(epoch)] = record
    return dict(sorted(records.items()))


def _recorded(panel: Panel, epochs: Epochs, above: float = -math.inf) -> bool:
    """Whether a panel has values, or values above a number."""
    values = (_number(record.get(series.key)) for series in panel.series for record in epochs.values())
    return any(math.isfinite(value) and value > above for value in values)


def _draw(axes: Axes, panel: Panel, epochs: Epochs) -> None:
    plotted: list[float] = []
    for series in panel.series:
        values = [panel.scale * _number(record.get(series.key)) for record in epochs.values()]
        finite = [value for value in values if math.isfinite(value)]
        if not finite or (panel.log and not any(value > 0 for value in finite)):
            continue
        plotted += finite
        axes.plot(
            list(epochs),
            values,
            label=series.label,
            color=series.color,
            linestyle=series.style,
            # A value between two gaps is no line: only a marker shows it.
            marker=series.marker if min(len(epochs), len(finite)) <= MAX_MARKED_EPOCHS else None,
            markersize=4,
            linewidth=1.6,
        )
    plain(axes, panel.title, panel.unit, "epoch")
    scaled(axes, plotted, log=panel.log)
    if not plotted:
        return
    first, last = min(epochs), max(epochs)
    pad = max(0.5, 0.02 * (last - first))
    axes.set_xlim(first - pad, last + pad)
    axes.legend(frameon=False)


def _number(value: object) -> float:
    """Return a number, or NaN for anything else: a gap in the plot."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer of hundreds of digits
        return math.nan
