"""``ep.report``: runs as one page for a colleague. The command line calls it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from epgraph.api_arguments import own_examples, whole
from epgraph.arguments import choice, flag, several, text, whole_number
from epgraph.arguments import path as file_path
from epgraph.errors import EpgraphError
from epgraph.language.sweep import METRICS

if TYPE_CHECKING:
    from epgraph.data import Data
    from epgraph.reporting.report import ReportResult

__all__ = ["report"]

GRADIENTS = 4
"""Examples on which gradients are checked: few, because the exact gradient costs hundreds of sweeps."""


def report(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str] = "report.html",
    *,
    format: str | None = None,
    figures: bool = True,
    gradients: int = GRADIENTS,
    examples: int = 64,
    metric: str = "test_error",
    data: str | Data | Any = None,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    limit: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> ReportResult:
    """Write one self-contained file about runs: networks, curves, tests, weights, equilibria, gradients, predictions.

    ``docs/report.md`` describes the sections. A section that cannot be made says why in its place.

    Parameters
    ----------
    runs
        Run folders and sweep folders, finished or not; one alone need not be in a list.
    path
        File to write: ``.html``, or ``.md`` for Markdown, whose figures are files beside it.
    format
        ``html`` or ``md``; left out, by the suffix of ``path``.
    figures
        Whether figures are also written as PNG and SVG, into the folder ``PATH-figures`` beside the report.
    gradients
        Training examples on which gradients are compared with the exact ones; 0 leaves that out.
    examples
        Test examples that are let settle.
    metric
        What is tested between settings; where runs do not have it, the loss.
    data, data_root, download, limit, device, threads
        As for ``evaluate``: which test examples are predicted, and where.
    progress
        As for ``train``.

    Raises
    ------
    EpgraphError
        If a path is neither a run nor a sweep, an option has a mistake, or a file cannot be written.

    Example
    -------
    >>> import epgraph as ep
    >>> run = ep.train("examples/digits.yaml", "digits", out="runs/demo", limit=64, epochs=1, pictures=False)
    >>> result = ep.report("runs/demo", "report.html", gradients=0, figures=False)
    >>> result.path.read_text(encoding="utf-8")[:15], len(result.runs)
    ('<!DOCTYPE html>', 1)
    """
    from epgraph.reporting.context import Context
    from epgraph.reporting.report import format_of, write_report
    from epgraph.reporting.runs import MOST_SHOWN, Loaded, read_all, representatives

    named = [runs] if isinstance(runs, str | os.PathLike) else several("runs", runs)
    if not named:
        raise EpgraphError("no run is named", "e.g. epgraph report runs/a runs/b")
    folders = [file_path("runs", one) for one in named]
    out = file_path("path", path)
    written = format_of(out, None if format is None else cast(Any, choice("format", format, ("html", "md"))))
    given = data if isinstance(data, str) else own_examples(data)
    loaded = Loaded(
        given,
        data_root=None if data_root is None else file_path("data_root", data_root),
        download=flag("download", download),
        limit=whole("limit", limit),
        device=None if device is None else text("device", device, "e.g. 'cpu'"),
        threads=whole("threads", threads),
    )
    beside = flag("figures", figures)
    count, checked = whole_number("examples", examples, 1), whole_number("gradients", gradients, 0)
    shown = flag("progress", progress)
    found, comparison, notes = read_all(folders, choice("metric", metric, METRICS))
    context = Context(found, representatives(found)[:MOST_SHOWN], comparison, notes, loaded, checked, count, beside)
    return write_report(context, out, written, progress=shown)
