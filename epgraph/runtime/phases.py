"""Nudging, and pairs of oppositely nudged states.

A *pair* is the common part (s⁺+s⁻)/2 stacked on the odd part (s⁺−s⁻)/2 of the states nudged by +β and −β,
(2·batch, *shape). Both signs relax as one doubled batch, and a linear map acts on the parts alike: the same
numbers either way; but the odd part, which is the whole of the gradient, is never formed as a difference of
nearly equal states, so it keeps its digits in low precision (docs/references.md, note 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from epgraph.costs import Cost


@dataclass(frozen=True)
class Nudge:
    """A cost, its target (batch, *output shape) and the strength β with which it pulls at the output.

    ``whole`` is the number of examples over which the loss is averaged, where ``target`` is a piece of a batch.
    ``turns`` are complex numbers of modulus 1, (batch, 1), by which β is turned for each example (holomorphic EP).
    """

    cost: Cost
    target: Tensor
    beta: float
    whole: int | None = None
    turns: Tensor | None = None

    @property
    def scale(self) -> float:
        """1/(β · examples): from the contrast of two states to the gradient of the mean loss."""
        return 1.0 / (self.beta * self.examples)

    @property
    def examples(self) -> int:
        """Number of examples over which the loss is averaged."""
        return self.whole or len(self.target)


@dataclass(frozen=True)
class Pull:
    """A linear cost Σ ⟨force, s⟩ over states of any kind, in place of the cost of the output: force is its gradient.

    Attributes
    ----------
    forces
        By the name of the state, (batch, *shape). A pair feels them with both signs.
    beta
        Strength β with which they pull: the sum of a state gains −β · force.
    """

    forces: Mapping[str, Tensor]
    beta: float

    @property
    def scale(self) -> float:
        """1/β: from the contrast of two states to the gradient of the summed loss."""
        return 1.0 / self.beta


def make_pair(plus: Tensor, minus: Tensor) -> Tensor:
    """Stack the common and the odd part of two states."""
    return torch.cat((plus + minus, plus - minus)).mul_(0.5)


def split_pair_(pair: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a pair into the two states s⁺ and s⁻, in its own memory."""
    common, odd = pair.chunk(2)
    minus = common - odd
    return common.add_(odd), odd.copy_(minus)


def per_example(weights: Tensor, like: Tensor) -> Tensor:
    """Shape numbers (batch,) so that they multiply the examples of ``like``, (batch, *shape)."""
    return weights.to(like.dtype).view(-1, *(1,) * (like.ndim - 1))
