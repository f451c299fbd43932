"""An engine in a notebook: its edges and states with their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from epgraph.kinds import shape_text
from epgraph.notebook.html import page, table

if TYPE_CHECKING:
    from epgraph.engine import Engine


def engine(network: Engine) -> dict[str, str]:
    """Show an engine as tables of edges and states."""
    graph = network.graph
    edges = [
        (
            edge.name,
            edge.kind.label(),
            shape_text(edge.weight_shape) if edge.weight_shape else "–",
            f"that of {edge.tied}" if edge.tied else f"{edge.parameters:,}{', frozen' * edge.frozen}",
        )
        for edge in graph.edges.values()
    ]
    states = [
        (s.name, shape_text(s.shape), "clamped" if s.clamped else s.activation.label, f"{sum(s.bias_shape or ()):,}")
        for s in graph.states.values()
    ]
    return page(
        repr(network),
        table(("edge", "kind", "weight", "parameters"), edges),
        table(("state", "shape", "activation", "biases"), states),
    )
