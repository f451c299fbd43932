"""Check for paths from the input and to the output, in the direction of edges if the energy reads them forward."""

from __future__ import annotations

import networkx as nx

from epgraph.costs import COSTS
from epgraph.energies import ENERGIES
from epgraph.errors import Diagnostic
from epgraph.graph.checks.names import Ends
from epgraph.language import Architecture


def check_reach(architecture: Architecture, ends: list[Ends]) -> list[Diagnostic]:
    """Check that a path over states that move joins every state to the input and to the output."""
    if ENERGIES[architecture.energy].feedforward:
        return _directed(architecture, ends)
    source, sink = architecture.input.name, architecture.output.name
    moving: nx.Graph[str] = nx.Graph()
    moving.add_nodes_from([*architecture.states, sink])
    moving.add_edges_from((e.source, e.target) for e in ends if source not in (e.source, e.target))
    fed = {e.target if e.source == source else e.source for e in ends if source in (e.source, e.target)}
    reached: set[str] = set()
    # A readout feeds nothing back, so it cannot connect two components.
    through = moving.subgraph(architecture.states) if COSTS[architecture.output.cost].readout else moving
    for component in nx.connected_components(through):
        if component & fed:
            reached |= component
    if sink in fed or reached & set(moving[sink]):
        reached.add(sink)
    learns = nx.node_connected_component(moving, sink)
    return _told(architecture, reached, learns, "of edges joins it to")


def _directed(architecture: Architecture, ends: list[Ends]) -> list[Diagnostic]:
    """Check that every state has a path from the input, and one to the output, along the edges."""
    source, sink = architecture.input.name, architecture.output.name
    along: nx.DiGraph[str] = nx.DiGraph()
    along.add_nodes_from([source, *architecture.states, sink])
    along.add_edges_from((e.source, e.target) for e in ends)
    reached, learns = nx.descendants(along, source), nx.ancestors(along, sink) | {sink}
    return _told(architecture, reached, learns, "along the edges leads to it from")


def _told(architecture: Architecture, reached: set[str], learns: set[str], path: str) -> list[Diagnostic]:
    """Say which states are not reached, or do not learn; ``path`` says what a path would do."""
    source, sink = architecture.input.name, architecture.output.name
    diagnostics = []
    for name in architecture.states:
        if name not in reached:
            diagnostics.append(
                Diagnostic(
                    f"state '{name}' is unreachable: no path {path} the input '{source}'",
                    f"add an edge, e.g. {{from: {source}, to: {name}, …}}, or remove the state",
                    ("states", name),
                    on_key=True,
                    rule="unreachable",
                )
            )
        elif name not in learns and sink in reached:
            diagnostics.append(
                Diagnostic(
                    f"state '{name}' has no path to the output '{sink}', so it learns nothing",
                    f"add an edge from it towards '{sink}', or remove the state",
                    ("states", name),
                    on_key=True,
                    severity="warning",
                    rule="dead-end",
                )
            )
    if sink not in reached:
        diagnostics.append(
            Diagnostic(
                f"the output '{sink}' is not reachable from the input '{source}'",
                f"add an edge into '{sink}' from a state that the input reaches",
                ("output",),
                on_key=True,
                rule="unreachable",
            )
        )
    return diagnostics
