"""Guarantees of a declared network, with reasons, as sentences for a person.

F = Σ Gₙ(sⁿ) − Φ. If no two states that move together share an edge, F is a sum over these states. Each contributes
F(s) = G(s) − Φ(s), with the others fixed. Every edge kind declares the convexity of Φ at each end (``kinds.kind.End``).

*Linear*: s⁺ = σ(∂Φ/∂s) is the minimizer of F, because G is convex with G′ = σ⁻¹.

*Convex*: Φ(s⁺) ≥ Φ(s) + ⟨g, s⁺ − s⟩ with g = ∂Φ(s)/∂s, and s⁺ = σ(g) minimizes G − ⟨g, ·⟩. Together
F(s⁺) ≤ G(s⁺) − ⟨g, s⁺⟩ + ⟨g, s⟩ − Φ(s) ≤ G(s) − ⟨g, s⟩ + ⟨g, s⟩ − Φ(s) = F(s): the concave–convex step minimizes a
tangent that lies above F and touches it at s. A max-pooled edge is convex in its source if no unit of the target is
negative; a memory is convex.

*Neither*, with ∂²Φ/∂s² ≥ −κ, as of an indefinite ``self``: the update is damped, s⁺ = s + ωd with d = σ(g) − s. With m
the largest slope of σ, G is strongly convex by 1/m. So G(σ(g)) − G(s) − ⟨g, d⟩ ≤ −‖d‖²/2m, and
G(s + ωd) ≤ (1 − ω) G(s) + ω G(σ(g)) − ω(1 − ω)‖d‖²/2m for ω ≤ 1. From Φ(s + ωd) ≥ Φ(s) + ω⟨g, d⟩ − ω²κ‖d‖²/2 follows

    F(s⁺) − F(s) ≤ −(ω/2m) ‖d‖² [2 − ω(1 + mκ)],

which is not positive for ω ≤ min(1, 2/(1 + mκ)). The engine uses ω = min(1, c/(1 + mκ)) with c < 2 (``damping``) and a
bound κ ≥ ‖W‖ that is computed from the weights once per batch. c = 1.5 keeps three quarters of the best decrease that
this proves, and ω = 1 up to mκ = ½. A step that is shorter for another reason (``flow``, ``over_relaxation`` below 1)
decreases F more, and is damped in addition.
"""

from __future__ import annotations

from collections.abc import Iterator

from epgraph.costs import COSTS
from epgraph.errors import listed
from epgraph.graph.network import Edge, NetworkGraph, State
from epgraph.graph.schedule import Schedule
from epgraph.learning_rules import ESTIMATORS


def guaranteed(graph: NetworkGraph, schedule: Schedule) -> list[str]:
    """Return the guarantees of a network under a schedule, as sentences."""
    if ESTIMATORS[graph.architecture.learning.estimator].feedforward:
        return [*_forward(graph), *_gradient(graph)]
    motion = [_free(graph, schedule), _nudged(graph, schedule), _rest(graph)]
    if not graph.energy.descends:
        motion = graph.energy.guarantees(graph)
    if graph.energy.feedforward:
        motion.append(_sweeps(graph, schedule))
    return [*motion, *_gradient(graph), _holomorphic(graph)]


def never_rises(graph: NetworkGraph, schedule: Schedule) -> list[str]:
    """Reasons why F may rise in the free phase; empty where it never does."""
    if not graph.energy.descends:
        return [f"nothing is claimed of energy {graph.architecture.energy}"]
    dynamics = graph.architecture.dynamics
    reasons = []
    untied = _untied(graph)
    if untied:
        reasons.append(f"there is no F: feedback has weights of its own (edges {listed(untied)})")
    if dynamics.noise:
        reasons.append("noise is added to every pre-activation")
    if dynamics.state_bits:
        reasons.append(f"states are rounded to {dynamics.state_bits} bits")
    if schedule.conflicts:
        named = [f"{' and '.join((e.source, e.target))} (edge {e.name})" for e in schedule.conflicts]
        reasons.append(f"schedule {schedule.name} moves states together that share an edge: {listed(named)}")
    return [*reasons, *_beyond_range(graph), *_not_convex(graph)]


def _beyond_range(graph: NetworkGraph) -> Iterator[str]:
    """Why the states that a solver mixes may have a higher energy, or none."""
    solver = graph.architecture.dynamics.chosen_solver
    if solver.mixes:
        if not solver.descends:
            yield f"{solver.title} may use states of higher energy"
        states = (graph.states[name] for name in graph.dynamic)
        unknown = [s for s in states if s.activation.bounds(1.0) is None and not s.activation.projects]
        if unknown:
            where = f"{unknown[0].activation.label} at {listed([s.name for s in unknown])}"
            yield f"{solver.title} may leave the range of {where}, which is not known"


