"""Settings of the training that the network cannot use."""

from __future__ import annotations

from collections.abc import Iterator

from epgraph.errors import Diagnostic, Location
from epgraph.graph.network import Edge, NetworkGraph
from epgraph.optimizers import rate_schedule


def training_refusals(graph: NetworkGraph) -> Iterator[Diagnostic]:
    """Learning rates that the schedule, which ends at ``min_learning_rate``, would raise while training."""
    architecture = graph.architecture
    training = architecture.training
    name, schedule = rate_schedule(training.optimizer, training.schedule)
    if not schedule.falls:
        return
    index = {edge: position for position, edge in enumerate(graph.edges)}
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
