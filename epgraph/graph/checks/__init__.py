"""Every check of a network, one concern in each module.

``assemble.examine`` runs the first three while it builds the graph, and ``check`` the rest on the graph.

- ``names``: names are well formed and unique; every edge ends at a state that exists.
- ``ties``: an edge shares the weight of an edge that exists and has a weight of that shape.
- ``reach``: every state is joined to the input and to the output.
- ``dynamics``, ``estimators``, ``training``: what the sections of that name ask for, the network can do.
- ``lint``: what is legal, and may not be what was meant.
- ``idle``: keys that were written and have no effect.
"""

from __future__ import annotations

from epgraph.errors import Diagnostic
from epgraph.graph.checks.dynamics import solver_refusals
from epgraph.graph.checks.estimators import rule_refusals, rule_warnings
from epgraph.graph.checks.idle import idle
from epgraph.graph.checks.lint import lint
from epgraph.graph.checks.training import training_refusals
from epgraph.graph.network import NetworkGraph
from epgraph.graph.schedule import Schedule, make_schedule


def check(graph: NetworkGraph, schedule: str | None = None) -> list[Diagnostic]:
    """Return every mistake, located in the file; where there is none, every warning.

    ``load``, ``inspect``, ``epgraph check`` and ``Network.build`` ask this.

    Parameters
    ----------
    schedule
        Overrides ``dynamics.schedule``, as the option ``--schedule`` does.
    """
    architecture = graph.architecture
    order = _order(graph, schedule)
    diagnostics = _refusals(graph, order) or [*rule_warnings(graph), *lint(graph, order), *idle(graph)]
    return [
        diagnostic.located(f"--schedule {schedule}", None, None)
        if schedule and diagnostic.rule == "not-proper"
        else architecture.locate(diagnostic)
        for diagnostic in diagnostics
    ]


def mistakes(graph: NetworkGraph, schedule: str | None = None) -> list[Diagnostic]:
    """Return every mistake, as ``check`` does, and no warnings: ``compile`` and ``render`` ask this."""
    return [graph.architecture.locate(diagnostic) for diagnostic in _refusals(graph, _order(graph, schedule))]


def _order(graph: NetworkGraph, schedule: str | None) -> Schedule:
    return make_schedule(graph, schedule or graph.architecture.dynamics.schedule)


def _refusals(graph: NetworkGraph, order: Schedule) -> list[Diagnostic]:
    return [
        *solver_refusals(graph, order),
        *rule_refusals(graph, graph.architecture.learning.estimator),
        *graph.energy.refusals(graph),
        *training_refusals(graph),
    ]
