"""Costs C(s^out, y) of the output state, per example, and the forces they exert when nudging.

Nudging adds −β ∂C/∂s^out to the output's pre-activation, so that it descends the cost (Eq. 3 with the sign
that agrees with Eq. 4; peers.md §3.8).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


class Cost(ABC):
    """A cost; ``s`` and ``y`` are (batch, classes), y one-hot for labels."""

    holomorphic: ClassVar[bool] = False
    """Whether ``holomorphic_gradient`` continues ∂C/∂s to complex s."""

    @abstractmethod
    def value(self, s: Tensor, y: Tensor) -> Tensor:
        """C(s, y) of shape (batch,)."""

    @abstractmethod
    def gradient(self, s: Tensor, y: Tensor) -> Tensor:
        """∂C/∂s of shape (batch, classes)."""

    @abstractmethod
    def gradient_pair(self, c: Tensor, o: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return common and odd part of ∂C/∂s at c+o and c−o."""

    def holomorphic_gradient(self, s: Tensor, y: Tensor) -> Tensor:
        """∂C/∂s continued to complex s; that of real s where its operations take complex numbers as they are."""
        return self.gradient(s, y)


class SquaredError(Cost):
    """C = ½‖s − y‖²."""

    holomorphic = True

    def value(self, s: Tensor, y: Tensor) -> Tensor:
        """½‖s − y‖² per example."""
        return 0.5 * (s - y).square().sum(dim=1)

    def gradient(self, s: Tensor, y: Tensor) -> Tensor:
        """Return s − y."""
        return s - y

    def gradient_pair(self, c: Tensor, o: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return (c − y, o): the gradient is affine."""
        return c - y, o


class CrossEntropy(Cost):
    """C = −Σ y log softmax(s)."""

    holomorphic = True

    def value(self, s: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy per example, in nats."""
        return -(y * s.log_softmax(dim=1)).sum(dim=1)

    def gradient(self, s: Tensor, y: Tensor) -> Tensor:
        """Return softmax(s)·Σy − y."""
        return s.softmax(dim=1) * y.sum(dim=1, keepdim=True) - y

    def gradient_pair(self, c: Tensor, o: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pair of gradients."""
        plus, minus = self.gradient(c + o, y), self.gradient(c - o, y)
        # The odd part enters the dynamics with the factor β beside a common part that is not small, so its
        # rounding does not matter as that of the odd *state* does.
        return 0.5 * (plus + minus), 0.5 * (plus - minus)

    def holomorphic_gradient(self, s: Tensor, y: Tensor) -> Tensor:
        """Return e^s/Σe^s · Σy − y: torch's own softmax takes real numbers only.

        The shift that keeps the exponentials small cancels whatever it is, so it may be the largest real part.
        """
        grown = (s - s.real.amax(dim=1, keepdim=True)).exp()
        return grown / grown.sum(dim=1, keepdim=True) * y.sum(dim=1, keepdim=True) - y


COSTS: dict[str, Cost] = {"squared_error": SquaredError(), "cross_entropy": CrossEntropy()}
"""Every cost by the name under which it is written in YAML."""
