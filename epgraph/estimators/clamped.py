"""Rules that clamp the output instead of nudging it: contrastive learning, and coupled learning.

They follow the gradient of their *own* contrast, a difference of energies F at equilibrium in which the clamped value
is held constant, and not that of the loss C: the two agree neither in direction nor in size. Definitions as in Scellier
et al., Energy-based learning algorithms for analog computing: a comparative study (2023).
"""

from __future__ import annotations

from torch import Tensor

from epgraph.estimators.problem import Estimate, Problem
from epgraph.runtime.phases import make_pair
from epgraph.runtime.relaxation import Relaxation


def contrastive(problem: Problem) -> Estimate:
    """Contrastive learning: the gradient of F(s^y) − F(s*), with s^y relaxed under an output that is the target (no β).

    It is zero where the free output is the target.
    """
    free = problem.settle()
    energies = problem.energies(free)
    clamped = problem.held(problem.nudge.target, free)
    return _contrast(problem, free, clamped, free, (clamped,), 1.0, energies)


def coupled_positive(problem: Problem) -> Estimate:
    """Coupled learning: the gradient of [F(s⁺) − F(s*)]/β, with the output of s⁺ clamped to (1−β)s* + βy."""
    free = problem.settle()
    energies = problem.energies(free)
    towards = problem.held(_moved(problem, free, 1), free)
    return _contrast(problem, free, towards, free, (towards,), 1 / problem.nudge.beta, energies)


def coupled_negative(problem: Problem) -> Estimate:
    """Coupled learning: the gradient of [F(s*) − F(s⁻)]/β, with the output of s⁻ clamped to (1+β)s* − βy."""
    free = problem.settle()
    energies = problem.energies(free)
    away = problem.held(_moved(problem, free, -1), free)
    return _contrast(problem, free, free, away, (away,), 1 / problem.nudge.beta, energies)


def coupled_centered(problem: Problem) -> Estimate:
    """Coupled learning: the gradient of [F(s⁺) − F(s⁻)]/2β, with outputs as in the two one-sided rules."""
    free = problem.settle()
    energies = problem.energies(free)
    towards, away = (problem.held(_moved(problem, free, sign), free) for sign in (1, -1))
    return _contrast(problem, free, towards, away, (towards, away), 0.5 / problem.nudge.beta, energies)


def _moved(problem: Problem, free: Relaxation, sign: int) -> Tensor:
    """Return the free output moved by ±β of the way to the target."""
    output = free.states[problem.executor.graph.output.name]
    return output + sign * problem.nudge.beta * (problem.nudge.target - output)


def _contrast(
    problem: Problem,
    free: Relaxation,
    upper: Relaxation,
    lower: Relaxation,
    clamped: tuple[Relaxation, ...],
    scale: float,
    energies: Tensor | None,
) -> Estimate:
    """Add ``scale`` · ∂/∂θ[F(upper) − F(lower)], averaged over the batch: of F only −Φ depends on θ."""
    pairs = {name: make_pair(s, lower.states[name]) for name, s in upper.states.items()}
    problem.contrast(pairs, -2 * scale / problem.nudge.examples)
    return problem.estimate(free, *clamped, energies=energies)
