"""The compiler's passes, in the order in which they run. Each is a pure function from plan to plan."""

from __future__ import annotations

from collections.abc import Callable

from epgraph.graph import NetworkGraph, check_rule, check_solver, make_schedule
from epgraph.passes.hoist import hoist_clamped
from epgraph.passes.neighbours import neighbour_sums
from epgraph.passes.plan import Plan, Term, Update, verify
from epgraph.passes.report import report

PASSES: tuple[Callable[[Plan], Plan], ...] = (
    neighbour_sums,
    hoist_clamped,
)


def lower(graph: NetworkGraph, schedule: str) -> Plan:
    """Lower a graph to the plan of its sweeps; the plan is verified after every pass."""
    order = make_schedule(graph, schedule)
    check_solver(graph, order)
    check_rule(graph, graph.architecture.learning.estimator)
    plan = Plan(graph, order, tuple(tuple(Update(name) for name in names) for names in order.classes))
    for compiler_pass in PASSES:
        plan = verify(compiler_pass(plan))
    return plan


__all__ = ["PASSES", "Plan", "Term", "Update", "lower", "report", "verify"]
