"""Checks of a network, one concern in each module.

``assemble.examine`` runs the first three while it builds the graph. ``check`` runs the others on the graph.

- ``names``: names are legal and unique; every edge ends at an existing state.
- ``ties``: a tie names an existing edge with a weight of the same shape.
- ``reach``: every state is joined to the input and to the output.
- ``dynamics``, ``estimators``, ``training``: the network can use the settings of these sections.
- ``feedforward``: the edges, read in their direction, form a feed-forward network.
- ``lint``: warnings about legal settings that may not be intended.
- ``idle``: warnings about keys without effect.
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
    """Return all mistakes with their positions, or all warnings if there are no mistakes.

    Used by ``load``, ``inspect``, ``epgraph check`` and ``Network.build``.

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
    """Return all mistakes, as ``check``, without warnings; used by ``compile`` and ``render``."""
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
