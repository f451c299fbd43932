"""The comments of emitted code: which equation a function computes."""

from __future__ import annotations

from collections.abc import Iterable

from epgraph.compiler.trace.context import Context, Nudging, PhaseName
from epgraph.graph import State
from epgraph.lowering import Term, Update

_SIGN = {"nudged": "−", "pair": "∓"}


def written(term: Term) -> str:
    """Write what an edge contributes to a sum."""
    edge = term.edge
    if edge.unary:
        return f"∂φ[{edge.name}]/∂{edge.source}"
    if term.direction == "forward":
        return f"A[{edge.name}] {edge.source}"
    return f"{'B' if edge.untied else 'A'}[{edge.name}]ᵀ {edge.target}"


def written_constant(state: State, terms: Iterable[Term]) -> str:
    """Write what a state receives once per batch."""
    biased = state.bias_shape is not None
    return f"c[{state.name}] = {' + '.join([f'b[{state.name}]'] * biased + [written(term) for term in terms])}"


def written_sum(context: Context, update: Update, phase: PhaseName = "free") -> str:
    """Write what σ is applied to, without nudge."""
    parts = [f"c[{update.state}]"] * (update.state in context.driven)
    for term in context.acting(update, phase):
        feedback = f"A[{term.edge.name}]ᵀ({_SIGN.get(phase)}β ∂C/∂{term.edge.target})"
        parts.append(feedback if context.feeds_back(term) else written(term))
    return context.graph.energy.written(update.state, parts)


def equation(context: Context, update: Update, phase: PhaseName, relaxed: bool, nudging: Nudging) -> str:
    """Write the update of a state."""
    name, state, dynamics = update.state, context.graph.states[update.state], context.dynamics
    summed = written_sum(context, update, phase)
    if nudging is not None:
        summed += f" {_SIGN[phase]} β " + ("∂C/∂s" if nudging == "cost" else f"f[{name}]")
    reads = context.is_readout(state)
    summed += " + noise" if dynamics.noise and not reads else ""
    steps, projects = relaxed and not reads, state.activation.projects
    if steps and (projects or dynamics.flow):
        old = name if projects else f"σ⁻¹({name})"
        summed = f"{old} + ω({summed} − {old})"
    new = f"{state.activation.label}({summed})"
    if steps and not projects and not dynamics.flow:
        new = f"{name} + ω({new} − {name})"
    damped = context.graph.damped(name)
    if damped:
        bounds = " + ".join(f"‖{edge.name}‖" for edge in damped)
        return f"{name} ← {name} + min(1, {dynamics.damping:g}/(1 + mκ)) ({new} − {name}), κ ≥ {bounds}"
    return f"{name} ← {new}"
