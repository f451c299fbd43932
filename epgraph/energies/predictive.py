"""The predictive-coding energy E = ½ Σ ‖sⁿ − σ(aₙ)‖² with the bottom-up sums aₙ = Σ A_e s + bₙ (docs/references.md).

Edges are read in their direction, without cycles. The free equilibrium is one forward pass: sⁿ = σ(aₙ), E = 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from epgraph.energies import predictive_checks
from epgraph.energies.directed import moral
from epgraph.energies.energy import Energy
from epgraph.energies.symbols import Link, Node, Symbols, Wiring
from epgraph.errors import Diagnostic

if TYPE_CHECKING:
    from torch import Tensor


class Predictive(Energy):
    """E = ½ Σ ‖εₙ‖² with the errors εₙ = sⁿ − σ(aₙ).

    A state reads its own sum, and the errors of the states that its edges lead to: s ← σ(a + Σ A_jᵀ[σ′(a_j) ⊙ ε_j]) if
    σ is a projection (mod-PGD of Kerjan et al. 2026, their Eq. 20), and s ← σ(a) + Σ A_jᵀ[σ′(a_j) ⊙ ε_j] else.
    """

    feedforward: ClassVar[bool] = True
    reads: ClassVar[frozenset[str]] = frozenset({"update"})
    betas: ClassVar[tuple[float, float]] = (2e-4, 0.1)
    defaults: ClassVar[Mapping[str, Any]] = {"schedule": "backward", "nudged_steps": 5}

    def refusals(self, graph: Wiring) -> Iterator[Diagnostic]:
        """Yield why a network cannot have this energy."""
        return predictive_checks.refusals(graph)

    def guarantees(self, graph: Wiring) -> list[str]:
        """Sentences about the phases and their rest."""
        return predictive_checks.guarantees(graph)

    def interactions(self, graph: Wiring) -> Iterator[tuple[str, str]]:
        """Edges of the moral graph: the sum of a state reads all states with an edge into it."""
        dynamic = set(graph.dynamic)
        return (pair for pair in moral(graph) if dynamic.issuperset(pair))

    def error(self, at: Symbols, state: Node, bottom_up: Tensor) -> Tensor:
        """ε = s − σ(a)."""
        predicted = at.activated(state, at.copy(bottom_up), at.level(state))
        return at.state(state.name) - predicted

    def signal(self, at: Symbols, state: Node) -> Tensor:
        """σ′(a) ⊙ ε."""
        bottom_up = at.sum(state.name, "forward")
        return at.sloped(state, bottom_up, self.error(at, state, bottom_up), at.level(state))

    def feedback(self, at: Symbols, state: Node) -> list[Tensor]:
        """A_jᵀ[σ′(a_j) ⊙ ε_j] of every edge out of a state."""
        found = []
        for edge in at.graph.post(state.name):
            if at.graph.reads_out(edge):
                found += [at.adjoint(edge)] * at.feeds(edge)
            else:
                found.append(at.adjoint(edge, self.signal(at, at.graph.states[edge.target])))
        return found

    def drive(self, at: Symbols, state: Node) -> Tensor:
        """a + Σ A_jᵀ[σ′(a_j) ⊙ ε_j]."""
        summed = at.sum(state.name, "forward")
        for part in self.feedback(at, state):
            summed = summed + part
        return summed

    def update(self, at: Symbols, state: Node) -> Tensor:
        """New value of a state."""
        level, bottom_up = at.level(state), at.sum(state.name, "forward")
        parts = self.feedback(at, state)
        # A projection takes the feedback with the sum; else it is added to what σ gives, where E is stationary.
        summed = bottom_up if state.activation.projects else at.activated(state, bottom_up, level)
        for part in parts:
            summed = summed + part
        summed = at.nudged(state, summed)
        return at.activated(state, summed, level) if state.activation.projects else summed

    def edge_energy(self, at: Symbols, edge: Link) -> None:
        """Add nothing: edges act through the sums of states."""

    def state_energy(self, at: Symbols, state: Node) -> None:
        """Add ½‖ε‖²."""
        error = self.error(at, state, at.sum(state.name, "forward"))
        at.add("own", 0.5 * error.square().flatten(1).sum(1))

    def edge_gradient(self, at: Symbols, edge: Link) -> Tensor:
        """½[∂F/∂w(s⁻) − ∂F/∂w(s⁺)] = the contrast of s ⊗ σ′(a) ⊙ ε."""
        weight = at.weight(edge)
        assert weight is not None
        signal = self.signal(at, at.graph.states[edge.target])
        return edge.kind.weight_contrast(weight, at.state(edge.source), signal, at.shape(edge.source))

    def bias_gradient(self, at: Symbols, state: Node) -> Tensor:
        """Odd part of σ′(a) ⊙ ε, summed over batch and pixels."""
        odd = self.signal(at, state).chunk(2)[1]
        return odd.sum(dim=[0, *range(2, 1 + len(state.shape))])
