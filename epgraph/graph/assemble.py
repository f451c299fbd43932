"""Architecture → graph with all shapes, after checks of names, ends, shapes, ties and paths.

``checks.check`` then checks on the graph whether the network can use its settings.
"""

from __future__ import annotations

import os

from epgraph.activations.relu import Identity
from epgraph.arguments import instance
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.graph.checks.names import check_ends, check_names
from epgraph.graph.checks.reach import check_reach
from epgraph.graph.checks.ties import acts_back, check_ties, owners
from epgraph.graph.network import Edge, NetworkGraph, State
from epgraph.graph.shapes import infer_shapes
from epgraph.kinds import Shape
from epgraph.language import Architecture
from epgraph.language.names import numbered


def build(architecture: Architecture) -> NetworkGraph:
    """Build the graph of an architecture, with checks of names, ends, shapes and reachability.

    The graph of an architecture is built once, usually by ``load``.

    Raises
    ------
    EpgraphError
        With all mistakes, and their positions if the architecture came from a file.
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
    """Return the graph (None with errors) and all diagnostics, computed once per architecture."""
    graph, diagnostics = architecture.derive(_examine)
    return graph, list(diagnostics)


def _examine(architecture: Architecture) -> tuple[NetworkGraph | None, list[Diagnostic]]:
    diagnostics = check_names(architecture)
    if architecture.input.name == architecture.output.name:
        return None, diagnostics  # an edge could mean either of the two
    ends, bad_ends = check_ends(architecture)
    diagnostics += bad_ends
    # If an edge or a state was left out as faulty, do not report what depends on it.
    complete = not architecture.partial and all(d.severity == "warning" for d in diagnostics)
    shapes, bad_shapes = infer_shapes(architecture, ends, complete)
    diagnostics += bad_shapes
    names = edge_names(architecture)
    diagnostics += check_ties(architecture, names, shapes, not architecture.partial)
    if complete:
        cut_off = check_reach(architecture, ends)
        # Where a state is not joined to the input, its height and width cannot follow.
        places = {d.at for d in cut_off if d.rule == "unreachable"}
        diagnostics = [d for d in diagnostics if d.at not in places or not _follows(architecture, d)]
        diagnostics += cut_off
    if architecture.partial or any(d.severity == "error" for d in diagnostics):
        return None, diagnostics
    return _assemble(architecture, names, shapes), diagnostics


def _follows(architecture: Architecture, problem: Diagnostic) -> bool:
    """Whether a state lacks a height and width, but not the number of channels."""
    return problem.rule == "unknown-shape" and architecture.states[str(problem.at[-1])].channels is not None


def edge_names(architecture: Architecture) -> list[str]:
    """Name of every edge: its own, else ``from_to`` or ``at_kind``, with a number if that name is in use."""
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
        # A tied edge has the gain, the learning rate, the decay and the frozen weight of the edge that owns the weight.
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
                weight_decay=owner.weight_decay,
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
        # The shift of a norm is its bias.
        bias = False if hidden.norm else defaults.bias if hidden.bias is None else hidden.bias
        states.append(
            State(
                name=name,
                shape=shapes[name],
                activation=hidden.activation or defaults.activation,
                role="hidden",
                bias_scale=bias_scale(name, bias),
                learning_rate=hidden.learning_rate,
                weight_decay=hidden.weight_decay,
                norm=hidden.norm,
            )
        )
    scale = bias_scale(out.name, out.bias)
    rates = out.learning_rate, out.weight_decay
    return [*states, State(out.name, shapes[out.name], out.activation, "output", scale, *rates)]
