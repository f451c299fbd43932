"""What is guaranteed for a network as it is declared, and why: sentences for a person.

F = Σ Gₙ(sⁿ) − Φ, and the update of a class of states is the minimiser of F over them if no two of them share an edge
and Φ is linear in each: then F never rises. Max pooling makes −Φ concave in its source where the upper state is ≥ 0;
the update minimises a tangent that lies above F and touches it where the state is, so that F does not rise either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from epgraph.activations import Identity, ReLU
from epgraph.graph.network import Edge, NetworkGraph, State
from epgraph.graph.rules import CLAMPED
from epgraph.graph.schedule import Schedule

SHOWN = 3
"""Names in a sentence before it says how many more there are."""


def guaranteed(graph: NetworkGraph, schedule: Schedule) -> list[str]:
    """Say which guarantees hold for a network under a schedule."""
    return [
        _free(graph, schedule),
        _nudged(graph, schedule),
        _rest(graph),
        *_gradient(graph),
        _holomorphic(graph),
    ]


def never_rises(graph: NetworkGraph, schedule: Schedule) -> list[str]:
    """Reasons why F may rise in the free phase; empty where it never does."""
    dynamics = graph.architecture.dynamics
    reasons = []
    untied = _untied(graph)
    if untied:
        reasons.append(f"there is no F: feedback has weights of its own (edges {_some(untied)})")
    if dynamics.noise:
        reasons.append("noise is added to every pre-activation")
    if dynamics.state_bits:
        reasons.append(f"states are rounded to {dynamics.state_bits} bits")
    if schedule.conflicts:
        named = [f"{' and '.join((e.source, e.target))} (edge {e.name})" for e in schedule.conflicts]
        reasons.append(f"schedule {schedule.name} moves states together that share an edge: {_some(named)}")
    pooled = [edge.name for edge in _pooled(graph) if not _positive(graph.states[edge.target])]
    if pooled:
        reasons.append(f"max pooling reaches states that may be negative: {_some(pooled)}")
    return reasons


def nudged_never_rises(graph: NetworkGraph, schedule: Schedule) -> list[str]:
    """Reasons why F ± βC may rise in the phases nudged by ±β; empty where it never does."""
    architecture, activation = graph.architecture, graph.output.activation
    cost, beta = architecture.output.cost, architecture.learning.beta
    if graph.readout:
        return [f"{cost} is nudged by explicit steps through the edges of its readout"]
    reasons = never_rises(graph, schedule)
    if architecture.dynamics.anderson:
        reasons.append("Anderson acceleration watches the energy in the free phase alone")
    closed = architecture.dynamics.output_step == "closed_form"
    curvature = {"squared_error": 1.0, "cross_entropy": 0.5}.get(cost)
    if not isinstance(activation, ReLU | Identity) or curvature is None:
        reasons.append(f"the explicit step of the output ({activation.label}, {cost}) may overshoot")
    elif not closed:
        # A gradient step of length ω on ½‖s‖² − ⟨p, s⟩ ± βC: it descends while ω times the curvature is at most 2.
        most = (2 / architecture.dynamics.step - 1) / curvature
        if beta > most:
            reasons.append(f"the explicit step of the output overshoots for β = {beta:g}, above {most:g}")
    return reasons


def _free(graph: NetworkGraph, schedule: Schedule) -> str:
    reasons = never_rises(graph, schedule)
    if reasons:
        return f"free phase: F may rise: {'; '.join(reasons)}"
    how = "every update is the minimiser of F over the states that move"
    dynamics = graph.architecture.dynamics
    if dynamics.stepped:
        how = "every update goes less than twice the way to the minimiser of F over the states that move"
    if _pooled(graph):
        how += " (of a tangent above it, where an edge is max-pooled)"
    return f"free phase: F never rises: {how}"


def _nudged(graph: NetworkGraph, schedule: Schedule) -> str:
    reasons = nudged_never_rises(graph, schedule)
    if reasons:
        return f"nudged phases: F ± βC may rise: {'; '.join(reasons)}"
    return "nudged phases: F ± βC never rises, with labels as targets"


def _rest(graph: NetworkGraph) -> str:
    dynamics = graph.architecture.dynamics
    if dynamics.noise:
        return "rest: none: the states fluctuate, and the residual does not fall below the noise"
    if dynamics.state_bits:
        return "rest: on the grid of the rounded states, where F need not be stationary"
    if _untied(graph):
        return "rest: where no update changes a state; nothing is stationary there"
    what = "with the weights rounded, " if dynamics.weight_bits else ""
    return f"rest: {what}exactly where F is stationary, for ReLUα on its box"


def _gradient(graph: NetworkGraph) -> Iterator[str]:
    dynamics = graph.architecture.dynamics
    kinked = [name for name in graph.dynamic if not graph.states[name].activation.smooth]
    pooled = [edge.name for edge in _pooled(graph)]
    rule = graph.architecture.learning.estimator
    if _untied(graph):
        yield "gradient: not that of the loss until feedback has aligned with the weights"
    elif rule in CLAMPED:
        yield f"gradient: that of the contrast of {rule}, a difference of energies, and not that of the loss"
    elif dynamics.state_bits:
        yield "gradient: a nudge that moves a state by less than half a step leaves it where it is"
    elif kinked or pooled:
        parts = [f"kinks of {_some(kinked)}"] * bool(kinked) + [f"arg-maxes of {_some(pooled)}"] * bool(pooled)
        yield f"gradient: at rest that of the loss but for what β drives across {' and '.join(parts)}"
    else:
        yield "gradient: at rest that of the loss, with an error of O(β²) if centred, O(β) if one-sided"
    if dynamics.weight_bits:
        yield "gradient: that of the rounded weights, which the float weights follow (straight-through)"
    if dynamics.noise:
        yield "gradient: noise that both nudged phases share cancels to first order; a one-sided one keeps it, over β"
    levels = [name for name in graph.dynamic if graph.states[name].activation.learnt]
    if levels:
        yield f"gradient: the levels α of {_some(levels)} learn from units that stand at them"


def _holomorphic(graph: NetworkGraph) -> str:
    dynamics = graph.architecture.dynamics
    rough = [
        f"{name} ({graph.states[name].activation.label})"
        for name in graph.dynamic
        if not graph.states[name].activation.holomorphic
    ]
    rough += [f"{edge.name} ({edge.kind.label()})" for edge in _pooled(graph)]
    rough += ["rounded states"] * bool(dynamics.state_bits)
    return f"holomorphic: no: {_some(rough)}" if rough else "holomorphic: the equilibrium continues to complex β"


def _pooled(graph: NetworkGraph) -> list[Edge]:
    """Edges whose arg-max can move: not those of the clamped input."""
    return [e for e in graph.edges.values() if not e.kind.is_linear and not graph.states[e.source].clamped]


def _untied(graph: NetworkGraph) -> list[str]:
    return [name for name, edge in graph.edges.items() if edge.untied]


def _positive(state: State) -> bool:
    bounds = state.activation.bounds(1.0)
    return not state.clamped and bounds is not None and bounds[0] >= 0


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
