"""Functions of single units that energies write down, for values and for pairs of nudged states.

A function of a pair is an emitted function of its own, which runs on a few examples at a time, so that its temporaries
stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, dtype

from epgraph.activations import Activation
from epgraph.compiler.program import Passed
from epgraph.compiler.recorder import Recorder
from epgraph.compiler.text import load

Level = float | Tensor


@dataclass(frozen=True)
class Values:
    """Operations on values of a precision, which may be complex; see ``energies.Pointwise``."""

    activation: Activation
    projection: str
    level: Level
    dtype: dtype

    def sigma(self, a: Tensor) -> Tensor:
        """σ(a)."""
        return a if self.activation.linear else self.activation.apply_in_(self.dtype, a.clone(), self.level)

    def sloped(self, a: Tensor, b: Tensor) -> Tensor:
        """σ′(a) ⊙ b."""
        if self.dtype.is_complex:
            return self.activation.holomorphic_derivative(a, self.level) * b
        return self.activation.sloped(a, b, self.level)

    def above(self, a: Tensor) -> Tensor:
        """1 above the level α, else 0."""
        return (a > self.level).to(a.dtype)

    def plus(self, a: Tensor, b: Tensor) -> Tensor:
        """a + b."""
        return a + b

    def minus(self, a: Tensor, b: Tensor) -> Tensor:
        """a − b."""
        return a - b

    def times(self, a: Tensor, b: Tensor) -> Tensor:
        """a ⊙ b."""
        return a * b


Parts = tuple[Tensor, Tensor]
"""Common and odd part of a pair."""


@dataclass(frozen=True)
class Pairs:
    """The same operations on pairs (c, o), which stand for c + o and c − o."""

    activation: Activation
    projection: str
    level: Level

    def sigma(self, a: Parts) -> Parts:
        """σ of both, without a difference of nearly equal numbers."""
        return a if self.activation.linear else self.activation.pair(*a, self.level)

    def sloped(self, a: Parts, b: Parts) -> Parts:
        """σ′(a) ⊙ b of both; b is small, so that of a projection, whose slope is 0 or 1, both may be formed."""
        if not self.activation.projects:
            return self.times(self._apart(a, lambda x: self.activation.derivative(x, self.level)), b)
        plus = self.activation.sloped(a[0] + a[1], b[0] + b[1], self.level)
        minus = self.activation.sloped(a[0] - a[1], b[0] - b[1], self.level)
        common = torch.lerp(minus, plus, 0.5)
        return common, common - minus

    def above(self, a: Parts) -> Parts:
        """1 above the level α, else 0."""
        return self._apart(a, lambda x: (x > self.level).to(x.dtype))

    @staticmethod
    def _apart(a: Parts, function: Callable[[Tensor], Tensor]) -> Parts:
        plus, minus = function(a[0] + a[1]), function(a[0] - a[1])
        return 0.5 * (plus + minus), 0.5 * (plus - minus)

    def plus(self, a: Parts, b: Parts) -> Parts:
        """a + b."""
        return a[0] + b[0], a[1] + b[1]

    def minus(self, a: Parts, b: Parts) -> Parts:
        """a − b."""
        return a[0] - b[0], a[1] - b[1]

    def times(self, a: Parts, b: Parts) -> Parts:
        """a ⊙ b."""
        return a[0] * b[0] + a[1] * b[1], a[0] * b[1] + a[1] * b[0]


class PairFunction(Passed):
    """A function of pairs for one activation, emitted.

    Parameters
    ----------
    function
        Function of ``Pairs`` and of as many pairs as ``count``.
    """

    def __init__(
        self, name: str, activation: Activation, projection: str, function: Callable[..., Any], count: int
    ) -> None:
        self.identifier = name
        recorder = Recorder()
        arguments = [(f"c{i}", f"o{i}") for i in range(count)]
        pairs = [(recorder.argument(c), recorder.argument(o)) for c, o in arguments]
        alpha = recorder.argument("alpha")
        fixed = activation.alpha_range[1] > 0 and not activation.stored
        of = Pairs(activation, projection, activation.alpha_range[1] if fixed else alpha)
        common, odd = function(of, *pairs)
        note = f"{(function.__doc__ or name).strip().splitlines()[0]} σ = {activation.label}"
        self.function = recorder.finish(name, {"common": common, "odd": odd}, (note,))
        self._call = load((self.function,))[name]

    def __call__(self, *parts: Any) -> Parts:
        """Common and odd part of the result, from those of all pairs in turn, and α."""
        return cast(Parts, self._call(*parts))
