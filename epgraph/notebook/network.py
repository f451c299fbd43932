"""A network in a notebook: its diagram, or a table where that would take too long."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from epgraph.drawing import render
from epgraph.graph import NetworkGraph, build
from epgraph.kinds import shape_text
from epgraph.language import Architecture
from epgraph.notebook.html import page, table

MOST_DRAWN = 60
"""States and edges together up to which a network is drawn: a layout takes up to half a second there."""


def architecture(network: Architecture) -> dict[str, str]:
    """Show an architecture as a diagram; a large one as a table."""
    if len(network.states) + 2 + len(network.edges) <= MOST_DRAWN:
        with TemporaryDirectory() as folder:
            path = render(network, Path(folder) / "network.svg", report=lambda note: None)
            picture = path.read_text(encoding="utf-8")
        return {"image/svg+xml": picture[max(0, picture.find("<svg")) :]}
    return _tables(build(network))


def graph(network: NetworkGraph) -> dict[str, str]:
    """Show a graph as its architecture."""
    return architecture(network.architecture)


def _tables(network: NetworkGraph) -> dict[str, str]:
    states = [
        (s.name, shape_text(s.shape), "clamped" if s.clamped else s.activation.label) for s in network.states.values()
    ]
    edges = [(e.name, f"{e.source} → {e.target}", e.kind.label(), f"{e.parameters:,}") for e in network.edges.values()]
    return page(
        repr(network),
        table(("state", "shape", "activation"), states),
        table(("edge", "from → to", "kind", "parameters"), edges),
    )
