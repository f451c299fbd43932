"""The predictive-coding energy E = ½ Σ ‖sⁿ − σ(aₙ)‖² with the bottom-up sums aₙ = Σ A_e s + bₙ (docs/references.md).

Edges are read in their direction, without cycles. The free equilibrium is one forward pass: sⁿ = σ(aₙ), E = 0. A state
feels B = Σ A_jᵀ[σ′(a_j) ⊙ ε_j], with the errors ε = s − σ(a) of the states that its edges lead to.

Errors are of order β. Of a pair of states, common and odd part are subtracted separately, so the odd part of an error
has as many digits as the odd part of a state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from epgraph.energies import predictive_checks
from epgraph.energies.directed import moral
from epgraph.energies.energy import Energy
from epgraph.energies.symbols import Link, Node, Pointwise, Symbols, Wiring
from epgraph.errors import Diagnostic

if TYPE_CHECKING:
    from torch import Tensor


class Predictive(Energy):
    """E = ½ Σ ‖s − σ(a)‖² (Kerjan, Høier and Scellier 2026)."""

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
        """Edges of the moral graph: a state reads the sums of its children, and so their other parents."""
        dynamic = set(graph.dynamic)
        return (pair for pair in moral(graph) if dynamic.issuperset(pair))

    def signal(self, at: Symbols, state: Node) -> Tensor:
        """σ′(a) ⊙ ε: what a state sends back along the edges into it."""
        if at.errors:
            return at.sent(state.name)
        sent = at.carried_signal(state)
        if sent is not None:
            return at.weighed(sent)
        error = at.carried_error(state.name)
        if error is not None:
            return at.weighed(self.send(at, state, error))
        summed, value, linear = at.bottom_up(state.name), at.state(state.name), state.activation.linear
        return at.weighed(value - summed if linear else at.pointwise("signal", state, _signal, summed, value))

    def send(self, at: Symbols, state: Node, error: Tensor) -> Tensor:
        """σ′(a) ⊙ ε of an error."""
        if state.activation.linear:
            return error
        return at.pointwise("sent", state, _sent, at.bottom_up(state.name), error)

    def feedback(self, at: Symbols, state: Node) -> list[Tensor]:
        """A_jᵀ[σ′(a_j) ⊙ ε_j] of every edge out of a state; of a readout the nudge."""
        graph = at.graph
        edges = [edge for edge in graph.post(state.name) if at.nudges or not graph.reads_out(edge)]
        return [
            at.adjoint(edge) if graph.reads_out(edge) else at.adjoint(edge, self.signal(at, graph.states[edge.target]))
            for edge in edges
        ]

    def drive(self, at: Symbols, state: Node) -> Tensor:
        """a + B."""
        return at.total(state, at.bottom_up(state.name), self.feedback(at, state))

    def update(self, at: Symbols, state: Node) -> Tensor:
        """σ(a + B) if σ is a projection (mod-PGD, their Eq. 20), else σ(a) + B, where E is stationary.

        ``update: pgd`` takes σ(σ(a) + B) (their Eq. 19).
        """
        bottom_up, level = at.bottom_up(state.name), at.level(state)
        start = bottom_up if _mixed(at, state) else at.activated(state, at.copy(bottom_up), level)
        summed = at.nudged(state, at.total(state, start, self.feedback(at, state)))
        return at.activated(state, summed, level) if state.activation.projects else summed

    def reply(self, at: Symbols, state: Node, bottom_up: Tensor, error: Tensor) -> Tensor:
        """σ(a) + ε."""
        return bottom_up + error if state.activation.linear else at.pointwise("reply", state, _reply, bottom_up, error)

    def edge_energy(self, at: Symbols, edge: Link) -> None:
        """Add nothing: edges act through the sums of states."""

    def state_energy(self, at: Symbols, state: Node) -> None:
        """Add ½‖ε‖²."""
        s, predicted = at.state(state.name), at.activated(state, at.bottom_up(state.name), at.level(state))
        at.add("own", 0.5 * (s - predicted).square().flatten(1).sum(1))

    def edge_gradient(self, at: Symbols, edge: Link) -> Tensor:
        """Contrast of −∂F/∂w = (σ′(a) ⊙ ε) ⊗ s."""
        weight = at.weight(edge)
        assert weight is not None
        source, signal = at.state(edge.source), self.signal(at, at.graph.states[edge.target])
        kind, shape = edge.kind, at.shape(edge.source)
        if not at.pair:
            return at.contracted(edge, source, signal)
        if at.graph.states[edge.source].clamped and kind.is_linear:
            # The clamped input has no odd part.
            return kind.weight_gradient(weight, source.chunk(2)[0], signal.chunk(2)[1], shape)
        return kind.weight_contrast(weight, source, signal, shape)

    def bias_gradient(self, at: Symbols, state: Node) -> Tensor:
        """Contrast of −∂F/∂b = σ′(a) ⊙ ε, summed over batch and pixels."""
        signal = self.signal(at, state)
        odd = signal.chunk(2)[1] if at.pair else signal
        return odd.sum(dim=[0, *range(2, 1 + len(state.shape))])

    def level_gradient(self, at: Symbols, state: Node) -> Tensor:
        """Contrast of −∂F/∂α = Σ ε over the units whose sum is above α."""
        assert not isinstance(at.level(state), float)
        bottom_up, error = at.bottom_up(state.name), at.carried_error(state.name)
        above = (
            at.pointwise("above", state, _above, bottom_up, at.state(state.name))
            if error is None
            else at.pointwise("above_error", state, _above_error, bottom_up, error)
        )
        above = at.weighed(above)
        return (above.chunk(2)[1] if at.pair else above).sum()

    def input_gradient(self, at: Symbols, edge: Link) -> Tensor:
        """Contrast of −∂F/∂x = A_eᵀ(σ′(a) ⊙ ε)."""
        sent = at.adjoint(edge, self.signal(at, at.graph.states[edge.target]))
        return sent.chunk(2)[1] if at.pair else sent

    def written(self, state: str, terms: list[str]) -> str:
        """Write σ′ and ε into the terms that flow back."""
        back = [f"{term.split(' ')[0]}(σ′ ⊙ ε)[{term.split(' ')[1]}]" for term in terms if "]ᵀ " in term]
        return " + ".join([f"a[{state}]", *back])


def _mixed(at: Symbols, state: Node) -> bool:
    """Whether feedback is added to the sum before σ, which is right for projections alone."""
    return state.activation.linear or (state.activation.projects and at.projection == "mod_pgd")


def _signal(of: Pointwise, a: Tensor, s: Tensor) -> Tensor:
    """σ′(a) ⊙ (s − σ(a))."""
    # Where a projection has a slope, σ(a) is a.
    return of.sloped(a, of.minus(s, a if of.activation.projects else of.sigma(a)))


def _sent(of: Pointwise, a: Tensor, error: Tensor) -> Tensor:
    """σ′(a) ⊙ ε."""
    return of.sloped(a, error)


def _reply(of: Pointwise, a: Tensor, error: Tensor) -> Tensor:
    """σ(a) + ε."""
    return of.plus(of.sigma(a), error)


def _above(of: Pointwise, a: Tensor, s: Tensor) -> Tensor:
    """ε = s − σ(a) of the units that are held at their level."""
    return of.times(of.above(a), of.minus(s, of.sigma(a)))


def _above_error(of: Pointwise, a: Tensor, error: Tensor) -> Tensor:
    """ε of the units that are held at their level."""
    return of.times(of.above(a), error)
