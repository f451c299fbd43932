"""Rules that clamp the output instead of nudging it: contrastive learning, and coupled learning.

They follow the gradient of their *own* contrast, a difference of energies F at equilibrium in which the clamped value
is held constant, and not that of the loss C: the two agree neither in direction nor in size. Definitions as in Scellier
et al., Energy-based learning algorithms for analog computing: a comparative study (2023).
"""

from __future__ import annotations

from torch import Tensor

from epgraph.estimators.task import Estimate, GradientTask
from epgraph.runtime.relaxation import Relaxation


def contrastive(task: GradientTask) -> Estimate:
    """Contrastive learning: the gradient of F(s^y) − F(s*), with s^y relaxed under an output that is the target (no β).

    It is zero where the free output is the target.
    """
    free = task.free_phase()
    energies = task.energies(free)
    clamped = task.clamped_phase(task.nudge.target, free)
    return _contrast(task, free, clamped, free, (clamped,), 1.0, energies)


def coupled_positive(task: GradientTask) -> Estimate:
    """Coupled learning: the gradient of [F(s⁺) − F(s*)]/β, with the output of s⁺ clamped to (1−β)s* + βy."""
    free = task.free_phase()
    energies = task.energies(free)
    towards = task.clamped_phase(_moved(task, free, 1), free)
    return _contrast(task, free, towards, free, (towards,), 1 / task.nudge.beta, energies)


def coupled_negative(task: GradientTask) -> Estimate:
    """Coupled learning: the gradient of [F(s*) − F(s⁻)]/β, with the output of s⁻ clamped to (1+β)s* − βy."""
    free = task.free_phase()
    energies = task.energies(free)
    away = task.clamped_phase(_moved(task, free, -1), free)
    return _contrast(task, free, free, away, (away,), 1 / task.nudge.beta, energies)


def coupled_centered(task: GradientTask) -> Estimate:
    """Coupled learning: the gradient of [F(s⁺) − F(s⁻)]/2β, with outputs as in the two one-sided rules."""
    free = task.free_phase()
    energies = task.energies(free)
    towards, away = (task.clamped_phase(_moved(task, free, sign), free) for sign in (1, -1))
    return _contrast(task, free, towards, away, (towards, away), 0.5 / task.nudge.beta, energies)


def _moved(task: GradientTask, free: Relaxation, sign: int) -> Tensor:
    """Return the free output moved by ±β of the way to the target."""
    output = free.states[task.executor.graph.output.name]
    return output + sign * task.nudge.beta * (task.nudge.target - output)


def _contrast(
    task: GradientTask,
    free: Relaxation,
    upper: Relaxation,
    lower: Relaxation,
    clamped: tuple[Relaxation, ...],
    scale: float,
    energies: Tensor | None,
) -> Estimate:
    """Add ``scale`` · ∂/∂θ[F(upper) − F(lower)], averaged over the batch: of F only −Φ depends on θ."""
    task.add_difference(upper, lower, -scale / task.nudge.examples)
    return task.estimate(free, *clamped, energies=energies)
