"""The network as a graph: states are nodes, weighted edges join them, on networkx.

``build`` turns an ``Architecture`` into a ``NetworkGraph`` with every shape known: names, ends, shapes and ties are
checked. What the network can be used for is checked by ``findings.check``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

import networkx as nx

from epgraph.activations import Activation, Identity
from epgraph.arguments import instance
from epgraph.costs import COSTS
from epgraph.energies import ENERGIES, Energy, Link
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.graph.checks import check_ends, check_names, check_reach
from epgraph.graph.shapes import infer_shapes
from epgraph.graph.ties import acts_back, check_ties, owners
from epgraph.kinds import EdgeKind, Shape, Unary
from epgraph.language import Architecture
from epgraph.language.names import numbered

Role = Literal["input", "hidden", "output"]


@dataclass(frozen=True)
class State:
    """A node s^n. ``shape`` is that of one example; ``bias_scale`` bounds the initial bias, None without one."""

    name: str
    shape: Shape
    activation: Activation
    role: Role
    bias_scale: float | None
    learning_rate: float | None = None

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
        """One bias a channel (or a unit, where there are no pixels)."""
        return None if self.bias_scale is None else self.shape[:1]


@dataclass(frozen=True)
class Edge:
    """A weighted edge e = (i, j, w) that adds ⟨s^target, A s^source⟩ to Φ.

    Where it is ``untied`` it acts on the source through a second weight, its feedback, and there is no Φ. A ``unary``
    edge adds φ(s^source), and both its ends are that state.

    Attributes
    ----------
    tied
        Name of the edge whose weight this one shares; None where it has its own.
    frozen
        Whether nothing is learnt of the weight.
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
    untied: bool = False
    tied: str | None = None
    frozen: bool = False

    @property
    def owner(self) -> str:
        """Name of the edge that the weight belongs to, and is named after: this one, but where it is tied."""
        return self.tied or self.name

    @property
    def unary(self) -> bool:
        """Whether it acts on one state alone."""
        return self.kind.unary

    def bends(self, clamped: str) -> bool:
        """Whether what it gives to a state is not linear in one that moves; ``clamped`` is the state that does not."""
        return not self.kind.is_linear and self.source != clamped

    @property
    def ends(self) -> frozenset[str]:
        """Both states, in no order; of a unary edge the one."""
        return frozenset((self.source, self.target))

    @property
    def parameters(self) -> int:
        """Number of weights of its own, feedback included."""
        return 0 if self.weight_shape is None or self.tied else prod(self.weight_shape) * (2 if self.untied else 1)


