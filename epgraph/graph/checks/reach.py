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
    cut_off: list[set[str]] = []
    # A readout feeds nothing back, so it cannot connect two components.
    through = moving.subgraph(architecture.states) if COSTS[architecture.output.cost].readout else moving
    for component in nx.connected_components(through):
        if component & fed:
            reached |= component
        else:
            cut_off.append(component)
    if sink in fed or reached & set(moving[sink]):
        reached.add(sink)
    learns = nx.node_connected_component(moving, sink)
    follows = bool(set(moving[sink]) - reached)
    return _told(architecture, reached, learns, "of edges joins it to", cut_off, follows)


def _directed(architecture: Architecture, ends: list[Ends]) -> list[Diagnostic]:
    """Check that every state has a path from the input, and one to the output, along the edges."""
    source, sink = architecture.input.name, architecture.output.name
    along: nx.DiGraph[str] = nx.DiGraph()
    along.add_nodes_from([source, *architecture.states, sink])
    along.add_edges_from((e.source, e.target) for e in ends)
    reached, learns = nx.descendants(along, source), nx.ancestors(along, sink) | {sink}
    left = along.subgraph({*architecture.states, sink} - reached)
    # What nothing leads to is cut off, and all that it alone leads to follows.
    first = [
        part for part in nx.strongly_connected_components(left) if not any(left.pred[n].keys() - part for n in part)
    ]
    cut_off = [part.union(*(nx.descendants(left, name) for name in part)) for part in first]
    roots = set[str]().union(*first)
    follows = sink in left and bool(left.pred[sink])
    return _told(architecture, reached, learns, "along the edges leads to it from", cut_off, follows, roots)


def _told(
    architecture: Architecture,
    reached: set[str],
    learns: set[str],
    path: str,
    cut_off: list[set[str]],
    follows: bool,
    roots: set[str] | None = None,
) -> list[Diagnostic]:
    """Say which states are not reached, or do not learn.

    Parameters
    ----------
    path
        What a path would do, in words.
    cut_off
        States that one more edge would join: the first of each, or the first root among them, is named alone.
    follows
        Whether the output is not reached because states that lead to it are not.
    """
    source, sink = architecture.input.name, architecture.output.name
    named: dict[str, int] = {}
    for part in cut_off:
        states = [name for name in architecture.states if name in part]
        for name in [n for n in states if roots is None or n in roots][:1]:
            named[name] = len(states) - 1
    diagnostics = []
    for name in architecture.states:
        if name in named:
            others = f", nor {_count(named[name])} joined to it" if named[name] else ""
            diagnostics.append(
                Diagnostic(
                    f"state '{name}' is unreachable: no path {path} the input '{source}'{others}",
                    f"add an edge, e.g. {{from: {source}, to: {name}, …}}, or remove the state{'s' * bool(others)}",
                    ("states", name),
                    on_key=True,
                    rule="unreachable",
                )
            )
        elif name in reached and name not in learns and sink in reached:
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
    if sink not in reached and not follows:
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


def _count(others: int) -> str:
    return "the state" if others == 1 else f"the {others:,} states"
