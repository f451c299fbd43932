"""Gradient estimators: EP contrasts two settled states, and each estimator says which two.

Each fills ``.grad`` with the gradient of the batch's *mean* loss, through ``Engine.accumulate``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from epgraph.engine.phases import Nudge, make_pair, split_pair
from epgraph.engine.relaxation import Clamped, Relaxation

if TYPE_CHECKING:
    from epgraph.engine.engine import Engine


@dataclass(frozen=True)
class Estimate:
    """What an estimator saw on its way to the gradient.

    Attributes
    ----------
    losses
        Cost at the free equilibrium, (batch,).
    output
        Output state at the free equilibrium, (batch, classes).
    free
        The free relaxation.
    nudged
        The nudged relaxations: +β and −β for the centred estimator, else one.
    """

    losses: Tensor
    output: Tensor
    free: Relaxation
    nudged: tuple[Relaxation, ...]

    @property
    def loss(self) -> float:
        """Mean cost of the batch."""
        return float(self.losses.mean())

    @property
    def diverged(self) -> tuple[str, ...]:
        """Names of the states that diverged in any phase."""
        return tuple(dict.fromkeys(n for r in (self.free, *self.nudged) for n in r.diverged))


Estimator = Callable[["Engine", Clamped, Nudge, Relaxation, int, float], Estimate]
"""From an engine, its clamped input, the nudge, the free relaxation, the nudged steps and the tolerance."""


def centered(
    engine: Engine, clamped: Clamped, nudge: Nudge, free: Relaxation, steps: int, tolerance: float
) -> Estimate:
    """Centred EP (Eq. 5): −(1/2β)[∂Φ/∂θ(s^{+β}) − ∂Φ/∂θ(s^{−β})], error O(β²) where σ is smooth.

    Both phases start from the free state and run as one doubled batch, carried as a pair (``phases``).
    """
    if not engine.doubled:
        both = (nudge, replace(nudge, beta=-nudge.beta))
        plus, minus = (engine.run(clamped, free.states, steps, tolerance, sign) for sign in both)
        made = {name: make_pair(s, minus.states[name]) for name, s in plus.states.items()}
        engine.accumulate(made, clamped.x, -1.0 / (nudge.beta * len(clamped.x)))
        return _estimate(engine, nudge, free, plus, minus)
    pairs = engine.run(clamped, free.states, steps, tolerance, nudge, pair=True, lent=True)
    engine.accumulate(pairs.states, clamped.x, -1.0 / (nudge.beta * len(clamped.x)))
    split = {name: split_pair(pair) for name, pair in pairs.states.items()}
    signs = [replace(pairs, states={name: both[i] for name, both in split.items()}) for i in (0, 1)]
    return _estimate(engine, nudge, free, *signs)


def positive(
    engine: Engine, clamped: Clamped, nudge: Nudge, free: Relaxation, steps: int, tolerance: float
) -> Estimate:
    """One-sided EP (Eq. 4): −(1/β)[∂Φ/∂θ(s^{+β}) − ∂Φ/∂θ(s*)], error O(β)."""
    nudged = _nudged(engine, clamped, nudge, free, steps, tolerance)
    pairs = {name: make_pair(s, free.states[name]) for name, s in nudged.states.items()}
    engine.accumulate(pairs, clamped.x, -2.0 / (nudge.beta * len(clamped.x)))
    return _estimate(engine, nudge, free, nudged)


def negative(
    engine: Engine, clamped: Clamped, nudge: Nudge, free: Relaxation, steps: int, tolerance: float
) -> Estimate:
    """One-sided EP with −β: −(1/β)[∂Φ/∂θ(s*) − ∂Φ/∂θ(s^{−β})], error O(β)."""
    away = replace(nudge, beta=-nudge.beta)
    nudged = _nudged(engine, clamped, away, free, steps, tolerance)
    pairs = {name: make_pair(free.states[name], s) for name, s in nudged.states.items()}
    engine.accumulate(pairs, clamped.x, -2.0 / (nudge.beta * len(clamped.x)))
    return _estimate(engine, nudge, free, nudged)


ESTIMATORS: dict[str, Estimator] = {rule.__name__: rule for rule in (centered, positive, negative)}
"""Every estimator by the name under which it is written in YAML."""


def _nudged(
    engine: Engine, clamped: Clamped, nudge: Nudge, free: Relaxation, steps: int, tolerance: float
) -> Relaxation:
    return engine.run(clamped, free.states, steps, tolerance, nudge)


def _estimate(engine: Engine, nudge: Nudge, free: Relaxation, *nudged: Relaxation) -> Estimate:
    output = free.states[engine.graph.output.name]
    return Estimate(nudge.cost.value(output, nudge.target), output, free, nudged)
