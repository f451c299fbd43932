"""Dense ('fully connected') interaction between two states of any shape (Eq. 9)."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, ClassVar

from epgraph.edges.kind import EdgeKind, Shape

if TYPE_CHECKING:
    from torch import Tensor


class Dense(EdgeKind):
    """Matrix w of shape (target units, source units) on flattened states: Φ gains s^jᵀ w s^i."""

    name: ClassVar[str] = "dense"

    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """Free: a dense edge reaches any shape."""
        return None

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        """(target units, source units)."""
        return (prod(target), prod(source))

    def macs(self, source: Shape, target: Shape) -> int:
        """One per weight."""
        return prod(source) * prod(target)

    def forward(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Return w s."""
        assert weight is not None
        return (s.flatten(1) @ weight.T).view(-1, *target)

    def adjoint(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """Return wᵀ t."""
        assert weight is not None
        return (t.flatten(1) @ weight).view(-1, *source)

    def weight_gradient(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """Return t sᵀ, summed over the batch."""
        return t.flatten(1).T @ s.flatten(1)
