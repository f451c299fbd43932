"""The diagram of each network, and its states and edges as tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from epgraph.comparison.runs import names_of, settings_of
from epgraph.drawing import render
from epgraph.errors import EpgraphError
from epgraph.graph import Edge, NetworkGraph, build
from epgraph.kinds import shape_text
from epgraph.reporting.blocks import Block, Details, Heading, Picture, Table, Text
from epgraph.reporting.context import Context, Part
from epgraph.reporting.runs import MOST_SHOWN, ReportedRun
from epgraph.reporting.themed import themed

MOST_ROWS = 200
"""States and edges that a table lists."""

MOST_BYTES = 1 << 20
"""Largest diagram within a page."""

_WIRING = ("name", "input", "output", "states", "edges", "energy")
_DRAWN = ("dynamics.schedule", "learning.estimator")
"""Keys that a diagram shows besides."""


def _networks(context: Context) -> Iterator[Block]:
    distinct: dict[str, list[ReportedRun]] = {}
    for run in context.runs:
        settings = run.record.settings
        wiring = {key: settings.get(key) for key in _WIRING} | {"schedule": settings["dynamics"]["schedule"]}
        wiring["backprop"] = run.by_backprop  # which is drawn as a forward pass
        distinct.setdefault(json.dumps(wiring, sort_keys=True), []).append(run)
    shown = list(distinct.values())[:MOST_SHOWN]
    for number, (runs, heading) in enumerate(zip(shown, _headings(shown), strict=True), 1):
        yield from context.attempt(NETWORKS.title, runs[0], partial(_network, context, runs, number, heading))
    if len(distinct) > MOST_SHOWN:
        yield Text(f"{len(distinct) - MOST_SHOWN} more networks are not drawn.")


def _headings(distinct: Sequence[list[ReportedRun]]) -> list[str]:
    """Return the name of each network; where some have one name, what differs between them."""
    names = [str(runs[0].record.settings["name"]) for runs in distinct]
    if len(set(names)) == len(names):
        return names
    settings = [
        {k: v for k, v in settings_of(runs[0].record).items() if k.partition(".")[0] in _WIRING or k in _DRAWN}
        for runs in distinct
    ]
    own = names_of(settings, [runs[0].label for runs in distinct])
    return [f"{name}: {one}" for name, one in zip(names, own, strict=True)]


def _network(context: Context, runs: list[ReportedRun], number: int, heading: str) -> Iterator[Block]:
    graph = build(runs[0].architecture)
    name = graph.architecture.name
    size = f"{len(graph.states)} states, {len(graph.edges)} edges, {graph.parameters():,} parameters"
    yield Heading(heading)
    labels = list(dict.fromkeys(run.label for run in runs))  # they have commas
    yield Text(f"Network of {'; '.join(labels[:MOST_SHOWN])}{'; …' * (len(labels) > MOST_SHOWN)}: {size}.")
    picture, note = _drawn(
        context, graph, number, f"Diagram of the network {name}: {size}. The tables below list them."
    )
    if len(picture.inline) <= MOST_BYTES:
        yield picture
    else:
        yield Text("The diagram is too large for a page; 'epgraph render' draws it.", missing=True)
    if note:
        yield Text(note)
    yield Details("States and edges as tables", list(_tables(graph)))


def _drawn(context: Context, graph: NetworkGraph, number: int, description: str) -> tuple[Picture, str]:
    notes: list[str] = []
    files: dict[str, bytes] = {}
    stem = f"network-{number}"
    with TemporaryDirectory(prefix="epgraph-report-") as folder:
        for suffix in ("svg", "png") if context.figures else ("svg",):
            try:
                drawn = render(graph.architecture, Path(folder, f"{stem}.{suffix}"), report=notes.append)
                files[suffix] = drawn.read_bytes()
            except EpgraphError:
                if suffix == "svg":
                    raise
                # A Graphviz without cairo draws no PNG.
    caption = "Boxes are states, colored by the class in which they move; lines are edges, by their kind."
    inline = themed(files["svg"], f"{stem}-")
    return Picture(stem, caption, description, inline, files), notes[0].partition(": ")[2] if notes else ""


def _tables(graph: NetworkGraph) -> Iterator[Block]:
    states = [
        [s.name, shape_text(s.shape), s.role, "–" if s.clamped else s.activation.label] for s in graph.states.values()
    ]
    yield Table("States", ("state", "shape", "role", "activation"), states[:MOST_ROWS])
    edges = [[e.name, e.source, e.target, _kind(e), f"{e.parameters:,}"] for e in graph.edges.values()]
    yield Table("Edges", ("edge", "from", "to", "kind", "weights"), edges[:MOST_ROWS])
    if max(len(states), len(edges)) > MOST_ROWS:
        yield Text(f"Tables end after {MOST_ROWS} rows.")


def _kind(edge: Edge) -> str:
    """Return the label of an edge, which names the kind."""
    label = edge.kind.label()
    return label if label.startswith(edge.kind.name) else f"{edge.kind.name} {label}"


NETWORKS = Part("Networks", "networks", _networks)
