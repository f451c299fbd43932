"""What the explorer shows of a network, as plain values: states, edges, equations, and the steps of a sweep."""

from __future__ import annotations

from typing import Any

from epgraph.drawing.style import OTHER, STROKES, TINTS
from epgraph.energies.directed import co_parents, common_child
from epgraph.errors import EpgraphError, visible
from epgraph.explorer.placement import place
from epgraph.graph import Edge, NetworkGraph, State, guaranteed
from epgraph.kinds import shape_text
from epgraph.language.choices import choice_to_yaml
from epgraph.lowering import Equation, Plan, Symbol, equations

MOST_STATES, MOST_EDGES = 5_000, 20_000
"""Largest network that is shown: a browser draws more too slowly, and the file would be too large."""

OF_EDGES = ("A", "B", "W", "∂φ")
"""Letters of equations whose index is an edge, and not a state."""


def describe(plan: Plan) -> dict[str, Any]:
    """Return what the page shows of a network, ready for JSON.

    States and edges refer to each other by their places in ``states`` and ``edges``.

    Raises
    ------
    EpgraphError
        If the network has more than ``MOST_STATES`` states or ``MOST_EDGES`` edges.
    """
    graph = plan.graph
    if len(graph.states) > MOST_STATES or len(graph.edges) > MOST_EDGES:
        size = f"{len(graph.states):,} states and {len(graph.edges):,} edges"
        most = f"the explorer shows at most {MOST_STATES:,} states and {MOST_EDGES:,} edges"
        raise EpgraphError(f"the network has {size}; {most}", "'epgraph check' lists all of them")
    number = {name: i for i, name in enumerate(graph.states)}
    edge_number = {name: i for i, name in enumerate(graph.edges)}
    steps = _steps(plan)
    classes: dict[str, list[int]] = {}
    for i, step in enumerate(steps, 1):
        for name in step["moves"]:
            classes.setdefault(name, []).append(i)
    positions = place(graph)
    conflicts = {edge.name for edge in plan.schedule.conflicts}
    alike = _Alike()
    states = [
        _state(graph, state, classes.get(name, []), positions[name], number, edge_number, alike)
        for name, state in graph.states.items()
    ]
    edges = [_edge(edge, edge.name in conflicts, number, edge_number, alike) for edge in graph.edges.values()]
    return {
        "name": visible(graph.architecture.name),
        "facts": _facts(plan),
        "guarantees": guaranteed(graph, plan.schedule),
        "states": states,
        "edges": edges,
        "alike": [dict(facts) for facts in alike],
        "steps": [_shown(plan, step, number, edge_number) for step in steps],
        "forward": graph.one_way,
        "backprop": graph.by_backprop,
        "tints": list(TINTS),
        "strokes": _strokes(graph),
    }


def _facts(plan: Plan) -> list[list[str]]:
    """Name and value of what there is to say of the whole network."""
    graph, schedule = plan.graph, plan.schedule
    architecture = graph.architecture
    count = len(schedule.classes)
    if graph.by_backprop:
        return [
            ["estimator", architecture.learning.estimator],
            ["order", f"one forward pass, {count} step{'s' * (count != 1)}"],
            ["cost", architecture.output.cost.replace("_", " ")],
            ["parameters", f"{graph.parameters():,}"],
            ["MACs per pass", f"{plan.macs_per_sweep():,}"],
        ]
    solver = choice_to_yaml(architecture.dynamics.chosen_solver, complete=True)
    options = "" if isinstance(solver, str) else ", ".join(f"{k} {v}" for k, v in next(iter(solver.values())).items())
    clashes = len(schedule.conflicts) + len(schedule.unjoined)
    proper = "proper: no state reads another one that moves with it"
    if not schedule.proper:
        proper = f"not proper: {clashes} pair{'s' * (clashes != 1)} of states move together and read each other"
    return [
        ["energy", architecture.energy],
        ["schedule", f"{schedule.name}, {count} class{'es' * (count != 1)}, {proper}"],
        ["solver", f"{architecture.dynamics.chosen_solver.title}{f' ({options})' if options else ''}"],
        ["cost", architecture.output.cost.replace("_", " ")],
        ["parameters", f"{graph.parameters():,}"],
        ["MACs per sweep", f"{plan.macs_per_sweep():,}"],
    ]


class _Alike(dict[tuple[tuple[str, Any], ...], int]):
    """Facts that many states or edges share, each once: the page of a large network stays small."""

    def of(self, **facts: Any) -> int:
        """Return the place of these facts in ``alike``."""
        return self.setdefault(tuple(facts.items()), len(self))


