"""Dynamics beside plain sweeps, and which networks can use them.

What solvers ask of a network (``solvers/``), and the output in closed form. For studies of hardware: gradient flow,
noise, quantized states and weights.

Over-relaxation by ω takes s + ω(sum − s), clipped to the range of σ (projected SOR). Where F is ½‖s‖² minus something
linear in every state, on a box, that never raises F for 0 < ω < 2, and it needs a fraction of the sweeps. Elsewhere
there is no such guarantee, and it is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator

from epgraph.costs import COSTS
from epgraph.errors import Diagnostic
from epgraph.graph.network import NetworkGraph
from epgraph.graph.schedule import Schedule
from epgraph.learning_rules import ESTIMATORS


def solver_refusals(graph: NetworkGraph, schedule: Schedule) -> Iterator[Diagnostic]:
    """Yield why the network cannot use what its ``dynamics`` ask for, and the alternative."""
    dynamics, learning, out = graph.architecture.dynamics, graph.architecture.learning, graph.output
    solver, key = dynamics.chosen_solver, dynamics.solver_key
    reasons = list(solver.refusals(graph, schedule))
    forward = graph.energy.feedforward
    beyond = _no_over_relaxation(graph, schedule) if solver.omega > 1 and not forward else None
    reasons += _no_solver(graph) if forward or solver.errors else []
    for reason, hint in [*reasons, *([beyond] if beyond else [])]:
        yield _refusal(key.key, f"{key.value} cannot be used: {reason}", hint)
    keys = {"solver": dynamics.solver, "over_relaxation": dynamics.over_relaxation != 1, "anderson": dynamics.anderson}
    first, *others = [name for name, value in keys.items() if value] or [""]
    for other in others:
        yield _refusal(other, f"cannot be used together with {first}", "leave one of them out")
    yield from list(_no_steps(graph)) or _no_study(graph)
    if out.activation.learnt:
        needs = f"the level α of the output '{out.name}' cannot be learnt: its gradient needs the force of the nudge, "
        needs += "which is not stored"
        hint = f"use relu{out.activation.alpha_range[1]:g}, or identity"
        yield Diagnostic(needs, hint, ("output", "activation"), rule="dynamics")
    if graph.readout:
        yield from _no_readout(graph)
    if dynamics.output_step != "closed_form":
        return
    cost = graph.architecture.output.cost
    if not COSTS[cost].quadratic or not out.activation.linear:
        needs = f"closed_form needs the squared error and a linear output; '{out.name}' has {cost} and"
        yield _refusal("output_step", f"{needs} {out.activation.label}", "use output_step: explicit")
    elif learning.beta >= 1 and not ESTIMATORS[learning.estimator].only_positive:
        needs = f"closed_form needs beta below 1, found {learning.beta:g}: nudged by −β the output has no equilibrium"
        yield _refusal("output_step", needs, "lower learning.beta")


def _no_solver(graph: NetworkGraph) -> Iterator[tuple[str, str]]:
    """Why the solver does not go with the energy, and what to do instead."""
    solver, energy = graph.architecture.dynamics.chosen_solver, graph.architecture.energy
    if solver.errors and not graph.energy.feedforward:
        yield (
            f"energy {energy} has no errors: its edges act in both directions",
            "use energy: predictive, or leave it out",
        )
    elif solver.mixes or solver.omega != 1:
        what = "mixed sweeps need not descend" if solver.mixes else "nudged updates are full steps"
        reason = f"with energy {energy} the free phase is one forward pass, and {what}"
        yield reason, "use solver: error_sweeps, or leave it out"


def _no_steps(graph: NetworkGraph) -> Iterator[Diagnostic]:
    """Settings of a step that the updates of the energy do not have."""
    dynamics, energy = graph.architecture.dynamics, graph.architecture.energy
    for key in ("flow", "noise", "state_bits"):
        if getattr(dynamics, key) and key not in graph.energy.reads:
            yield _refusal(key, f"cannot be used: the updates of energy {energy} do not have it", "leave it out")


def _no_study(graph: NetworkGraph) -> Iterator[Diagnostic]:
    """What gradient flow, noise or quantized states and weights cannot be used with."""
    dynamics = graph.architecture.dynamics
    solver, without = dynamics.chosen_solver, "leave one of them out"
    key = dynamics.solver_key.key
    name = f"solver {solver.name}" if key == "solver" else key
    solvers = [name] if solver.mixes or solver.omega != 1 else []
    if dynamics.flow and solvers:
        yield _refusal("flow", f"cannot be used together with {solvers[0]}", without)
    if dynamics.noise and solver.mixes:
        yield _refusal(
            "noise", f"cannot be used together with {name}, which would mix the noise of many sweeps", without
        )
    if dynamics.noise and dynamics.tolerance:
        needs = f"{dynamics.noise:g} keeps the residual above any tolerance, found {dynamics.tolerance:g}"
        yield _refusal("noise", needs, "set tolerance: 0")
    if dynamics.state_bits and (dynamics.flow or solvers):
        other = (["flow"] if dynamics.flow else []) + solvers
        reason = f"cannot be used together with {other[0]}: part of a step would be rounded back, or leave the grid"
        yield _refusal("state_bits", reason, without)
    damped = next((edge.name for name in graph.dynamic for edge in graph.damped(name)), None)
    if dynamics.state_bits and damped:
        reason = f"cannot be used with the damped updates that edge '{damped}' needs: they would be rounded back"
        yield _refusal("state_bits", reason, "set damping: null, which no longer descends, or leave the edge out")
    if dynamics.weight_bits == 1:
        yield _refusal("weight_bits", "needs at least 2: one is the sign", "e.g. weight_bits: 8")
    for name in graph.dynamic:
        activation = graph.states[name].activation
        if dynamics.flow and not activation.projects and not activation.invertible:
            needs = f"needs σ⁻¹, which the activation {activation.label} of state '{name}' does not have"
            yield _refusal("flow", needs, "give it 'inverse', or use over_relaxation below 1")
        bounds = activation.bounds(1.0)
        if dynamics.state_bits and bounds is None and graph.states[name].role != "output":
            needs = f"needs a range, which the activation {activation.label} of state '{name}' does not have"
            yield _refusal("state_bits", needs, "use relu6 or tanh there")
        if dynamics.state_bits == 1 and bounds is not None and bounds[0] < 0:
            needs = f"needs at least 2 for state '{name}', whose range has two signs"
            yield _refusal("state_bits", needs, "e.g. state_bits: 8")


def _no_readout(graph: NetworkGraph) -> Iterator[Diagnostic]:
    """Why the output cannot be read off outside the dynamics."""
    cost, out = graph.architecture.output.cost, graph.output
    if not out.activation.linear:
        label = out.activation.label
        message = f"{cost} needs an output without activation, but '{out.name}' has {label}"
        yield Diagnostic(message, "leave activation out", ("output", "activation"), rule="readout")
    for index, edge in enumerate(graph.edges.values()):
        at = ("edges", index)
        if edge.source == out.name:
            message = f"edge '{edge.name}' leaves the output '{out.name}', but with {cost} the output has no dynamics"
            yield Diagnostic(message, "write edges into the output", at, rule="readout")
        elif graph.reads_out(edge) and not edge.kind.is_linear:
            message = f"edge '{edge.name}' ({edge.kind.label()}) into the output '{out.name}' is not linear"
            yield Diagnostic(message, "use dense edges into the output", at, rule="readout")
        elif graph.reads_out(edge) and graph.states[edge.source].activation.learnt:
            message = f"state '{edge.source}' feeds the readout (edge '{edge.name}'), so its level α cannot be learnt"
            yield Diagnostic(message, "give it a fixed level: the force of the nudge is not stored", at, rule="readout")


def _no_over_relaxation(graph: NetworkGraph, schedule: Schedule) -> tuple[str, str] | None:
    """Why stepping beyond the minimum might raise F, and what to do instead; None if it cannot."""
    other = "use a solver that mixes states, such as 'solver: anderson', or leave it out"
    for name in graph.free:
        label = graph.states[name].activation.label
        if not graph.states[name].activation.projects:
            return f"state '{name}' has the activation {label}, where a step beyond the minimum may raise F", other
    for edge in graph.edges.values():
        if edge.unary:
            label = edge.kind.label()
            return f"Φ is not linear in '{edge.source}' (edge '{edge.name}', {label}): a step beyond may raise F", other
        # Where the source is clamped, Φ is linear in what moves.
        if not edge.kind.is_linear and not graph.states[edge.source].clamped:
            label = edge.kind.label()
            return f"edge '{edge.name}' ({label}) is not linear, and a step beyond the minimum may raise F", other
        if edge.untied:
            return f"edge '{edge.name}' has a feedback weight of its own, so that there is no F", other
    if schedule.conflicts:
        edge = schedule.conflicts[0]
        both = f"'{edge.source}' and '{edge.target}', which share edge '{edge.name}'"
        return f"schedule '{schedule.name}' moves {both}, at the same time", "use schedule: coloring"
    return None


def _refusal(key: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(f"{key} {message}", hint, ("dynamics", key), rule="dynamics")
