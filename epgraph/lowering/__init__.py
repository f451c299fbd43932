"""Lowering: graph → plan, without torch. ``PASSES`` lists the steps; each is a pure function from plan to plan."""

from __future__ import annotations

from collections.abc import Callable

from epgraph.graph import NetworkGraph, forward_pass, make_schedule, mistakes
from epgraph.lowering.equations import Equation, Symbol, equations
from epgraph.lowering.hoist import hoist_clamped
from epgraph.lowering.neighbors import neighbor_sums
from epgraph.lowering.plan import Plan, Term, Update, verify
from epgraph.lowering.report import report

PASSES: tuple[Callable[[Plan], Plan], ...] = (
    neighbor_sums,
    hoist_clamped,
)


def lower(graph: NetworkGraph, schedule: str) -> Plan:
    """Lower a graph to the plan of its sweeps, verified after every pass. ``check`` must have accepted the graph."""
    order = make_schedule(graph, schedule)
    assert not (refused := mistakes(graph, schedule)), f"not checked: {refused[0].message}"
    plan = Plan(graph, order, tuple(tuple(Update(name) for name in names) for names in order.classes))
    for compiler_pass in PASSES:
        plan = verify(compiler_pass(plan))
    return plan


def depicted(graph: NetworkGraph, schedule: str) -> Plan:
    """Return what diagrams show of a network: the plan of its sweeps, or of a forward pass where nothing relaxes."""
    plan = lower(graph, schedule)
    if not graph.by_backprop:
        return plan
    order = forward_pass(graph)
    forward = {name: tuple(Term(edge, "forward") for edge in graph.pre(name)) for name in graph.free}
    return Plan(graph, order, tuple(tuple(Update(name, forward[name]) for name in names) for names in order.classes))


__all__ = [
    "PASSES",
    "Equation",
    "Plan",
    "Symbol",
    "Term",
    "Update",
    "depicted",
    "equations",
    "lower",
    "report",
    "verify",
]
