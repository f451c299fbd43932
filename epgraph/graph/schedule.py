"""Update schedules: which states move together, in which order, and whether that is a proper coloring.

Without an edge inside a class, F is a sum over the states that move together, so each of them can be updated as if it
moved alone; ``guarantees`` says when F then never rises. The paper's even/odd rule is proper on chains, but not if a
skip joins two states of equal parity (docs/references.md, note 1). ``conflicts`` names every such edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import networkx as nx

from epgraph.energies.directed import arrows
from epgraph.graph.network import Edge, NetworkGraph

Classes = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Schedule:
    """Classes of states, updated one class after the other; one pass over all of them is a sweep.

    Attributes
    ----------
    conflicts
        Edges between two states of one class, in declaration order; empty if the classes are proper.
    unjoined
        Pairs of states of one class that no edge joins, although the update of one reads the other. Some energies have
        such pairs.
    """

    name: str
    classes: Classes
    conflicts: tuple[Edge, ...]
    unjoined: tuple[tuple[str, str], ...] = ()

    @property
    def proper(self) -> bool:
        """Whether no update reads another state of its class."""
        return not self.conflicts and not self.unjoined


def make_schedule(graph: NetworkGraph, name: str) -> Schedule:
    """Return the schedule ``name`` (a key of ``SCHEDULES``) for a graph. Linear in its edges.

    A readout comes last, in its own class, so that it always matches the states.
    """
    classes = SCHEDULES[name](graph)
    if graph.readout:
        classes = (*(c for c in classes if c), (graph.output.name,))
    distinct = {frozenset(c): c for c in classes}
    member: dict[str, set[int]] = {}
    for number, states in enumerate(distinct.values()):
        for state in states:
            member.setdefault(state, set()).add(number)

    def share_a_class(one: str, other: str) -> bool:
        return bool(member.get(one, set()) & member.get(other, set()))

    # A unary edge is no conflict: the update reads the state's old value anyway.
    between = [e for e in graph.edges.values() if not e.unary]
    conflicts = tuple(e for e in between if share_a_class(e.source, e.target))
    joined = {e.ends for e in between}
    unjoined = tuple(p for p in _interactions(graph) if frozenset(p) not in joined and share_a_class(*p))
    return Schedule(name, classes, conflicts, unjoined)


def forward_pass(graph: NetworkGraph) -> Schedule:
    """Return the order of a forward pass as a schedule, for a network without directed cycles.

    A class has the states that can be computed once those of the classes before it are.
    """
    place = {name: i for i, name in enumerate(graph.free)}
    layers = [
        tuple(sorted((name for name in names if name in place), key=place.__getitem__))
        for names in nx.topological_generations(arrows(graph))
    ]
    return Schedule("forward", tuple(names for names in layers if names), ())


def _interactions(graph: NetworkGraph) -> Iterator[tuple[str, str]]:
    """Pairs of states that move and that the energy couples."""
    clamped = graph.input.name
    return (pair for pair in graph.energy.interactions(graph) if clamped not in pair)


def synchronous(graph: NetworkGraph) -> Classes:
    """All states at once (Eq. 10, 11 as written)."""
    return (graph.dynamic,)


def even_odd(graph: NetworkGraph) -> Classes:
    """The paper's asynchronous update (§II.E): odd positions 1, 3, 5, … first, then the even ones."""
    return tuple(c for c in (graph.dynamic[::2], graph.dynamic[1::2]) if c)


def coloring(graph: NetworkGraph) -> Classes:
    """A proper coloring of the coupled states: greedy, breadth first from the first declared state.

    It needs two colors on every bipartite graph (any chain), and time linear in the number of edges. With an energy
    that reads edges forward, it is greedy from the output back instead: the class of the output comes first, and an
    error passes as many layers in one sweep as there are classes.
    """
    moving: nx.Graph[str] = nx.Graph()
    moving.add_nodes_from(graph.dynamic)
    moving.add_edges_from(_interactions(graph))

    def breadth_first(g: nx.Graph[str], _colors: dict[str, int]) -> Iterator[str]:
        # networkx's own strategy starts from an arbitrary element of a set, which differs between runs.
        seen: set[str] = set()
        for start in g:
            if start not in seen:
                seen.add(start)
                yield start
                for _, name in nx.bfs_edges(g, start):
                    seen.add(name)
                    yield name

    def from_the_output(g: nx.Graph[str], _colors: dict[str, int]) -> Iterator[str]:
        return reversed(_forward(graph))

    color = nx.greedy_color(moving, strategy=from_the_output if graph.energy.feedforward else breadth_first)
    classes: dict[int, list[str]] = {}
    for name in graph.dynamic:
        classes.setdefault(color[name], []).append(name)
    return tuple(tuple(classes[c]) for c in sorted(classes))


def sequential(graph: NetworkGraph) -> Classes:
    """One state after the other, in declaration order; along the edges with an energy that reads them forward."""
    return tuple((name,) for name in _forward(graph))


def backward(graph: NetworkGraph) -> Classes:
    """One state after the other, in the reverse of ``sequential``: from the output back."""
    return tuple((name,) for name in reversed(_forward(graph)))


def forward_backward(graph: NetworkGraph) -> Classes:
    """One state after the other, from the first to the last and back; inner states move twice per sweep."""
    order = _forward(graph)
    return tuple((name,) for name in (*order, *order[-2::-1]))


def _forward(graph: NetworkGraph) -> tuple[str, ...]:
    """States of the dynamics in the order of ``sequential``."""
    if not graph.energy.feedforward or graph.cyclic:
        return graph.dynamic
    moving = set(graph.dynamic)
    return tuple(name for name in graph.forward_order if name in moving)


SCHEDULES: dict[str, Callable[[NetworkGraph], Classes]] = {
    rule.__name__: rule for rule in (synchronous, even_odd, coloring, sequential, backward, forward_backward)
}
"""Every schedule by its name in YAML."""
