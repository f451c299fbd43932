"""Costs C(s^out, y) of the output state, per example, and the forces they exert when nudging.

Nudging adds −β ∂C/∂s^out to the output's pre-activation, so that it descends the cost (Eq. 3 with the sign
that agrees with Eq. 4; docs/references.md, note 6).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor


class Cost(ABC):
    """A cost; ``s`` and ``y`` are (batch, *shape of the output), y one-hot for labels.

    To add one: a class here and its name in ``COSTS``, or a class of the user's own, given to
    ``epgraph.register_cost``. ``value`` and ``gradient`` are enough; torch.fx records them, as it does activations.
    """

    readout: ClassVar[bool] = False
    """Whether the output is read off the states that have edges into it, and takes no part in the dynamics."""

    holomorphic: ClassVar[bool] = False
    """Whether ``holomorphic_gradient`` continues ∂C/∂s to complex s."""

    quadratic: ClassVar[bool] = False
    """Whether it is ½‖s − y‖², for which a nudged linear output has a closed form."""

    least_at_target: ClassVar[bool] = False
    """Whether C is least at s = y, so that clamping the output to y is a nudge without end."""

    curvature: ClassVar[float | None] = None
    """Bound on the eigenvalues of ∂²C/∂s² for one-hot y, which says how large β may be; None where it is not known."""

    @abstractmethod
    def value(self, s: Tensor, y: Tensor) -> Tensor:
        """C(s, y) of shape (batch,)."""

    @abstractmethod
    def gradient(self, s: Tensor, y: Tensor) -> Tensor:
        """∂C/∂s of shape (batch, classes)."""

    def gradient_pair(self, c: Tensor, o: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return common and odd part of ∂C/∂s at c+o and c−o."""
        plus, minus = self.gradient(c + o, y), self.gradient(c - o, y)
        # The odd part enters the dynamics with the factor β beside a common part that is not small, so its
        # rounding does not matter as that of the odd *state* does.
        return 0.5 * (plus + minus), 0.5 * (plus - minus)

    def holomorphic_gradient(self, s: Tensor, y: Tensor) -> Tensor:
        """∂C/∂s continued to complex s; that of real s where its operations take complex numbers as they are."""
        return self.gradient(s, y)


class SquaredError(Cost):
    """C = ½‖s − y‖²."""

    holomorphic = True
    quadratic = True
    least_at_target = True
    curvature = 1.0

    def value(self, s: Tensor, y: Tensor) -> Tensor:
        """½‖s − y‖² per example."""
        return 0.5 * (s - y).square().flatten(1).sum(dim=1)

    def gradient(self, s: Tensor, y: Tensor) -> Tensor:
        """Return s − y."""
        return s - y

    def gradient_pair(self, c: Tensor, o: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return (c − y, o): the gradient is affine."""
        return c - y, o


class CrossEntropy(Cost):
    """C = −Σ y log softmax(s), with the softmax over the units, or the channels of an image."""

    holomorphic = True
    curvature: ClassVar[float | None] = 0.5

    def value(self, s: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy per example, in nats."""
        return -(y * s.log_softmax(dim=1)).flatten(1).sum(dim=1)

    def gradient(self, s: Tensor, y: Tensor) -> Tensor:
        """Return softmax(s)·Σy − y."""
        return s.softmax(dim=1) * y.sum(dim=1, keepdim=True) - y

    def holomorphic_gradient(self, s: Tensor, y: Tensor) -> Tensor:
        """Return e^s/Σe^s · Σy − y: torch's own softmax takes real numbers only.

        The shift that keeps the exponentials small cancels whatever it is, so it may be the largest real part.
        """
        grown = (s - s.real.amax(dim=1, keepdim=True)).exp()
        return grown / grown.sum(dim=1, keepdim=True) * y.sum(dim=1, keepdim=True) - y


class SoftmaxReadout(CrossEntropy):
    """Cross-entropy of softmax(z), z = Σ A s + b read off outside the dynamics (Laborieux et al. 2021).

    Nothing flows back from z in the free phase; when nudging, the states that are read feel −β Aᵀ ∂C/∂z. The edges into
    the output and its bias follow their own gradient at the free state, ∂C/∂z ⊗ s, which is exact.
    """

    readout = True
    holomorphic = False
    curvature = None


COSTS: dict[str, Cost] = {
    "squared_error": SquaredError(),
    "cross_entropy": CrossEntropy(),
    "softmax_readout": SoftmaxReadout(),
}
"""Every cost by the name under which it is written in YAML."""
