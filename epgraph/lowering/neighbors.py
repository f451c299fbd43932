"""Pass: give every update the sum over pre(n) and post(n) (Eq. 10, 11), and over the state's unary edges."""

from __future__ import annotations

from dataclasses import replace

from epgraph.lowering.plan import Plan, Term, Update


def neighbor_sums(plan: Plan) -> Plan:
    """Fill each update with A_e s^i over pre(n), A_eᵀ s^j over post(n) and ∂φ/∂s, each in declaration order."""
    terms = {
        name: tuple(Term(e, "forward") for e in plan.graph.pre(name))
        + tuple(Term(e, "adjoint") for e in plan.graph.post(name))
        + tuple(Term(e, "forward") for e in plan.graph.unary_edges(name))
        for name in plan.graph.free
    }
    classes = tuple(tuple(Update(u.state, terms[u.state]) for u in updates) for updates in plan.classes)
    return replace(plan, classes=classes)
