"""All that can be said about a network whose graph could be built: what it cannot use, and what is doubtful."""

from __future__ import annotations

from collections.abc import Iterator

from epgraph.errors import Diagnostic, Location
from epgraph.graph.doubts import doubts
from epgraph.graph.idle import idle
from epgraph.graph.network import Edge, NetworkGraph
from epgraph.graph.rules import rule_refusals, rule_warnings
from epgraph.graph.schedule import make_schedule
from epgraph.graph.solver import solver_refusals
from epgraph.optimizers import rate_schedule


def check(graph: NetworkGraph, schedule: str | None = None) -> list[Diagnostic]:
    """Return every mistake, located in the file, and where there is none everything that is doubtful.

    ``load``, ``inspect``, ``epgraph check`` and ``compile`` ask this.

    Parameters
    ----------
    schedule
        Overrides ``dynamics.schedule``, as the option ``--schedule`` does.
    """
    architecture = graph.architecture
    order = make_schedule(graph, schedule or architecture.dynamics.schedule)
    found = [
        *solver_refusals(graph, order),
        *rule_refusals(graph, architecture.learning.estimator),
        *_below_the_floor(graph),
    ]
    if not found:
        found = [*rule_warnings(graph), *doubts(graph, order), *idle(graph)]
    return [
        diagnostic.located(f"--schedule {schedule}", None, None)
        if schedule and diagnostic.rule == "not-proper"
        else architecture.locate(diagnostic)
        for diagnostic in found
    ]


def _below_the_floor(graph: NetworkGraph) -> Iterator[Diagnostic]:
    """Learning rates that the schedule, which ends at ``min_learning_rate``, would raise while training."""
    architecture = graph.architecture
    training = architecture.training
    name, schedule = rate_schedule(training.optimizer, training.schedule)
    if not schedule.falls:
        return
    index = {name: i for i, name in enumerate(graph.edges)}
    rates: dict[Location, float] = {}
    for part in graph.trained:
        if part.learning_rate is None:
            rates["training", "learning_rate"] = training.learning_rate
        elif isinstance(part, Edge):
            rates[*architecture.edge_location(index[part.name]), "learning_rate"] = part.learning_rate
        else:
            at = ("output",) if part is graph.output else ("states", part.name)
            rates[*at, "learning_rate"] = part.learning_rate
    for location, rate in rates.items():
        if 0 < rate < training.min_learning_rate:
            message = f"the learning rate {rate:g} is below training.min_learning_rate {training.min_learning_rate:g}"
            yield Diagnostic(
                f"{message}, where {name} ends",
                f"e.g. training.min_learning_rate: {rate / 100:g}; a learning rate of 0 freezes",
                location,
                rule="learning-rate",
            )
