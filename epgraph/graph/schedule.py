"""Update schedules: which states move together, in which order, and whether that is a proper colouring.

With no edge inside a class, F is a sum over the states that move together, so that each of them can be updated as if it
moved alone; ``guarantees`` says when F then never rises. The paper's even/odd rule has that property on chains, but not
where a skip joins two states of equal parity (docs/references.md, note 1); ``conflicts`` names every such edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import networkx as nx

from epgraph.graph.network import Edge, NetworkGraph

Classes = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Schedule:
    """Classes of states, updated one class after the other; one pass over all of them is a sweep.

    Attributes
    ----------
    conflicts
        Edges between two states of one class, in declaration order; empty where the classes are proper.
    """

    name: str
    classes: Classes
    conflicts: tuple[Edge, ...]

    @property
    def proper(self) -> bool:
        """Whether no two states that move together share an edge."""
        return not self.conflicts


def make_schedule(graph: NetworkGraph, name: str) -> Schedule:
    """Return the schedule ``name`` (a key of ``SCHEDULES``) for a graph. Linear in its edges.

    An output that is a readout comes last, in a class of its own: it is always that of the states as they are.
    """
    classes = SCHEDULES[name](graph)
    if graph.readout:
        classes = (*(c for c in classes if c), (graph.output.name,))
    together = {frozenset(c): c for c in classes}
    member: dict[str, set[int]] = {}
    for number, states in enumerate(together.values()):
        for state in states:
            member.setdefault(state, set()).add(number)
    # What a state does to itself is no conflict: it moves from where it is.
    between = (e for e in graph.edges.values() if not e.unary)
    conflicts = tuple(e for e in between if member.get(e.source, set()) & member.get(e.target, set()))
    return Schedule(name, classes, conflicts)


def synchronous(graph: NetworkGraph) -> Classes:
    """All states at once (Eq. 10, 11 as written)."""
    return (graph.dynamic,)


def even_odd(graph: NetworkGraph) -> Classes:
    """The paper's asynchronous update (§II.E): odd positions 1, 3, 5, … first, then the even ones."""
    return tuple(c for c in (graph.dynamic[::2], graph.dynamic[1::2]) if c)


def coloring(graph: NetworkGraph) -> Classes:
    """A proper colouring: greedy, along a breadth-first search from the first state declared.

    Needs two colours on every bipartite graph (any chain) and is linear in edges.
    """
    moving: nx.Graph[str] = nx.Graph()
    moving.add_nodes_from(graph.dynamic)
    clamped = graph.input.name
    moving.add_edges_from(
        (e.source, e.target)
        for e in graph.edges.values()
        if clamped not in e.ends and not e.unary and not graph.reads_out(e)
    )

    def breadth_first(g: nx.Graph[str], _colors: dict[str, int]) -> Iterator[str]:
        # networkx's own strategy starts from an arbitrary element of a set, which varies between runs.
        seen: set[str] = set()
        for start in g:
            if start not in seen:
                seen.add(start)
                yield start
                for _, found in nx.bfs_edges(g, start):
                    seen.add(found)
                    yield found

    color = nx.greedy_color(moving, strategy=breadth_first)
    classes: dict[int, list[str]] = {}
    for name in graph.dynamic:
        classes.setdefault(color[name], []).append(name)
    return tuple(tuple(classes[c]) for c in sorted(classes))


def sequential(graph: NetworkGraph) -> Classes:
    """One state after the other, in declaration order."""
    return tuple((name,) for name in graph.dynamic)


def forward_backward(graph: NetworkGraph) -> Classes:
    """One state after the other, from the first to the last and back; inner states move twice a sweep."""
    return tuple((name,) for name in (*graph.dynamic, *graph.dynamic[-2::-1]))


SCHEDULES: dict[str, Callable[[NetworkGraph], Classes]] = {
    rule.__name__: rule for rule in (synchronous, even_odd, coloring, sequential, forward_backward)
}
"""Every schedule by the name under which it is written in YAML."""
