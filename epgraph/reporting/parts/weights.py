"""How the weights of each edge are distributed, beside those of a run by backpropagation on the same wiring."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from epgraph.drawing.figures import new_figure
from epgraph.errors import EpgraphError
from epgraph.reporting.blocks import Block, Picture, Table, Text
from epgraph.reporting.context import Context, Part
from epgraph.reporting.pictures import line_style, short
from epgraph.reporting.runs import ReportedRun

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEAR_ZERO = 0.01
"""Weights below this size are near zero, as in Fig. 4 of the paper."""

BINS = 60
MOST_PANELS = 24
"""Edges that are drawn."""

MOST_ROWS = 200
"""Edges that the table lists."""

SHOWN_SHARE = 0.995
"""Share of the weights that the horizontal axis shows."""

COLUMNS = 4


@dataclass(frozen=True)
class Weights:
    """The weights of a run by the names of its edges, flat and in float32."""

    run: ReportedRun
    edges: dict[str, Any]
    """NumPy arrays."""

    @property
    def wiring(self) -> tuple[tuple[str, int], ...]:
        """What two runs have in common whose weights can be compared."""
        return tuple((name, len(values)) for name, values in self.edges.items())


def near_zero(values: Any) -> float:
    """Return the share of weights that are near zero."""
    return float((abs(values) < NEAR_ZERO).mean())


def _weights(context: Context) -> Iterator[Block]:
    wirings: dict[object, list[Weights]] = {}
    for run in context.shown:
        try:
            found = _read(context, run)
        except EpgraphError as error:
            yield from context.attempt(WEIGHTS.title, run, partial(_refuse, run, error))
            continue
        wirings.setdefault(found.wiring, []).append(found)
    for number, group in enumerate(wirings.values(), 1):
        yield from context.attempt(WEIGHTS.title, group[0].run, partial(_wiring, context, group, number))


def _refuse(run: ReportedRun, error: EpgraphError) -> Iterator[Block]:
    yield from ()
    raise EpgraphError(f"the weights of {run.label}: {error}")


def _read(context: Context, run: ReportedRun) -> Weights:
    parameters = context.loaded.engine(run).state_dict()
    weights = {name: value for name, value in parameters.items() if name.endswith(".weight") and value.numel()}
    return Weights(run, {n.split(".")[1]: v.detach().float().flatten().cpu().numpy() for n, v in weights.items()})


def _wiring(context: Context, group: Sequence[Weights], number: int) -> Iterator[Block]:
    edges = list(group[0].edges)
    if not edges:
        raise EpgraphError(f"{group[0].run.label} has no edge with weights")
    labels = [one.run.label for one in group]
    yield _beside(group)
    yield _picture(context, group, edges[:MOST_PANELS], number)
    head = ["edge", "weights", *(f"{what}, {label}" for label in labels for what in ("near zero", "deviation"))]
    rows = [
        [
            edge,
            f"{len(group[0].edges[edge]):,}",
            *(text for one in group for text in (f"{near_zero(one.edges[edge]):.1%}", f"{one.edges[edge].std():.3g}")),
        ]
        for edge in edges[:MOST_ROWS]
    ]
    everything = [f"{_share(one):.1%}" for one in group]
    total = ["all", f"{sum(map(len, group[0].edges.values())):,}", *(t for share in everything for t in (share, "–"))]
    yield Table(
        f"Share of near-zero weights (|w| < {NEAR_ZERO}), and standard deviation", head, [*rows, total], numbers=True
    )
    if len(edges) > MOST_PANELS:
        yield Text(
            f"The first {MOST_PANELS} of {len(edges)} edges are drawn, and at most {MOST_ROWS} are in the table."
        )


def _beside(group: Sequence[Weights]) -> Text:
    # A label may have commas itself.
    by_backprop = [f"“{one.run.label}”" for one in group if one.run.by_backprop]
    others = [f"“{one.run.label}”" for one in group if not one.run.by_backprop]
    if by_backprop and others:
        return Text(f"{', '.join(others)} beside backpropagation on the same wiring ({', '.join(by_backprop)}).")
    if by_backprop:
        return Text(f"{', '.join(by_backprop)}: trained by backpropagation; no run of EP here has the same wiring.")
    return Text(
        f"{', '.join(others)}: no run by backpropagation here has the same wiring. To compare, add one that was "
        "trained with --set learning.estimator=backprop."
    )


def _share(one: Weights) -> float:
    counts = [(near_zero(values), len(values)) for values in one.edges.values()]
    return math.fsum(share * count for share, count in counts) / sum(count for _, count in counts)


def _picture(context: Context, group: Sequence[Weights], edges: Sequence[str], number: int) -> Picture:
    labels = ", ".join(f"“{one.run.label}”" for one in group)
    return context.picture(
        f"weights-{number}",
        f"Distribution of the weights of each edge of {labels}; the dotted lines are ±{NEAR_ZERO}.",
        f"Histograms of the weights of {len(edges)} edges of {labels}. The table below has shares and deviations.",
        lambda: _figure(group, edges),
    )


def _figure(group: Sequence[Weights], edges: Sequence[str]) -> Figure:
    import numpy as np

    columns = min(COLUMNS, len(edges))
    rows = -(-len(edges) // columns)
    figure = new_figure(2.75 * columns, 1.9 * rows + 0.5)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, edge in zip(panels, edges, strict=False):
        span = max(float(np.quantile(abs(one.edges[edge]), SHOWN_SHARE)) for one in group) or NEAR_ZERO
        for i, one in enumerate(group):
            density, at = np.histogram(one.edges[edge], BINS, range=(-span, span), density=True)
            # Constant weights beyond the range leave nothing to divide by.
            axes.stairs(np.nan_to_num(density), at, label=short(one.run.label), linewidth=1.3, **line_style(i))
        for at_zero in (-NEAR_ZERO, NEAR_ZERO) if span > NEAR_ZERO else ():
            axes.axvline(at_zero, color="#555555", linewidth=0.7, linestyle=":")
        axes.set_title(short(edge), fontsize="medium")
        axes.set(yticks=[])
        axes.locator_params(axis="x", nbins=4)
        axes.spines[["top", "right", "left"]].set_visible(False)
    for axes in panels[len(edges) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", frameon=False, ncols=min(3, len(group)), fontsize="small"
    )
    return figure


WEIGHTS = Part("Weights", "weights", _weights)
