"""A solver at work on the states of one relaxation: its proposals, and the safeguards that all solvers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from epgraph.errors import EpgraphError
from epgraph.solvers import Solver


class Solving:
    """Replaces states after a sweep by what a solver proposes.

    A proposal that is not finite, or whose energy the solver does not accept, leaves an example the plain sweep.

    Parameters
    ----------
    energy
        Energy per example, (batch,), of given states; None leaves that check out.
    box
        Brings given states back into the range of their activations, in place.
    """

    def __init__(
        self,
        solver: Solver,
        energy: Callable[[Sequence[Tensor]], Tensor] | None,
        box: Callable[[Sequence[Tensor]], None],
    ) -> None:
        self.solver = solver
        self.energy = energy
        self.box = box
        self._memory: Any = solver.init()

    def correct(self, before: Sequence[Tensor], after: Sequence[Tensor]) -> None:
        """Replace ``after`` = S(``before``), in place, by the states that the solver proposes."""
        swept = _flat(after)
        self._memory, proposed = self.solver.step(self._memory, _flat(before), swept)
        if proposed is None:
            return
        if proposed.shape != swept.shape:
            shapes = f"{tuple(proposed.shape)} in place of {tuple(swept.shape)}"
            raise EpgraphError(f"solver '{self.solver.name}' proposes states of shape {shapes}", "mend the solver")
        proposed = torch.where(torch.isfinite(proposed).all(dim=1, keepdim=True), proposed, swept)
        energy = None if self.energy is None else self.energy(after)
        for state, part in zip(after, _parts(proposed, after), strict=True):
            state.copy_(part)
        self.box(after)
        if self.energy is None or energy is None:
            return
        rejected = ~self.solver.accept(self.energy(after), energy)
        for state, part in zip(after, _parts(swept, after), strict=True):
            state.copy_(torch.where(rejected.view(-1, *(1,) * (state.ndim - 1)), part, state))


def clip_pair_(pair: Tensor, low: float, high: float | Tensor) -> None:
    """Project both nudged states of a pair onto [low, high], in place; a unit with both inside is left as it is.

    The odd part is half the overlap of [c − |o|, c + |o|] with the range, signed as o, and no difference of the two
    projected states: that would cancel the digits of a small o.
    """
    common, odd = pair.to(torch.promote_types(pair.dtype, torch.float32)).chunk(2)
    size, below, above = odd.abs(), common - low, high - common
    outside = size > torch.minimum(below, above)
    overlap = torch.minimum(torch.minimum(below, above).add(size).mul(0.5), size)
    overlap = overlap.clamp(min=0.0).clamp(max=0.5 * (high - low)).copysign(odd)
    plus, minus = ((common + part).clamp(min=low).clamp(max=high) for part in (odd, -odd))
    projected = torch.cat(((plus + minus).mul(0.5), overlap))
    pair.copy_(torch.where(torch.cat((outside, outside)), projected, pair))


def _flat(states: Sequence[Tensor]) -> Tensor:
    precision = torch.promote_types(states[0].dtype, torch.float32)
    return torch.cat([s.flatten(1).to(precision) for s in states], 1)


def _parts(flat: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
    sizes = [s[0].numel() for s in states]
    return [p.view(s.shape).to(s.dtype) for p, s in zip(torch.split(flat, sizes, 1), states, strict=True)]
