"""Reference gradients, which EP is compared with: of the loss after so many sweeps, and at the equilibrium.

The free equilibrium of an energy that is ``feedforward`` is one pass, which all three then differentiate.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, sqrt

import torch
from torch import Tensor

from epgraph.compiler.sweep import squared
from epgraph.estimators.backprop import backprop
from epgraph.estimators.task import Estimate, GradientTask
from epgraph.linearization.differentiable_sweep import DifferentiableSweep, add_gradients
from epgraph.runtime.relaxation import States


def unrolled(task: GradientTask) -> Estimate:
    """Backpropagation through the whole free phase, from the states that it starts from.

    The exact gradient of the loss after T = ``free_steps`` sweeps, whether they have settled or not. States are kept
    once in √T sweeps: memory is that of 2√T sweeps, time that of two free phases and a way back. With a tolerance
    the residual is looked at as often.
    """
    if task.executor.graph.energy.feedforward:
        return backprop(task)
    return _backpropagate(task, task.free_steps, stop=task.tolerance)


def truncated(task: GradientTask) -> Estimate:
    """Backpropagation through the last sweeps of the free phase: ``learning.truncation``, else ``nudged_steps``.

    At the equilibrium it is what EP with as many nudged sweeps tends to for β → 0, if all states move at once (Ernoult
    et al. 2019; ``stepwise``). The sweeps before them run as the engine runs them.
    """
    if task.executor.graph.energy.feedforward:
        return backprop(task)
    last = min(task.options["truncation"] or task.nudged_steps, task.free_steps)
    before = task.executor.run(task.clamped, task.start, task.free_steps - last, task.tolerance, donate=True)
    found = _backpropagate(replace(task, start=before.states), last)
    return replace(found, free=replace(found.free, steps=before.steps + found.free.steps))


def implicit(task: GradientTask) -> Estimate:
    """Implicit differentiation of s = σ(∂Φ/∂s) at the free equilibrium: the gradient that EP estimates.

    H λ = ∂C/∂s with the Hessian H of F over the active units, by conjugate gradients (by MINRES where H is indefinite,
    which the estimate reports); then the gradient is ∂/∂θ ⟨λ, ∂Φ/∂s⟩ with λ held. Exact at an equilibrium only.
    """
    free = task.free_phase(local=False)
    energies = task.energies(free)
    solved = task.differentiate_implicitly(free, task.options["solver_tolerance"], task.options["solver_steps"])
    return replace(task.estimate(free, energies=energies), adjoint=solved)


def _backpropagate(task: GradientTask, steps: int, stop: float = 0.0) -> Estimate:
    """Take ``steps`` sweeps from ``task.start``, or fewer where the residual falls to ``stop``, and go back.

    What the chunks start from is kept, and each is taken again on the way back. By hand, because torch's checkpoints
    load its compiler, which takes seconds.
    """
    executor, nudge, x = task.executor, task.nudge, task.clamped.x
    plain = DifferentiableSweep(executor, x, task.clamped.parameters, attached=False)
    now = {name: task.start.pop(name).contiguous() for name in list(task.start)}
    residuals = torch.full((len(x),), float("nan"), device=x.device)
    chunks: list[tuple[int, States]] = []
    taken, chunk = 0, chunk_length(steps)
    while taken < steps and not (taken and stop > 0 and bool((residuals <= stop).all())):
        count = min(chunk, steps - taken)
        chunks.append((count, now))
        before = now
        for _ in range(count):
            before, now = now, plain.sweep(now)
        residuals = _residuals(before, now)
        taken += count
    output = executor.graph.output.name
    with torch.enable_grad():
        reached = now[output].detach().requires_grad_()
        loss = nudge.cost.value(reached, nudge.target).sum() / nudge.examples
        (pull,) = torch.autograd.grad(loss, reached)
    adjoint = {name: pull if name == output else torch.zeros_like(s) for name, s in now.items()}
    while chunks:
        adjoint = _through(task, *chunks.pop(), adjoint)
    settled = executor.ended(now, taken, residuals, task.tolerance)
    return task.estimate(settled, energies=task.energies(settled))


def chunk_length(steps: int) -> int:
    """Sweeps between two that are kept: √T, so that there are as many of the one as of the other."""
    return max(1, ceil(sqrt(steps)))


def _through(task: GradientTask, count: int, states: States, adjoint: States) -> States:
    """Go back through ``count`` sweeps from ``states``; returns the adjoint there."""
    leaves = {name: s.detach().requires_grad_() for name, s in states.items()}
    with torch.enable_grad():
        # The clamped input's part is computed again for each chunk, so that nothing outlives it.
        plain = DifferentiableSweep(task.executor, task.clamped.x, task.clamped.parameters)
        now = leaves
        for _ in range(count):
            now = plain.sweep(now)
    names = list(now)
    results, weights, inputs = ([each[name] for name in names] for each in (now, adjoint, leaves))
    found = add_gradients(task.gradients, plain, results, weights, inputs)
    return dict(zip(names, found, strict=True))


@torch.no_grad()
def _residuals(before: States, after: States) -> Tensor:
    """‖S(s) − s‖/‖S(s)‖ per example over a sweep S, (batch,)."""
    change, size = (
        squared(torch.cat([s.flatten(1) for s in states], 1)).sqrt()
        for states in ([after[name] - before[name] for name in after], after.values())
    )
    return change / size.clamp_min(torch.finfo(size.dtype).tiny)
