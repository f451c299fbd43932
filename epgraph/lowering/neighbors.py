"""Pass: give every update the terms that the energy has for it, e.g. the sums over pre(n) and post(n) (Eq. 10, 11)."""

from __future__ import annotations

from dataclasses import replace

from epgraph.lowering.plan import Plan, Update, due


def neighbor_sums(plan: Plan) -> Plan:
    """Fill each update with its terms, in the order of the energy."""
    terms = {name: due(plan.graph, name) for name in plan.graph.free}
    classes = tuple(tuple(Update(u.state, terms[u.state]) for u in updates) for updates in plan.classes)
    return replace(plan, classes=classes)
