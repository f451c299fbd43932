"""The network as plain values: the output of ``epgraph check --json``."""

from __future__ import annotations

from typing import Any

from epgraph.energies.directed import co_parents, common_child
from epgraph.graph import guaranteed
from epgraph.language.choices import choice_to_yaml
from epgraph.lowering.plan import Plan


def report(plan: Plan) -> dict[str, Any]:
    """Describe a plan: states, edges, schedule, parameters and cost, ready for JSON.

    ``macs`` of an edge counts one application of A_e to one example. ``macs_per_sweep`` excludes the clamped input's
    contributions, which are computed once per batch. ``color`` is the index in ``schedule.classes`` of the class in
    which a state (first) moves; null for the clamped input. ``solver`` is what ``dynamics.solver`` has, whichever key
    names it. ``guarantees`` are sentences. A unary edge has its state as ``from`` and ``to``. Optional keys:
    ``tied_to``, the edge whose weight an edge shares; ``frozen`` of an edge; and the number of ``frozen`` weights,
    which ``parameters`` excludes; ``one_pass`` of a network by ``backprop``, whose plan is that of its forward pass:
    there ``color`` and ``schedule.classes`` are steps of it, and ``macs_per_sweep`` is its work. Of an energy that
    reads edges forward, every state has its ``co_parents``, the other states with an edge into one that it has an edge
    into; and a conflict without an edge has ``child``, the first state that both lead into.
    """
    graph, schedule = plan.graph, plan.schedule
    color: dict[str, int] = {}
    for number, names in enumerate(schedule.classes):
        for name in names:
            color.setdefault(name, number)
    forward = graph.energy.feedforward
    return {
        "name": graph.architecture.name,
        **({"one_pass": True} if graph.by_backprop else {}),
        "energy": graph.architecture.energy,
        "states": [
            {
                "name": name,
                "shape": list(state.shape),
                "activation": None if state.clamped else state.activation.label,
                "clamped": state.clamped,
                "pre": list(dict.fromkeys(e.source for e in graph.pre(name))),
                "post": list(dict.fromkeys(e.target for e in graph.post(name))),
                **({"co_parents": list(co_parents(graph, name))} if forward else {}),
                "color": color.get(name),
            }
            for name, state in graph.states.items()
        ],
        "edges": [
            {
                "name": name,
                "from": edge.source,
                "to": edge.target,
                "kind": edge.kind.name,
                "weight_shape": None if edge.weight_shape is None else list(edge.weight_shape),
                "macs": edge.macs,
                **({"tied_to": edge.tied} if edge.tied else {}),
                **({"frozen": True} if edge.frozen else {}),
            }
            for name, edge in graph.edges.items()
        ],
        "schedule": {
            "name": schedule.name,
            "classes": [list(names) for names in schedule.classes],
            "proper": schedule.proper,
            "conflicts": [
                *({"edge": e.name, "states": [e.source, e.target]} for e in schedule.conflicts),
                *(
                    {"edge": None, "states": [*pair], **({"child": common_child(graph, *pair)} if forward else {})}
                    for pair in schedule.unjoined
                ),
            ],
        },
        "solver": choice_to_yaml(graph.architecture.dynamics.chosen_solver, complete=True),
        "guarantees": guaranteed(graph, schedule),
        "parameters": graph.parameters(),
        **({"frozen": graph.frozen()} if graph.frozen() else {}),
        "macs_per_sweep": plan.macs_per_sweep(),
    }