def _not_convex(graph: NetworkGraph) -> Iterator[str]:
    """Ends at which Φ is neither linear nor convex and the update is not damped."""
    negative, neither, steep = [], [], []
    for edge in graph.edges.values():
        ends = [(edge.source, edge.target, edge.kind.source_end)]
        ends += [] if edge.unary else [(edge.target, edge.source, edge.kind.target_end)]
        for name, other, end in ends:
            # Only states that move are updated, and a readout is no part of F.
            if graph.states[name].clamped or graph.reads_out(edge):
                continue
            if end == "convex where the other end is ≥ 0" and not _positive(graph.states[other]):
                negative.append(edge.name)
            elif end == "neither" and edge not in graph.damped(name):
                neither.append(f"{name} (edge {edge.name})")
            elif end == "neither" and graph.states[name].activation.steepest is None:
                steep.append(f"{graph.states[name].activation.label} at {name}")
    if negative:
        yield f"max pooling reaches states that may be negative: {listed(negative)}"
    if neither:
        yield f"Φ is not convex in {listed(neither)}, and updates there are not damped"
    if steep:
        yield f"the damped steps of {listed(steep)} need the largest slope of σ, which is not known"


def nudged_never_rises(graph: NetworkGraph, schedule: Schedule) -> list[str]:
    """Reasons why F ± βC may rise in the phases nudged by ±β; empty if it never does."""
    architecture, activation = graph.architecture, graph.output.activation
    cost, beta = architecture.output.cost, architecture.learning.beta
    if graph.readout:
        return [f"{cost} is nudged by explicit steps through the edges of its readout"]
    reasons = never_rises(graph, schedule)
    solver = architecture.dynamics.chosen_solver
    if solver.mixes:
        reasons.append(f"{solver.title} watches the energy in the free phase alone")
    closed = architecture.dynamics.output_step == "closed_form"
    curvature = COSTS[cost].curvature
    if not activation.projects or curvature is None:
        reasons.append(f"the explicit step of the output ({activation.label}, {cost}) may overshoot")
    elif not closed:
        # A gradient step of length ω on ½‖s‖² − ⟨p, s⟩ ± βC descends while ω times the curvature is at most 2.
        most = (2 / architecture.dynamics.step - 1) / curvature
        damping = architecture.dynamics.damping
        if damping is not None and graph.damped(graph.output.name):
            # C adds to the curvature in ω = min(1, c/(1 + κ)): ω(1 + κ + β C″) ≤ 2 must hold for every κ ≥ 0.
            most = min(most, (2 - damping) / curvature)
        if beta > most:
            reasons.append(f"the explicit step of the output overshoots for β = {beta:g}, above {most:g}")
    elif architecture.dynamics.damping is not None and graph.damped(graph.output.name):
        # With −β the strong convexity of G is 1 − β: ω(1 + κ/(1 − β)) ≤ 2 must hold for every κ ≥ 0.
        most = 1 - architecture.dynamics.damping / 2
        if beta > most:
            reasons.append(f"the damped step of the output overshoots for β = {beta:g}, above {most:g}")
    return reasons


def _free(graph: NetworkGraph, schedule: Schedule) -> str:
    reasons = never_rises(graph, schedule)
    if reasons:
        return f"free phase: F may rise: {'; '.join(reasons)}"
    how = "every update is the minimizer of F over the states that move"
    dynamics = graph.architecture.dynamics
    if dynamics.stepped:
        how = "every update goes less than twice the way to the minimizer of F over the states that move"
    if _pooled(graph):
        how += " (of a tangent above it, where an edge is max-pooled)"
    convex = [e.name for e in graph.edges.values() if e.unary and e.kind.source_end == "convex"]
    if convex:
        how += f" (of a tangent above it, where Φ is convex: {listed(convex)})"
    damped = [name for name in graph.dynamic if graph.damped(name)]
    if damped:
        how += (
            f"; updates of {listed(damped)}, which act on themselves, go min(1, {dynamics.damping:g}/(1 + mκ)) of the "
            "way from where they are, with the largest slope m of σ and a bound κ on ‖W‖ from the weights"
        )
    return f"free phase: F never rises, but for rounding: {how}"


def _nudged(graph: NetworkGraph, schedule: Schedule) -> str:
    reasons = nudged_never_rises(graph, schedule)
    if reasons:
        return f"nudged phases: F ± βC may rise: {'; '.join(reasons)}"
    return "nudged phases: F ± βC never rises, but for rounding, with labels as targets"


def _rest(graph: NetworkGraph) -> str:
    dynamics = graph.architecture.dynamics
    if dynamics.noise:
        return "rest: none: the states fluctuate, and the residual does not fall below the noise"
    if dynamics.state_bits:
        return "rest: on the grid of the rounded states, where F need not be stationary"
    if _untied(graph):
        return "rest: where no update changes a state; nothing is stationary there"
    what = "with the weights rounded, " if dynamics.weight_bits else ""
    activations = [graph.states[name].activation for name in graph.dynamic]
    box = ", for ReLUα on its box" * any(one.projects and not one.linear for one in activations)
    return f"rest: {what}exactly where F is stationary{box}"


