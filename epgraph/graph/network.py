"""The network as a graph: states are nodes, weighted edges join them, on networkx."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

import networkx as nx

from epgraph.activations import Activation
from epgraph.costs import COSTS
from epgraph.display import Shown
from epgraph.energies import ENERGIES, Energy, Link
from epgraph.energies.directed import arrows, topological
from epgraph.kinds import EdgeKind, Shape, Unary
from epgraph.language import Architecture
from epgraph.learning_rules import ESTIMATORS

Role = Literal["input", "hidden", "output"]


@dataclass(frozen=True)
class State:
    """A node s^n.

    Attributes
    ----------
    shape
        That of one example.
    bias_scale
        Bound of the initial bias, None without one.
    norm
        ``batch`` where the feed-forward network of the wiring normalizes the sum, else None.
    """

    name: str
    shape: Shape
    activation: Activation
    role: Role
    bias_scale: float | None
    learning_rate: float | None = None
    weight_decay: float | None = None
    norm: Literal["batch"] | None = None

    @property
    def clamped(self) -> bool:
        """Whether the state is held at the data: the input."""
        return self.role == "input"

    @property
    def units(self) -> int:
        """Number of units of one example."""
        return prod(self.shape)

    @property
    def bias_shape(self) -> Shape | None:
        """One bias per channel, or per unit without pixels."""
        return None if self.bias_scale is None else self.shape[:1]


@dataclass(frozen=True)
class Edge:
    """A weighted edge e = (i, j, w) that adds ⟨s^target, A s^source⟩ to Φ.

    An ``untied`` edge acts on the source through a second weight, its feedback, and there is no Φ. A ``unary`` edge
    adds φ(s^source); both its ends are that state.

    Attributes
    ----------
    tied
        Name of the edge whose weight this one shares, or None.
    frozen
        Whether the weight is not trained.
    """

    name: str
    source: str
    target: str
    kind: EdgeKind
    weight_shape: Shape | None
    gain: float
    weight_scale: float
    macs: int
    learning_rate: float | None = None
    weight_decay: float | None = None
    untied: bool = False
    tied: str | None = None
    frozen: bool = False

    @property
    def owner(self) -> str:
        """Name of the edge that owns the weight: this one, or the one to which it is tied."""
        return self.tied or self.name

    @property
    def unary(self) -> bool:
        """Whether it acts on one state."""
        return self.kind.unary

    def bends(self, clamped: str) -> bool:
        """Whether A_e is nonlinear in a source that moves; ``clamped`` is the state that does not move."""
        return not self.kind.is_linear and self.source != clamped

    @property
    def ends(self) -> frozenset[str]:
        """Both states, or the one of a unary edge."""
        return frozenset((self.source, self.target))

    @property
    def parameters(self) -> int:
        """Number of its own weights, feedback included; 0 for a tied edge."""
        return 0 if self.weight_shape is None or self.tied else prod(self.weight_shape) * (2 if self.untied else 1)


class NetworkGraph(Shown):
    """States and edges of a network, with every shape known.

    Attributes
    ----------
    graph
        ``networkx.MultiDiGraph`` with a node for each state (attribute ``state``) and an edge, keyed by name,
        for each weighted edge (attribute ``edge``). Parallel edges and cycles are allowed.
    architecture
        The architecture that it was built from.
    """

    def __init__(self, architecture: Architecture, states: list[State], edges: list[Edge]) -> None:
        self.architecture = architecture
        self.graph: nx.MultiDiGraph[str] = nx.MultiDiGraph(name=architecture.name)
        for state in states:
            self.graph.add_node(state.name, state=state)
        for edge in edges:
            self.graph.add_edge(edge.source, edge.target, key=edge.name, edge=edge)
        self.states = {state.name: state for state in states}
        self.edges = {edge.name: edge for edge in edges}

    def __repr__(self) -> str:
        return f"NetworkGraph({self.summary()})"

    def summary(self) -> str:
        """Return name and sizes in a few words."""
        sizes = f"{len(self.states)} states, {len(self.edges)} edges, {self.parameters():,} parameters"
        return f"{self.architecture.name!r}: {sizes}"

    @cached_property
    def free(self) -> tuple[str, ...]:
        """Names of the states that move, in declaration order, the output last."""
        return tuple(name for name, state in self.states.items() if not state.clamped)

    @cached_property
    def forward_order(self) -> tuple[str, ...]:
        """Names of the states that move, each after those with an edge into it; raises ``NetworkXUnfeasible``."""
        return tuple(name for name in topological(self) if not self.states[name].clamped)

    @cached_property
    def cyclic(self) -> bool:
        """Whether the edges between states form a cycle in their direction; then there is no ``forward_order``."""
        return not nx.is_directed_acyclic_graph(arrows(self))

    @property
    def energy(self) -> Energy:
        """The energy on which the network relaxes."""
        return ENERGIES[self.architecture.energy]

    @property
    def by_backprop(self) -> bool:
        """Whether it is trained as the feed-forward network of its wiring: nothing relaxes."""
        return ESTIMATORS[self.architecture.learning.estimator].feedforward

    @property
    def one_way(self) -> bool:
        """Whether edges are read in their direction: by the energy, or because nothing relaxes."""
        return self.energy.feedforward or self.by_backprop

    @property
    def readout(self) -> bool:
        """Whether the output is a readout of other states, outside the dynamics."""
        return COSTS[self.architecture.output.cost].readout

    @cached_property
    def dynamic(self) -> tuple[str, ...]:
        """Names of the states of the dynamics: those that move, except an output that is a readout."""
        return self.free[:-1] if self.readout else self.free

    def reads_out(self, edge: Link) -> bool:
        """Whether an edge is part of the readout: only the nudge flows back through it."""
        return self.readout and edge.target == self.output.name

    @property
    def input(self) -> State:
        """The clamped input."""
        return next(s for s in self.states.values() if s.role == "input")

    @property
    def output(self) -> State:
        """The output state."""
        return next(s for s in self.states.values() if s.role == "output")

    def pre(self, name: str) -> list[Edge]:
        """Edges into a state, in declaration order; the state receives A_e s^source through them."""
        edges = (data["edge"] for _, _, data in self.graph.in_edges(name, data=True))
        return self._in_order(edge for edge in edges if not edge.unary)

    def post(self, name: str) -> list[Edge]:
        """Edges out of a state, in declaration order; the state receives A_eᵀ s^target through them."""
        edges = (data["edge"] for _, _, data in self.graph.out_edges(name, data=True))
        return self._in_order(edge for edge in edges if not edge.unary)

    def unary_edges(self, name: str) -> list[Edge]:
        """Unary edges at a state, in declaration order; the state receives ∂φ/∂s through them."""
        if not self.graph.has_edge(name, name):
            return []
        return self._in_order(data["edge"] for data in self.graph.get_edge_data(name, name).values())

    def damped(self, name: str) -> list[Edge]:
        """Unary edges that may be concave in a state, and so need damped updates; none with ``damping: null``."""
        damping = self.architecture.dynamics.damping is not None
        return [e for e in self.unary_edges(name) if isinstance(e.kind, Unary) and e.kind.damps] if damping else []

    @cached_property
    def untied(self) -> Edge | None:
        """The first edge with its own feedback weight, or None. With such an edge the network has no energy."""
        return next((edge for edge in self.edges.values() if edge.untied), None)

    @cached_property
    def driven(self) -> frozenset[str]:
        """Names of the edges whose weight acts only between the input and states that move."""
        clamped, moving = self.input.name, {self.input.name, *self.dynamic}
        driven = {edge.owner for edge in self.edges.values() if clamped in edge.ends <= moving}
        return frozenset(driven - {edge.owner for edge in self.edges.values() if clamped not in edge.ends})

    @cached_property
    def trained(self) -> tuple[State | Edge, ...]:
        """States with a bias, a learnt level or a norm, and edges with their own weight that is not frozen."""
        states = (s for s in self.states.values() if s.bias_shape or s.activation.learnt or s.norm)
        return (*states, *(e for e in self.edges.values() if e.weight_shape and not e.tied and not e.frozen))

    def parameters(self) -> int:
        """Number of trained values: weights, biases, levels α, norms; tied weights count once, frozen ones not."""
        biases = sum(prod(s.bias_shape) for s in self.states.values() if s.bias_shape is not None)
        levels = sum(s.activation.learnt for s in self.states.values())
        # A norm has a scale and a shift for each channel.
        levels += sum(2 * s.shape[0] for s in self.states.values() if s.norm is not None)
        return biases + levels + sum(edge.parameters for edge in self.edges.values() if not edge.frozen)

    def frozen(self) -> int:
        """Number of frozen weights."""
        return sum(edge.parameters for edge in self.edges.values() if edge.frozen)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.edges)}

    def _in_order(self, edges: Iterable[Edge]) -> list[Edge]:
        return sorted(edges, key=lambda edge: self._position[edge.name])
