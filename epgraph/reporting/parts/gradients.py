"""How well the gradient of the learning rule agrees with the exact one, parameter by parameter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from epgraph.errors import EpgraphError
from epgraph.reporting.blocks import Block, Table, Text
from epgraph.reporting.context import Context, Part
from epgraph.reporting.runs import ReportedRun

MOST_ROWS = 100
"""Parameters that the table lists, the worst ones first where there are more."""


def _gradients(context: Context, run: ReportedRun) -> Iterator[Block]:
    if not context.gradients:
        raise EpgraphError("gradients were left out (--no-gradients)")
    from epgraph.gradient_check import check_gradient

    engine = context.loaded.engine(run, "float64")
    lacking = ""
    try:
        data = context.loaded.data(run)
    except EpgraphError as error:
        data, lacking = None, str(error)
    started = time.monotonic()
    weights = str(run.folder / "last.pt")
    result = check_gradient(engine, data, context.gradients, quick=True, weights=weights, lacking=lacking)
    yield Text(f"Verdict: {'; '.join(result.verdict)}.")
    tables = result.report.get("agreement")
    if not tables:
        return
    reference = result.report["network"]["reference"]
    table = tables[f"estimator_{reference}"]
    estimator = result.report["network"]["estimator"]
    rows = [
        [name, _number(a["cosine"], ".4f"), _number(a["error"], ".2e"), _number(a["signs"], ".1%")]
        for name, a in _sorted(table)
    ]
    yield Table(
        f"Gradient of '{estimator}' against the {reference} one, by parameter",
        ("parameter", "cosine", "relative error", "equal signs"),
        rows[:MOST_ROWS],
        numbers=True,
    )
    what = f"{context.gradients} examples of {data.name}" if data is not None else f"noise, because {lacking}"
    seconds = time.monotonic() - started
    yield Text(f"At the weights of the last checkpoint, in float64, on {what}; the check took {seconds:.1f} s.")
    if len(rows) > MOST_ROWS:
        yield Text(f"The {MOST_ROWS} parameters with the smallest cosines of {len(rows)} are listed.")


def _sorted(table: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return all parameters together first, and the worst ones first where there are too many."""
    rows = [(name, agreement) for name, agreement in table.items() if name != "all"]
    if len(rows) >= MOST_ROWS:
        rows.sort(key=lambda row: 2.0 if row[1]["cosine"] is None else row[1]["cosine"])
    return [("all parameters", table["all"]), *rows]


def _number(value: float | None, how: str) -> str:
    return "–" if value is None else format(value, how)


GRADIENTS = Part("Gradients", "gradients", None, _gradients, slow=True)
