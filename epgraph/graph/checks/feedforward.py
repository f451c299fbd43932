"""Which wirings have a feed-forward network: every edge read in its direction, from the input to the output."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx

from epgraph.energies.directed import arrows
from epgraph.energies.predictive_checks import misdirected
from epgraph.errors import Diagnostic, listed
from epgraph.graph.network import NetworkGraph


def feedforward_refusals(graph: NetworkGraph) -> Iterator[tuple[str, str]]:
    """Yield why a network has no feed-forward network, and what to do: the edge or the cycle in the way."""
    source, sink = graph.input.name, graph.output.name
    wrong = False
    for _, edge, reason, hint in misdirected(graph):
        wrong = True
        yield f"edge '{edge.name}' {reason}", hint
    if not wrong and not nx.has_path(arrows(graph), source, sink):
        yield f"no path along the edges leads from the input '{source}' to the output '{sink}'", "turn edges around"


def unheard(graph: NetworkGraph) -> Iterator[Diagnostic]:
    """Yield a warning for states from which no path along the edges leads to the output: they learn nothing."""
    heard = nx.ancestors(arrows(graph), graph.output.name) | {graph.output.name}
    silent = [name for name in graph.free if name not in heard]
    if silent:
        yield Diagnostic(
            f"no path along the edges leads from {listed(silent)} to the output '{graph.output.name}': nothing "
            "learns there",
            "turn edges around: a forward pass reads each in its direction",
            ("edges",),
            severity="warning",
            rule="unheard",
        )
