"""What the predictive-coding energy asks of a network, and what is known of its phases. No torch."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx

from epgraph.activations import Activation
from epgraph.energies.directed import arrows
from epgraph.energies.symbols import Link, Wiring
from epgraph.errors import Diagnostic, Location

MOST_SHOWN = 12
"""Most states that a message about a cycle names."""


def misdirected(graph: Wiring) -> Iterator[tuple[int, Link, str, str]]:
    """Yield edges without a direction from the input to the output: number, edge, reason, and what to do."""
    # The output is declared last, the input first.
    source, sink = next(iter(graph.states)), list(graph.states)[-1]
    for index, edge in enumerate(graph.edges.values()):
        if edge.unary:
            reason = f"({edge.kind.name}) acts on the state '{edge.source}' alone, and a forward pass reads every edge "
            yield index, edge, reason + "from one state to another", "remove it"
        elif edge.target == source:
            reason = f"leads into the input '{source}', which is held at the data and predicts nothing"
            yield index, edge, reason, "write it the other way round"
        elif edge.source == sink:
            yield (
                index,
                edge,
                f"leaves the output '{sink}', the end of the forward pass",
                "write it the other way round",
            )
    yield from _cycles(graph, {source, sink})


def refusals(graph: Wiring) -> Iterator[Diagnostic]:
    """Yield why a network cannot have the energy: edges without a direction from input to output, cycles, no σ′."""
    sink = list(graph.states)[-1]
    for index, edge, reason, hint in misdirected(graph):
        if edge.source == sink and sink not in graph.dynamic:
            continue  # a readout refuses it
        message = f"energy predictive: edge '{edge.name}' {reason}"
        yield Diagnostic(message, f"{hint}, or use energy: hopfield", ("edges", index), rule="energy")
    untied = next((edge for edge in graph.edges.values() if edge.untied), None)
    if untied is not None:
        reason = "errors return through Aᵀ of the same weight, and with a feedback weight of its own "
        message = f"energy predictive: {reason}(edge '{untied.name}') an update is no step on E"
        yield Diagnostic(message, "use feedback: tied", ("learning", "feedback"), rule="energy")
    for name in graph.dynamic:
        activation = graph.states[name].activation
        if type(activation).derivative is Activation.derivative and not activation.linear:
            message = (
                f"energy predictive: the activation {activation.label} of state '{name}' declares no derivative σ′"
            )
            hint = "give its class a method 'derivative', or use energy: hopfield"
            at: Location = ("output", "activation") if name == sink else ("states", name)
            yield Diagnostic(message, hint, at, on_key=name != sink, rule="energy")


def _cycles(graph: Wiring, ends: set[str]) -> Iterator[tuple[int, Link, str, str]]:
    """One edge for each set of states that reach each other: a shortest cycle through its first edge back."""
    inner = arrows(graph)
    inner.remove_nodes_from(ends)
    place = {name: i for i, name in enumerate(graph.states)}
    group = {
        name: number
        for number, names in enumerate(nx.strongly_connected_components(inner))
        for name in (names if len(names) > 1 else ())
    }
    told: set[int] = set()
    for index, edge in enumerate(graph.edges.values()):
        number = group.get(edge.source)
        # Every cycle has an edge to a state that is declared earlier.
        if number is None or number in told or group.get(edge.target) != number:
            continue
        if place[edge.target] > place[edge.source]:
            continue
        told.add(number)
        cycle = [*nx.shortest_path(inner, edge.target, edge.source), edge.target]
        shown = cycle if len(cycle) <= MOST_SHOWN else [*cycle[: MOST_SHOWN - 2], "…", cycle[-1]]
        reason = f"closes the cycle {' → '.join(shown)}, and a forward pass needs states one after the other"
        yield index, edge, reason, f"write edge '{edge.name}' from '{edge.target}' to '{edge.source}', or remove it"


def guarantees(graph: Wiring) -> list[str]:
    """Sentences about the free phase, the nudged phases and their rest."""
    return [
        "free phase: one forward pass in the order of the edges is its equilibrium: every error and E are 0, exactly",
        "nudged phases: in general F ± βC may rise, and where they rest may be a saddle: the estimate needs "
        "stationarity, and no more",
        "rest: with smooth σ exactly where F ± βC is stationary, for sweeps and error sweeps alike; ReLUα units "
        "outside (0, α) differ: pgd is stationary on the box, mod_pgd holds them at its sides, error sweeps do not",
    ]