def _sweeps(graph: NetworkGraph, schedule: Schedule) -> str:
    """What is known of the sweeps of an energy that reads edges forward: measurements (docs/language.md)."""
    if graph.architecture.dynamics.chosen_solver.errors:
        return (
            "error sweeps: not proven to settle; measured on chains and residual networks at β = 0.01, two rounds "
            "leave a residual of 1e-4 to 2e-3"
        )
    if schedule.name == "synchronous":
        return "schedule synchronous: not known to settle; in measurements it diverged"
    if not schedule.proper:
        pairs = [f"{e.source} and {e.target}" for e in schedule.conflicts]
        pairs += [" and ".join(pair) for pair in schedule.unjoined]
        return (
            f"schedule {schedule.name}: not known to settle: it moves states together that read each other "
            f"({listed(pairs)})"
        )
    return (
        f"schedule {schedule.name}: F ± βC falls in the update of a state if all its edges out, as one map, have a "
        "norm below 1, where σ is on one linear piece; with larger weights, as of identity skips, sweeps may settle "
        "slowly or diverge"
    )


def _forward(graph: NetworkGraph) -> Iterator[str]:
    """What a network predicts whose estimator uses the feed-forward network of its wiring."""
    order = [name for name in graph.forward_order if not graph.states[name].clamped]
    yield (
        "prediction: the feed-forward equivalent of this wiring: one pass over "
        f"{listed(order)}, with s = σ(Σ A s + b) over the edges into a state"
    )
    if graph.energy.feedforward:
        yield f"rest: the pass is the free equilibrium of energy {graph.architecture.energy}"
    else:
        yield f"rest: no state relaxes, and energy {graph.architecture.energy} is not used"


def _gradient(graph: NetworkGraph) -> Iterator[str]:
    dynamics = graph.architecture.dynamics
    name = graph.architecture.learning.estimator
    rule = ESTIMATORS[name]
    if graph.energy.feedforward and rule.differentiates and not rule.feedforward:
        # Its free phase is that pass.
        yield f"gradient: {ESTIMATORS['backprop'].error}; σ′ is 0 at a kink"
    elif rule.feedforward:
        yield f"gradient: {rule.error}; σ′ is 0 at a kink"
    elif _untied(graph):
        yield "gradient: not that of the loss until feedback has aligned with the weights"
    elif rule.clamps_output:
        yield f"gradient: that of the contrast of {name}, a difference of energies, and not that of the loss"
    elif rule.differentiates:
        yield f"gradient: {rule.error or 'as estimator ' + name + ' differentiates it'}"
    elif dynamics.state_bits:
        yield "gradient: a nudge that moves a state by less than half a step leaves it where it is"
    else:
        kinked = [name for name in graph.dynamic if not graph.states[name].activation.smooth]
        pooled = [edge.name for edge in _pooled(graph)]
        parts = [f"kinks of {listed(kinked)}"] * bool(kinked) + [f"arg-maxes of {listed(pooled)}"] * bool(pooled)
        crossed = f"; units that the nudge moves across {' and '.join(parts)} add to it" if parts else ""
        of = "backpropagation's of the feed-forward network" if graph.energy.feedforward else "that of the loss"
        yield f"gradient: at rest {of}, with an error of {rule.error or 'unknown order'}{crossed}"
    if dynamics.weight_bits:
        yield "gradient: that of the rounded weights, which the float weights follow (straight-through)"
    if dynamics.noise:
        yield "gradient: noise that both nudged phases share cancels to first order; a one-sided one keeps it, over β"
    levels = [name for name in graph.dynamic if graph.states[name].activation.learnt]
    if levels:
        yield f"gradient: the levels α of {listed(levels)} learn from units that stand at them"


def _holomorphic(graph: NetworkGraph) -> str:
    dynamics = graph.architecture.dynamics
    rough = [
        f"{name} ({graph.states[name].activation.label})"
        for name in graph.dynamic
        if not graph.states[name].activation.holomorphic
    ]
    rough += [f"{edge.name} ({edge.kind.label()})" for edge in graph.edges.values() if edge.bends(graph.input.name)]
    cost = graph.architecture.output.cost
    rough += [f"the cost {cost}"] * (not COSTS[cost].holomorphic)
    rough += ["rounded states"] * bool(dynamics.state_bits)
    return f"holomorphic: no: {listed(rough)}" if rough else "holomorphic: the equilibrium continues to small complex β"


def _pooled(graph: NetworkGraph) -> list[Edge]:
    """Edges whose arg-max can move: not those of the clamped input."""
    return [e for e in graph.edges.values() if not e.unary and e.bends(graph.input.name)]


def _untied(graph: NetworkGraph) -> list[str]:
    return [name for name, edge in graph.edges.items() if edge.untied]


def _positive(state: State) -> bool:
    bounds = state.activation.bounds(1.0)
    return not state.clamped and bounds is not None and bounds[0] >= 0
