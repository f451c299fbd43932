"""Which wirings have a feed-forward network: every edge read in its direction, from the input to the output."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx

from epgraph.energies.directed import arrows
from epgraph.errors import Diagnostic, listed
from epgraph.graph.network import NetworkGraph


def feedforward_refusals(graph: NetworkGraph) -> Iterator[tuple[str, str]]:
    """Yield why a network has no feed-forward network, and what to do: the edge or the cycle in the way."""
    source, sink = graph.input.name, graph.output.name
    wrong = False
    for edge in graph.edges.values():
        named = f"edge '{edge.name}' ({edge.kind.label()})"
        if edge.unary:
            reason, hint = f"acts on state '{edge.source}' itself, and a pass computes a state once", "leave it out"
        elif edge.target == source:
            reason, hint = f"leads into the input '{source}', which is clamped", "write it from the input"
        elif edge.source == sink:
            reason, hint = f"leads out of the output '{sink}', which a pass computes last", "write it into the output"
        else:
            continue
        wrong = True
        yield f"{named} {reason}", hint
    cycle = _cycle(graph)
    if cycle:
        round_trip = " → ".join([*cycle, cycle[0]])
        ends = set(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        edges = [edge.name for edge in graph.edges.values() if (edge.source, edge.target) in ends]
        yield (
            f"states {round_trip} form a cycle (edges {listed(edges)}), so that there is no order for a forward pass",
            "turn an edge of the cycle around, or leave it out",
        )
    elif not wrong and not nx.has_path(arrows(graph), source, sink):
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


def _cycle(graph: NetworkGraph) -> list[str]:
    """States of a cycle that edges form, in their direction; none without one."""
    inner = arrows(graph)
    inner.remove_nodes_from([graph.input.name, graph.output.name])
    try:
        return [start for start, _ in nx.find_cycle(inner)]
    except nx.NetworkXNoCycle:
        return []