class NetworkGraph:
    """States and edges of a network, with every shape known.

    Attributes
    ----------
    graph
        ``networkx.MultiDiGraph`` with a node for each state (attribute ``state``) and an edge, keyed by name,
        for each weighted edge (attribute ``edge``). Parallel edges and cycles are welcome.
    architecture
        What this was built from.
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

    @cached_property
    def free(self) -> tuple[str, ...]:
        """Names of the states that move, in declaration order, the output last."""
        return tuple(name for name, state in self.states.items() if not state.clamped)

    @property
    def energy(self) -> Energy:
        """What the network relaxes on."""
        return ENERGIES[self.architecture.energy]

    @property
    def readout(self) -> bool:
        """Whether the output is read off outside the dynamics, by the edges into it."""
        return COSTS[self.architecture.output.cost].readout

    @cached_property
    def dynamic(self) -> tuple[str, ...]:
        """Names of the states of the dynamics: those that move, without an output that is a readout."""
        return self.free[:-1] if self.readout else self.free

    def reads_out(self, edge: Link) -> bool:
        """Whether an edge is part of the readout: A_e s is read off, and nothing flows back but a nudge."""
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
        """Edges into a state: it receives A_e s^source through them. In declaration order."""
        found = (data["edge"] for _, _, data in self.graph.in_edges(name, data=True))
        return self._in_order(edge for edge in found if not edge.unary)

    def post(self, name: str) -> list[Edge]:
        """Edges out of a state: it receives A_eᵀ s^target through them. In declaration order."""
        found = (data["edge"] for _, _, data in self.graph.out_edges(name, data=True))
        return self._in_order(edge for edge in found if not edge.unary)

    def own(self, name: str) -> list[Edge]:
        """Unary edges at a state: it receives ∂φ/∂s through them. In declaration order."""
        if not self.graph.has_edge(name, name):
            return []
        return self._in_order(data["edge"] for data in self.graph.get_edge_data(name, name).values())

    def damped(self, name: str) -> list[Edge]:
        """Unary edges at a state that may be concave there, so that its updates are damped for their sake."""
        wanted = self.architecture.dynamics.damping is not None
        return [e for e in self.own(name) if isinstance(e.kind, Unary) and e.kind.damps] if wanted else []

    @cached_property
    def untied(self) -> Edge | None:
        """The first edge with a feedback weight of its own: the network then has no energy. None where all are tied."""
        return next((edge for edge in self.edges.values() if edge.untied), None)

    @cached_property
    def driven(self) -> frozenset[str]:
        """Names of the edges whose weight acts between the input and states that move, and nowhere else."""
        clamped, moving = self.input.name, {self.input.name, *self.dynamic}
        driven = {edge.owner for edge in self.edges.values() if clamped in edge.ends <= moving}
        return frozenset(driven - {edge.owner for edge in self.edges.values() if clamped not in edge.ends})

    @cached_property
    def trained(self) -> tuple[State | Edge, ...]:
        """States with a bias or a learnt level, and edges with a weight of their own that is not frozen."""
        states = (s for s in self.states.values() if s.bias_shape or s.activation.learnt)
        return (*states, *(e for e in self.edges.values() if e.weight_shape and not e.tied and not e.frozen))

    def parameters(self) -> int:
        """Number of trainable numbers: weights, biases and learnt levels α; tied ones once, frozen ones not."""
        biases = sum(prod(s.bias_shape) for s in self.states.values() if s.bias_shape is not None)
        levels = sum(s.activation.learnt for s in self.states.values())
        return biases + levels + sum(edge.parameters for edge in self.edges.values() if not edge.frozen)

    def frozen(self) -> int:
        """Number of weights that are frozen."""
        return sum(edge.parameters for edge in self.edges.values() if edge.frozen)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.edges)}

    def _in_order(self, edges: Iterable[Edge]) -> list[Edge]:
        found = list(edges)
        if len(found) > 1:
            found.sort(key=lambda edge: self._position[edge.name])
        return found


def build(architecture: Architecture) -> NetworkGraph:
    """Build the graph of an architecture: names, ends, shapes and reachability checked.

    Raises
    ------
    EpgraphError
        With every mistake found, located in the file if the architecture came from one.
    """
    hint = (
        "load it with ep.load"
        if isinstance(architecture, str | os.PathLike)
        else "call its build(), if it is a Network"
    )
    graph, diagnostics = examine(instance("build", architecture, Architecture, hint))
    if graph is None:
        raise EpgraphError(architecture.locate(d) for d in diagnostics if d.severity == "error")
    return graph


def examine(architecture: Architecture) -> tuple[NetworkGraph | None, list[Diagnostic]]:
    """Build the graph and return it with all diagnostics; None where there are errors."""
    diagnostics = check_names(architecture)
    if architecture.input.name == architecture.output.name:
        return None, diagnostics  # which of the two an edge means cannot be told
    ends, bad_ends = check_ends(architecture)
    diagnostics += bad_ends
    # Where an edge or a state is missing, nothing follows from what they would have fixed or reached.
    complete = not architecture.partial and all(d.severity == "warning" for d in diagnostics)
    shapes, bad_shapes = infer_shapes(architecture, ends, complete)
    diagnostics += bad_shapes
    names = edge_names(architecture)
    diagnostics += check_ties(architecture, names, shapes, not architecture.partial)
    if complete:
        diagnostics += check_reach(architecture, ends)
    if architecture.partial or any(d.severity == "error" for d in diagnostics):
        return None, diagnostics
    return _assemble(architecture, names, shapes), diagnostics


def edge_names(architecture: Architecture) -> list[str]:
    """Name of every edge: the one given, else ``from_to`` or ``at_kind``, numbered where that is taken."""
    return numbered(
        (edge.name, f"{edge.source}_{edge.target if edge.at is None else edge.kind.name}")
        for edge in architecture.edges
    )


def _assemble(architecture: Architecture, names: list[str], shapes: dict[str, Shape]) -> NetworkGraph:
    edges = _edges(architecture, names, shapes)
    return NetworkGraph(architecture, _states(architecture, edges, shapes), edges)


def _edges(architecture: Architecture, names: list[str], shapes: dict[str, Shape]) -> list[Edge]:
    edges = []
    tied = owners(architecture, names)
    for index, (spec, name) in enumerate(zip(architecture.edges, names, strict=True)):
        source, target = shapes[spec.source], shapes[spec.target]
        weight_shape = spec.kind.weight_shape(source, target)
        # A tied edge has the gain, the learning rate and the frozen weight of the edge that owns the weight.
        owner = architecture.edges[tied.get(index, index)]
        gain = architecture.defaults.gain if owner.gain is None else owner.gain
        edges.append(
            Edge(
                name=name,
                source=spec.source,
                target=spec.target,
                kind=spec.kind,
                weight_shape=weight_shape,
                gain=gain,
                weight_scale=spec.kind.weight_bound(gain, source, target),
                macs=spec.kind.macs(source, target),
                learning_rate=owner.learning_rate,
                untied=weight_shape is not None and acts_back(architecture, index),
                tied=names[tied[index]] if index in tied else None,
                frozen=owner.frozen,
            )
        )
    return edges


def _states(architecture: Architecture, edges: list[Edge], shapes: dict[str, Shape]) -> list[State]:
    widest: dict[str, int] = {}
    for edge in edges:
        if not edge.kind.unary:
            fan_in = edge.kind.fan_in(shapes[edge.source], shapes[edge.target])
            widest[edge.target] = max(widest.get(edge.target, 1), fan_in)

    def bias_scale(name: str, bias: object) -> float | None:
        if bias is False:
            return None
        gain, fan_in = (0.5, None) if bias is True else (bias.gain, bias.fan_in)  # type: ignore[attr-defined]
        return float(gain / (fan_in or widest.get(name, 1)) ** 0.5)

    defaults, out = architecture.defaults, architecture.output
    states = [State(architecture.input.name, shapes[architecture.input.name], Identity(), "input", None)]
    for name, hidden in architecture.states.items():
        states.append(
            State(
                name=name,
                shape=shapes[name],
                activation=hidden.activation or defaults.activation,
                role="hidden",
                bias_scale=bias_scale(name, defaults.bias if hidden.bias is None else hidden.bias),
                learning_rate=hidden.learning_rate,
            )
        )
    scale = bias_scale(out.name, out.bias)
    return [*states, State(out.name, shapes[out.name], out.activation, "output", scale, out.learning_rate)]
