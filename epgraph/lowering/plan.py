"""The plan: the sums of a sweep in their order. The compiler traces it into programs."""

from __future__ import annotations

from dataclasses import dataclass

from epgraph.energies import Direction
from epgraph.graph import Edge, NetworkGraph, Schedule


@dataclass(frozen=True)
class Term:
    """One edge's contribution to a state: A_e s^source or ∂φ/∂s (``forward``), or A_eᵀ s^target (``adjoint``)."""

    edge: Edge
    direction: Direction

    @property
    def receives(self) -> str:
        """The state that the term is added to."""
        return self.edge.target if self.direction == "forward" else self.edge.source

    @property
    def reads(self) -> frozenset[str]:
        """The states that the term depends on; max pooling looks at its source in both directions."""
        if self.direction == "forward":
            return frozenset((self.edge.source,))
        return frozenset((self.edge.target,)) if self.edge.kind.is_linear else self.edge.ends


@dataclass(frozen=True)
class Update:
    """One state's new value: σ(constant + Σ terms), with the nudge where it is the output."""

    state: str
    terms: tuple[Term, ...] = ()


@dataclass(frozen=True)
class Plan:
    """All updates of one sweep.

    Attributes
    ----------
    classes
        Updates that happen together, class after class.
    constants
        Terms of each state that are constant during relaxation and computed once per batch. The bias is one of them.
    """

    graph: NetworkGraph
    schedule: Schedule
    classes: tuple[tuple[Update, ...], ...]
    constants: tuple[Update, ...] = ()

    def macs_per_sweep(self) -> int:
        """Multiply-accumulates of one sweep for one example, without the constants."""
        return sum(term.edge.macs for updates in self.classes for u in updates for term in u.terms)


def due(graph: NetworkGraph, name: str) -> tuple[Term, ...]:
    """Terms that the energy has for the update of a state."""
    return tuple(Term(graph.edges[edge.name], direction) for edge, direction in graph.energy.terms(graph, name))


def verify(plan: Plan) -> Plan:
    """Check that a plan computes what the energy says: an internal invariant, run after every pass.

    Every state that moves has an update. Each update and its constants together contain every term exactly once.
    No constant reads a state that moves.
    """
    graph = plan.graph
    constants = {u.state: u.terms for u in plan.constants}
    updates = [u for updates in plan.classes for u in updates]
    assert {u.state for u in updates} == set(graph.free), "a state that moves has no update"
    for update in updates:
        terms = (*constants.get(update.state, ()), *update.terms)
        assert all(t.receives == update.state for t in terms), f"a term of {update.state} belongs elsewhere"
        held, expected = (
            sorted((term.edge.name, term.direction) for term in of) for of in (terms, due(graph, update.state))
        )
        assert held == expected, f"the sum of {update.state} is {held}, and should be {expected}"
    for hoisted in plan.constants:
        for term in hoisted.terms:
            assert term.reads == {graph.input.name}, f"{term.edge.name} is hoisted but not constant"
    return plan
