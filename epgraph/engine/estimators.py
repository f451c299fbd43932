"""Gradient estimators: EP contrasts two settled states, and each estimator says which two.

Each fills ``.grad`` with the gradient of the batch's *mean* loss, through ``Engine.accumulate``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

from epgraph.engine.phases import Nudge, make_pair, split_pair_
from epgraph.engine.relaxation import Clamped, Relaxation, States

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
    energies
        F at the free equilibrium, (batch,), where it was asked for.
    """

    losses: Tensor
    output: Tensor
    free: Relaxation
    nudged: tuple[Relaxation, ...]
    energies: Tensor | None = None

    @property
    def loss(self) -> float:
        """Mean cost of the batch."""
        return float(self.losses.mean())

    @property
    def diverged(self) -> tuple[str, ...]:
        """Names of the states that diverged in any phase."""
        return tuple(dict.fromkeys(n for r in (self.free, *self.nudged) for n in r.diverged))


Estimator = Callable[["Engine", Clamped, Nudge, Relaxation, int, float, bool], Estimate]
"""From an engine, its clamped input, the nudge, the free relaxation, the nudged steps and the tolerance.

The last says whether the free states are kept; where they are not, those of ``free`` may be dropped when used up.
"""


def centered(
    engine: Engine, clamped: Clamped, nudge: Nudge, free: Relaxation, steps: int, tolerance: float, keep: bool
) -> Estimate:
    """Centred EP (Eq. 5): −(1/2β)[∂Φ/∂θ(s^{+β}) − ∂Φ/∂θ(s^{−β})], error O(β²) where σ is smooth.

    Both phases start from the free state and run as one doubled batch, carried as a pair (``phases``).
    """
    if not engine.doubled:
        both = (nudge, replace(nudge, beta=-nudge.beta))
        plus, minus = (engine.run(clamped, free.states, steps, tolerance, sign) for sign in both)
        made = {name: make_pair(s, minus.states[name]) for name, s in plus.states.items()}
        engine.accumulate(made, clamped.x, -nudge.scale)
        return _estimate(engine, nudge, free, plus, minus)
    states = free.states
    if not keep:
        output = engine.graph.output.name
        states = {name: free.states.pop(name) for name in list(free.states)}
        free.states[output] = states[output]
    pairs = engine.run(clamped, states, steps, tolerance, nudge, pair=True, own=not keep, lent=not keep)
    engine.accumulate(pairs.states, clamped.x, -nudge.scale)
    signs: tuple[States, States] = ({}, {})
    for name in list(pairs.states):
        # Taken out one by one, so that what is not kept is free before the next one is copied.
        s, other = split_pair_(pairs.states.pop(name))
        signs[0][name] = s if keep else s.clone()
        if keep:
            signs[1][name] = other
    return _estimate(engine, nudge, free, *(replace(pairs, states=states) for states in signs))


def positive(
    engine: Engine, clamped: Clamped, nudge: Nudge, free: Relaxation, steps: int, tolerance: float, keep: bool
) -> Estimate:
    """One-sided EP (Eq. 4): −(1/β)[∂Φ/∂θ(s^{+β}) − ∂Φ/∂θ(s*)], error O(β)."""
    nudged = _nudged(engine, clamped, nudge, free, steps, tolerance)
    pairs = {name: make_pair(s, free.states[name]) for name, s in nudged.states.items()}
    engine.accumulate(pairs, clamped.x, -2 * nudge.scale)
    return _estimate(engine, nudge, free, nudged)


def negative(
    engine: Engine, clamped: Clamped, nudge: Nudge, free: Relaxation, steps: int, tolerance: float, keep: bool
) -> Estimate:
    """One-sided EP with −β: −(1/β)[∂Φ/∂θ(s*) − ∂Φ/∂θ(s^{−β})], error O(β)."""
    away = replace(nudge, beta=-nudge.beta)
    nudged = _nudged(engine, clamped, away, free, steps, tolerance)
    pairs = {name: make_pair(free.states[name], s) for name, s in nudged.states.items()}
    engine.accumulate(pairs, clamped.x, -2 * nudge.scale)
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
