"""Base class of kinds that act on one state, written ``at: STATE``: Φ gains a function φ of that state alone."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from epgraph.kinds.kind import EdgeKind, Shape

if TYPE_CHECKING:
    from torch import Tensor


class Unary(EdgeKind):
    """A kind with one end: Φ gains φ(s), and the state receives ∂φ/∂s, which ``forward`` returns.

    ``weight_gradient(weight, s, t, …)`` and ``weight_contrast`` are those of φ where t is s. Both are linear in t,
    whose examples may be weighted; s enters as it is.
    """

    unary: ClassVar[bool] = True

    damps: ClassVar[bool] = False
    """Whether φ may be concave in some direction, by an amount that ``concavity`` bounds."""

    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """Return the state's own shape."""
        return source

    @abstractmethod
    def potential(self, weight: Tensor, s: Tensor, shape: Shape) -> Tensor:
        """φ(s) of each example, (batch,)."""

    def concavity(self, weight: Tensor, shape: Shape) -> Tensor:
        """Return a number κ ≥ 0 with ∂²φ/∂s² ≥ −κ everywhere, a tensor without dimensions, from the weight alone."""
        raise NotImplementedError(f"'{self.name}' is convex in its state")

    def adjoint(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """A unary kind has no other end; nothing calls this."""
        raise NotImplementedError(f"'{self.name}' has one end")
