"""The two ways in which a sweep acts on states: one state at a time, or both nudged states as a pair.

``Single`` relaxes s itself: the free phase, and one-sided nudging. ``Pair`` relaxes s⁺ and s⁻ at once, as one
doubled batch that holds their common part (s⁺+s⁻)/2 and their odd part (s⁺−s⁻)/2. The sweeps are the same
numbers either way; but the odd part, which is the whole of the gradient, is never formed as a difference of
nearly equal states, so it keeps its digits in low precision (peers.md §3.9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from epgraph.activations import Activation
from epgraph.costs import Cost
from epgraph.edges import EdgeKind, Shape


@dataclass(frozen=True)
class Nudge:
    """A cost, its target (batch, classes) and the strength β with which it pulls at the output."""

    cost: Cost
    target: Tensor
    beta: float


class Phase(Protocol):
    """What a sweep needs to know about the tensors it moves."""

    def forward(self, kind: EdgeKind, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Contribution of an edge to its target."""

    def adjoint(self, kind: EdgeKind, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """Contribution of an edge to its source."""

    def drive_(self, total: Tensor, constant: Tensor) -> Tensor:
        """Add a constant contribution, (batch or 1, *shape), to a sum of contributions, in place."""

    def spread(self, constant: Tensor, rows: int, shape: Shape) -> Tensor:
        """Return a new sum, (rows, *shape), that holds the constant contribution alone."""

    def nudge_(self, total: Tensor, output: Tensor) -> Tensor:
        """Add −β ∂C/∂s^out at the present output to its sum, in place."""

    def activate(self, activation: Activation, total: Tensor, alpha: float | Tensor) -> Tensor:
        """σ of a sum; may reuse its memory."""

    def relative_change(self, change: Tensor, size: Tensor) -> Tensor:
        """Relative size of a change, per example, from the two norms of every row of the batch."""


class Single:
    """States as they are: tensors of shape (batch, *shape)."""

    def __init__(self, nudge: Nudge | None = None) -> None:
        self.nudge = nudge

    def forward(self, kind: EdgeKind, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """A_e s."""
        return kind.forward(weight, s, target)

    def adjoint(self, kind: EdgeKind, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """A_eᵀ t."""
        return kind.adjoint(weight, t, s, source)

    def drive_(self, total: Tensor, constant: Tensor) -> Tensor:
        """Add the constant."""
        return total.add_(constant)

    def spread(self, constant: Tensor, rows: int, shape: Shape) -> Tensor:
        """Copy the constant to every example."""
        return constant.expand(rows, *shape).clone()

    def nudge_(self, total: Tensor, output: Tensor) -> Tensor:
        """Subtract β ∂C/∂s^out."""
        if self.nudge is None:
            return total
        return total.sub_(self.nudge.cost.gradient(output, self.nudge.target), alpha=self.nudge.beta)

    def activate(self, activation: Activation, total: Tensor, alpha: float | Tensor) -> Tensor:
        """σ, in place."""
        return activation.apply_(total, alpha)

    def relative_change(self, change: Tensor, size: Tensor) -> Tensor:
        """‖Δs‖/‖s‖."""
        return change / size.clamp_min(torch.finfo(size.dtype).tiny)


class Pair:
    """Common and odd part of the states nudged by +β and −β: tensors of shape (2·batch, *shape)."""

    def __init__(self, nudge: Nudge) -> None:
        self.nudge = nudge

    def forward(self, kind: EdgeKind, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Pair of A_e s⁺ and A_e s⁻."""
        return kind.forward_pair(weight, s, target)

    def adjoint(self, kind: EdgeKind, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """Pair of the two adjoints."""
        return kind.adjoint_pair(weight, t, s, source)

    def drive_(self, total: Tensor, constant: Tensor) -> Tensor:
        """Add the constant to the common part; it has no odd part."""
        total[: total.shape[0] // 2].add_(constant)
        return total

    def spread(self, constant: Tensor, rows: int, shape: Shape) -> Tensor:
        """Copy the constant to the common part of every example, with an odd part of zero."""
        return self.drive_(constant.new_zeros(rows, *shape), constant)

    def nudge_(self, total: Tensor, output: Tensor) -> Tensor:
        """±β swaps the parts: the odd force acts on the common part and the common force on the odd part."""
        common, odd = output.chunk(2)
        force, odd_force = self.nudge.cost.gradient_pair(common, odd, self.nudge.target)
        total_common, total_odd = total.chunk(2)
        total_common.sub_(odd_force, alpha=self.nudge.beta)
        total_odd.sub_(force, alpha=self.nudge.beta)
        return total

    def activate(self, activation: Activation, total: Tensor, alpha: float | Tensor) -> Tensor:
        """Pair of σ(p+q) and σ(p−q)."""
        p, q = total.chunk(2)
        return torch.cat(activation.pair(p, q, alpha))

    def relative_change(self, change: Tensor, size: Tensor) -> Tensor:
        """Return the larger of the relative changes of the two parts.

        The odd part is small, and it is the gradient: measured against the whole state its change would
        always look settled. An odd part at the rounding error of the common one counts as settled.
        """
        limits = torch.finfo(size.dtype)
        common_change, odd_change = change.chunk(2)
        common, odd = size.chunk(2)
        return torch.maximum(
            common_change / common.clamp_min(limits.tiny),
            odd_change / torch.maximum(odd, common * limits.eps).clamp_min(limits.tiny),
        )


def make_pair(plus: Tensor, minus: Tensor) -> Tensor:
    """Stack the common and the odd part of two states."""
    return torch.cat((plus + minus, plus - minus)).mul_(0.5)


def split_pair(pair: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two states s⁺ and s⁻ of a pair."""
    common, odd = pair.chunk(2)
    return common + odd, common - odd
