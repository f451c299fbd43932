"""The Hopfield energy F = Σ Gₙ(sⁿ) − Φ with Gₙ′ = σ⁻¹ and Φ = Σ ⟨s^j, A_e s^i⟩ + Σ ⟨b, s⟩ (Eq. 7 to 11 of the paper).

Φ is bilinear. So with s± = c ± o the contrast of an edge is c⊗o + o⊗c: one weight gradient, without cancellation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from epgraph.energies.energy import Energy
from epgraph.energies.symbols import Link, Node, Symbols
from epgraph.kinds import Unary

if TYPE_CHECKING:
    from torch import Tensor


class Hopfield(Energy):
    """F = Σ G(s) − Φ; every update is s ← σ(∂Φ/∂s), the minimizer of F if Φ is linear in s."""

    descends: ClassVar[bool] = True
    alike: ClassVar[bool] = True

    def drive(self, at: Symbols, state: Node) -> Tensor:
        """∂Φ/∂s."""
        return at.sum(state.name)

    def edge_energy(self, at: Symbols, edge: Link) -> None:
        """Add ⟨s^j, A_e s^i⟩, or φ(s), to Φ."""
        source, target = at.state(edge.source), at.state(edge.target)
        weight = at.weight(edge)
        if isinstance(edge.kind, Unary):
            assert weight is not None
            at.add("phi", edge.kind.potential(weight, source, at.shape(edge.source)))
        else:
            at.add("phi", at.inner(target, edge.kind.forward(weight, source, at.shape(edge.target))))

    def state_energy(self, at: Symbols, state: Node) -> None:
        """Add ⟨b, s⟩ to Φ, and G(s)."""
        s = at.state(state.name)
        bias = at.bias(state)
        if bias is not None:
            at.add("phi", at.inner(s, bias))
        at.add("own", state.activation.self_energy(s, at.level(state)).flatten(1).sum(1))

    def edge_gradient(self, at: Symbols, edge: Link) -> Tensor:
        """½[∂Φ/∂w(s⁺) − ∂Φ/∂w(s⁻)]."""
        weight = at.weight(edge)
        assert weight is not None
        source, target = at.state(edge.source), at.state(edge.target)
        kind, shape, states = edge.kind, at.shape(edge.source), at.graph.states
        # The clamped input has no odd part. So half of the products vanish for a linear edge.
        linear = kind.is_linear and at.once
        if states[edge.source].clamped and linear:
            return kind.weight_gradient(weight, source.chunk(2)[0], target.chunk(2)[1], shape)
        if states[edge.target].clamped and linear:
            return kind.weight_gradient(weight, source.chunk(2)[1], target.chunk(2)[0], shape)
        if at.once:
            return kind.weight_contrast(weight, source, target, shape)
        (c, o), (d, r) = source.chunk(2), target.chunk(2)
        plus = kind.weight_gradient(weight, c + o, d + r, shape)
        return 0.5 * (plus - kind.weight_gradient(weight, c - o, d - r, shape))

    def bias_gradient(self, at: Symbols, state: Node) -> Tensor:
        """Half of the difference of the two nudged states, summed over batch and pixels."""
        odd = at.state(state.name).chunk(2)[1]
        return odd.sum(dim=[0, *range(2, 1 + len(state.shape))])

    def level_gradient(self, at: Symbols, state: Node) -> Tensor:
        """−∂F/∂α = Σ (a − α)₊, with the pre-activation a, which is computed again for it."""
        activation, level = state.activation, at.level(state)
        assert not isinstance(level, float)
        p, q = self.drive(at, state).chunk(2)
        return activation.excess_contrast(p, q, level).sum()