def _state(
    graph: NetworkGraph,
    state: State,
    classes: list[int],
    at: tuple[float, float],
    number: dict[str, int],
    edge_number: dict[str, int],
    alike: _Alike,
) -> dict[str, Any]:
    # Beside the states at the other ends of its edges.
    joined = {end for edge in (*graph.pre(state.name), *graph.post(state.name)) for end in edge.ends}
    others = co_parents(graph, state.name) if graph.energy.feedforward and not graph.by_backprop else ()
    also = [number[other] for other in others if other not in joined]
    facts = alike.of(
        role=state.role,
        shape=shape_text(state.shape),
        units=state.units,
        activation="" if state.clamped else visible(state.activation.label),
        bias=0 if state.bias_shape is None else state.bias_shape[0],
        classes=tuple(classes),
    )
    return {
        "name": state.name,
        "alike": facts,
        "x": round(at[0]),
        "y": round(at[1]),
        "equations": [_equation(line, number, edge_number) for line in equations(graph, state.name)],
        **({"co_parents": also} if also else {}),
    }


def _equation(line: Equation, states: dict[str, int], edges: dict[str, int]) -> list[Any]:
    """Label and tokens: a text is a text, and a symbol a list of its letter, its place, and 1 where it is transposed.

    The index of A, B, W and φ is an edge, that of any other letter a state.
    """
    return [line.label, *(_token(token, states, edges) for token in line.tokens)]


def _token(token: str | Symbol, states: dict[str, int], edges: dict[str, int]) -> Any:
    if isinstance(token, str):
        return visible(token)
    places = edges if token.letter in OF_EDGES else states
    return [token.letter, places[token.index], *([1] if token.transposed else [])]


def _edge(
    edge: Edge, conflict: bool, number: dict[str, int], edge_number: dict[str, int], alike: _Alike
) -> dict[str, Any]:
    facts = alike.of(
        kind=edge.kind.name,
        label=visible(edge.kind.label()),
        weight="" if edge.weight_shape is None else shape_text(edge.weight_shape),
        parameters=edge.parameters,
        macs=edge.macs,
        **({"frozen": True} if edge.frozen else {}),
        **({"untied": True} if edge.untied else {}),
        **({"unary": True} if edge.unary else {}),
    )
    return {
        "name": edge.name,
        "alike": facts,
        "from": number[edge.source],
        "to": number[edge.target],
        **({"tied": edge_number[edge.tied]} if edge.tied else {}),
        **({"conflict": True} if conflict else {}),
    }


def _steps(plan: Plan) -> list[dict[str, Any]]:
    """The parts of one sweep, each with its title and the states that move in it."""
    graph, classes = plan.graph, plan.schedule.classes
    if graph.by_backprop:
        return [{"title": "state", "moves": list(names)} for names in classes]
    if graph.architecture.dynamics.chosen_solver.errors:
        # A round: the errors of all states from the output back, and then the states in the order of the edges.
        order = [name for name in graph.forward_order if name in graph.dynamic]
        back = [{"title": "error", "moves": [name]} for name in reversed(order)]
        return [*back, *({"title": "state", "moves": [name]} for name in graph.forward_order)]
    return [{"title": "class", "moves": list(names)} for names in classes]


def _shown(plan: Plan, step: dict[str, Any], number: dict[str, int], edge_number: dict[str, int]) -> dict[str, Any]:
    """A step with its conflicts: edges between states that move in it, and pairs that no edge joins."""
    moving, schedule = set(step["moves"]), plan.schedule
    return {
        "title": step["title"],
        "moves": [number[name] for name in step["moves"]],
        "edges": [edge_number[edge.name] for edge in schedule.conflicts if edge.ends <= moving],
        "pairs": [
            [number[one], number[other], *_meeting(plan.graph, one, other)]
            for one, other in schedule.unjoined
            if one in moving and other in moving
        ],
    }


def _meeting(graph: NetworkGraph, one: str, other: str) -> list[str]:
    """The state that two states lead to, where that is why they read each other."""
    child = common_child(graph, one, other) if graph.energy.feedforward else None
    return [] if child is None else [child]


def _strokes(graph: NetworkGraph) -> dict[str, dict[str, Any]]:
    """Color, style and width in pixels of the edges of each kind: thick where ``render`` draws parallel lines."""
    kinds = dict.fromkeys(edge.kind.name for edge in graph.edges.values())
    found = {kind: STROKES.get(kind, OTHER) for kind in kinds}
    return {
        kind: {
            "color": one.color,
            "style": one.style if one.style in ("dashed", "dotted") else "solid",
            "width": 1.4 + 0.8 * (one.lines - 1),
        }
        for kind, one in found.items()
    }
