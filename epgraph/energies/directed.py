"""Edges read in their direction: the order of the states, cycles, co-parents and the moral graph."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx

from epgraph.energies.symbols import Wiring


def arrows(graph: Wiring) -> nx.DiGraph[str]:
    """States and edges, in declaration order, without unary edges; parallel edges count once."""
    found: nx.DiGraph[str] = nx.DiGraph()
    found.add_nodes_from(graph.states)
    found.add_edges_from((edge.source, edge.target) for edge in graph.edges.values() if not edge.unary)
    return found


def topological(graph: Wiring) -> tuple[str, ...]:
    """All states, each after those with an edge into it; else in declaration order.

    Raises
    ------
    networkx.NetworkXUnfeasible
        Where the edges form a cycle.
    """
    place = {name: i for i, name in enumerate(graph.states)}
    return tuple(nx.lexicographical_topological_sort(arrows(graph), key=place.__getitem__))


def co_parents(graph: Wiring, name: str) -> tuple[str, ...]:
    """Other states with an edge into a state that this one has an edge into, in declaration order."""
    children = {edge.target for edge in graph.post(name)}
    others = {edge.source for child in children for edge in graph.pre(child)} - {name}
    return tuple(other for other in graph.states if other in others)


def common_child(graph: Wiring, one: str, other: str) -> str | None:
    """The first declared state that two states have edges into, or None."""
    children = {edge.target for edge in graph.post(one)} & {edge.target for edge in graph.post(other)}
    return next((name for name in graph.states if name in children), None)


def moral(graph: Wiring) -> Iterator[tuple[str, str]]:
    """Pairs of states that an edge joins, or that have edges into one state: the moral graph."""
    for edge in graph.edges.values():
        if not edge.unary:
            yield edge.source, edge.target
    for name in graph.states:
        parents = list(dict.fromkeys(edge.source for edge in graph.pre(name)))
        yield from ((one, other) for i, one in enumerate(parents) for other in parents[i + 1 :])
