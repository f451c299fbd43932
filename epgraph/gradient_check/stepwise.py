"""The step-by-step match of EP with backpropagation through time (Ernoult et al. 2019).

From the free equilibrium s*, EP takes nudged sweeps; after t of them its gradient has grown by

    Δ_t = ĝ(t+1) − ĝ(t),    ĝ(t) = −(1/2β) [∂Φ/∂θ(s_t^{+β}) − ∂Φ/∂θ(s_t^{−β})]

(averaged over the batch). Backpropagation through the last sweeps of the free phase, all at s*, adds for the sweep that
lies t sweeps before the last one

    ∇_t = δ_t · ∂S/∂θ,    δ_0 = ∂C/∂s,   δ_{t+1} = δ_t · ∂S/∂s

with S one sweep. Where all states move at once and the nudge acts inside σ (with D = diag σ′ and W = ∂²Φ/∂s² both are
D (W D)^t ∂C/∂s, paired with ∂²Φ/∂θ∂s) Δ_t = ∇_t up to O(β²), for every t. Under other schedules the two orders of
updates differ and so do the terms; their sums converge to the same gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from epgraph.linearization.differentiable_sweep import DifferentiableSweep
from epgraph.runtime.gradients import Gradients
from epgraph.runtime.phases import Nudge, make_pair
from epgraph.runtime.relaxation import Clamped

if TYPE_CHECKING:
    from epgraph.engine import Engine


@dataclass(frozen=True)
class Step:
    """What one sweep adds to the gradient: by EP (Δ_t), and by backpropagation through time (∇_t)."""

    ep: Gradients
    bptt: Gradients


def stepwise(
    engine: Engine, x: Tensor, y: Tensor, free: Mapping[str, Tensor], *, beta: float, steps: int
) -> Iterator[Step]:
    """Yield Δ_t and ∇_t for t = 0, 1, …, ``steps`` − 1.

    Parameters
    ----------
    x, y
        Input and labels or targets, as for ``Engine.backward``.
    free
        The free equilibrium; where it has not settled, neither side means what it says.
    beta
        Strength of the nudge β > 0.

    Notes
    -----
    Works sweep by sweep and keeps two gradients, so its memory does not grow with ``steps``. EP's side is the engine's
    own (pairs, whatever its backend), the other is autograd's.
    """
    yield from islice(map(Step, ep_steps(engine, x, y, free, beta=beta), bptt_steps(engine, x, y, free)), steps)


def ep_steps(engine: Engine, x: Tensor, y: Tensor, free: Mapping[str, Tensor], *, beta: float) -> Iterator[Gradients]:
    """Yield Δ_t for t = 0, 1, …; see ``stepwise``."""
    x = engine.executor.inputs.check_input(x)
    nudge = Nudge(engine.cost, engine.executor.inputs.targets(y, len(x)), beta)
    clamped = engine.executor.clamp(x, engine.snapshot())
    pairs = {name: make_pair(s, s) for name, s in free.items()}
    so_far: Gradients = {}
    while True:
        with torch.no_grad():
            pairs = engine.executor.run(clamped, pairs, 1, 0.0, nudge, pair=True).states
            now = dict(engine.executor.contrasts.by_parameters(clamped, pairs, -nudge.scale))
        yield {name: g - so_far[name] if so_far else g for name, g in now.items()}
        so_far = now


def bptt_steps(engine: Engine, x: Tensor, y: Tensor, free: Mapping[str, Tensor]) -> Iterator[Gradients]:
    """Yield ∇_t for t = 0, 1, …; see ``stepwise``."""
    x = engine.executor.inputs.check_input(x)
    back = _Back(engine, engine.executor.clamp(x, engine.snapshot()), free, engine.executor.inputs.targets(y, len(x)))
    while True:
        yield back.step()


class _Back:
    """Goes back through one sweep at s*, again and again."""

    def __init__(self, engine: Engine, clamped: Clamped, free: Mapping[str, Tensor], target: Tensor) -> None:
        names = engine.graph.free
        with torch.enable_grad():
            plain = DifferentiableSweep(engine.executor, clamped.x, clamped.parameters)
            self.parameters = plain.leaves
            self.states = {name: free[name].detach().contiguous().requires_grad_() for name in names}
            self.moved = plain.sweep(self.states)
            output = engine.graph.output.name
            reached = self.moved[output].detach().requires_grad_()
            (pull,) = torch.autograd.grad(engine.cost.value(reached, target).sum() / len(clamped.x), reached)
        self.delta = {name: pull if name == output else torch.zeros_like(s) for name, s in self.states.items()}

    def step(self) -> Gradients:
        """Return ∇_t, and go back to the sweep before."""
        moved = [name for name, s in self.moved.items() if s.requires_grad]
        gradients = torch.autograd.grad(
            [self.moved[name] for name in moved],
            [*self.parameters.values(), *self.states.values()],
            [self.delta[name] for name in moved],
            retain_graph=True,
            materialize_grads=True,
        )
        count = len(self.parameters)
        self.delta = dict(zip(self.states, gradients[count:], strict=True))
        return dict(zip(self.parameters, gradients[:count], strict=True))
