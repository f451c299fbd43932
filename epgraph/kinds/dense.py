"""Dense ('fully connected') interaction between two states of any shape (Eq. 9), of full or of low rank."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from epgraph.kinds.kind import EdgeKind, Positive, Shape, ShapeError
from epgraph.kinds.products import matrix_product

if TYPE_CHECKING:
    from torch import Tensor


class Dense(EdgeKind):
    """Matrix w of shape (target units, source units) on flattened states: Φ gains s^jᵀ w s^i.

    With a rank r the matrix is U Vᵀ. The weight is then U, (target units, r), above V, (source units, r).
    """

    name: ClassVar[str] = "dense"

    rank: Positive | None = Field(
        default=None,
        description="Rank of the matrix, which is then a product of two: rank · (source units + target units) "
        "weights. Left out, all units are joined to all by a weight of their own.",
        examples=[8],
    )

    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """Return None: a dense edge reaches any shape."""
        return None

    def check(self, source: Shape, target: Shape) -> None:
        """Raise ShapeError where the rank exceeds that of a full matrix."""
        units = min(prod(source), prod(target))
        if self.rank is not None and self.rank > units:
            raise ShapeError(
                f"has rank {self.rank}, but the smaller of the two states has {units} units",
                f"use rank: {units} or less, or 'dense: {{}}' for a full matrix",
            )

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        """(target units, source units), or (target units + source units, rank): U above V."""
        if self.rank is None:
            return (prod(target), prod(source))
        return (prod(target) + prod(source), self.rank)

    def fan_in(self, source: Shape, target: Shape) -> int:
        """All units of the source."""
        return prod(source)

    def weight_bound(self, gain: float, source: Shape, target: Shape) -> float:
        """Bound b of the weights, such that entries of the matrix have the same variance at every rank.

        An entry of U Vᵀ is a sum of r products of two numbers uniform in ±b: its variance is r (b²/3)². An entry of the
        full matrix is uniform in ±g, g = gain/√fan_in: its variance is g²/3. So b⁴ = 3 g²/r.
        """
        bound = super().weight_bound(gain, source, target)
        return bound if self.rank is None else (3 * bound**2 / self.rank) ** 0.25

    def weight_blocks(self, source: Shape, target: Shape) -> tuple[int, ...]:
        """U and V are separate matrices."""
        return (prod(target),) if self.rank is None else (prod(target), prod(source))

    @property
    def degree(self) -> int:
        """2 where the matrix is a product of two."""
        return 1 if self.rank is None else 2

    def macs(self, source: Shape, target: Shape) -> int:
        """One per weight."""
        return prod(self.weight_shape(source, target))

    def label(self) -> str:
        """E.g. ``dense, rank 8``."""
        return "dense" if self.rank is None else f"dense, rank {self.rank}"

    def forward(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Return w s, or U (Vᵀ s)."""
        assert weight is not None
        if self.rank is None:
            return matrix_product(s.flatten(1), weight.T).view(-1, *target)
        units = prod(target)
        return matrix_product(matrix_product(s.flatten(1), weight[units:]), weight[:units].T).view(-1, *target)

    def adjoint(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """Return wᵀ t, or V (Uᵀ t)."""
        assert weight is not None
        if self.rank is None:
            return matrix_product(t.flatten(1), weight).view(-1, *source)
        units = prod(source)
        return matrix_product(matrix_product(t.flatten(1), weight[:-units]), weight[-units:].T).view(-1, *source)

    def weight_gradient(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """Return t sᵀ summed over the batch; of U it is t (Vᵀ s)ᵀ, and of V it is s (Uᵀ t)ᵀ."""
        if self.rank is None:
            return matrix_product(t.flatten(1).T, s.flatten(1))
        import torch

        s, t, units = s.flatten(1), t.flatten(1), prod(source)
        return torch.cat(
            (
                matrix_product(t.T, matrix_product(s, weight[-units:])),
                matrix_product(s.T, matrix_product(t, weight[:-units])),
            )
        )
