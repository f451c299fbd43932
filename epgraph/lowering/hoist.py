"""Pass: take the contributions of the clamped input out of the sweep."""

from __future__ import annotations

from dataclasses import replace

from epgraph.lowering.plan import Plan, Update


def hoist_clamped(plan: Plan) -> Plan:
    """Move the terms that read only the clamped input to the constants, computed once per batch."""
    clamped = {plan.graph.input.name}
    constants: dict[str, Update] = {}
    classes = []
    for updates in plan.classes:
        remaining = []
        for update in updates:
            moving = tuple(t for t in update.terms if t.reads != clamped)
            constants[update.state] = Update(update.state, tuple(t for t in update.terms if t.reads == clamped))
            remaining.append(Update(update.state, moving))
        classes.append(tuple(remaining))
    return replace(plan, classes=tuple(classes), constants=tuple(constants[n] for n in plan.graph.free))
