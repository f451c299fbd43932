"""Holomorphic EP: the derivative at β = 0 as a Cauchy integral over a circle of complex β."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from epgraph.estimators.task import Estimate, GradientTask
from epgraph.runtime.gradients import add_gradient
from epgraph.runtime.relaxation import Relaxation, States


def holomorphic(task: GradientTask) -> Estimate:
    """Holomorphic EP (Laborieux & Zenke 2022), with the signs of Eq. 6 put right: error O(|β|^N).

    With β_k = |β|e^{2πik/N}, k = 0 … N − 1, the gradient is −(1/N|β|) Σ_k ∂Φ/∂θ(s^{β_k}) e^{−2πik/N}. Φ is bilinear,
    without conjugation, and the states are complex; all points start from the free state and relax as one batch.
    Those of conjugate β have conjugate states, so that ⌊N/2⌋ + 1 of them are computed. N = 2 is centered EP.

    Where the energy is ``feedforward`` its derivative by θ is zero at the free state, and −∂F/∂θ stands for ∂Φ/∂θ.
    """
    executor, nudge, count = task.executor, task.nudge, task.options["points"]
    free = task.free_phase()
    energies = task.energies(free)
    batch = len(task.clamped.x)
    computed = count // 2 + 1
    angles = torch.arange(computed, dtype=torch.float64) * (2 * math.pi / count)
    turns = torch.polar(torch.ones_like(angles), angles)
    # ±1 to the last digit, so that real points stay real.
    turns[0] = 1
    if count % 2 == 0:
        turns[-1] = -1
    clamped = executor.continued(task.clamped, computed)
    dtype = clamped.machine.tracer.dtype
    turns = turns.to(nudge.target.device, dtype)
    turned = turns.repeat_interleave(batch).view(-1, *(1,) * (nudge.target.ndim - 1))
    points = replace(nudge, target=_copies(nudge.target, computed), turns=turned)
    start = {name: _copies(s.to(dtype), computed) for name, s in free.states.items()}
    circle = executor.run(clamped, start, task.nudged_steps, task.tolerance, points, donate=True, for_gradient=True)
    # Points off the real axis stand for their conjugates as well.
    twins = torch.tensor([1.0 if k in (0, count - k) else 2.0 for k in range(computed)]).to(turns)
    weights = (twins * turns.conj()).repeat_interleave(batch)
    found = [_point(circle, k, batch) for k in range(computed if task.retain_states else 1)]
    if executor.graph.energy.feedforward:
        single = executor.contrasts.by_parameters(
            clamped, circle.states, -nudge.scale / count * weights, carried=circle.carried, single=True
        )
        for name, gradient in single:
            add_gradient(task.gradients, name, gradient)
        return task.estimate(free, *found, energies=energies)
    real, imaginary = _pairs(circle.states, free.states, weights, computed)
    x = task.clamped.x
    scale = -2 * nudge.scale / count
    task.contrast(real, scale, x=_copies(x, computed))
    moving = [
        f"edges.{e.owner}.weight" for e in executor.graph.edges.values() if executor.graph.input.name not in e.ends
    ]
    task.contrast(imaginary, scale, x=_copies(torch.zeros_like(x), computed), wanted=moving)
    return task.estimate(free, *found, energies=energies)


def _pairs(circle: States, free: States, weights: Tensor, copies: int) -> tuple[States, States]:
    """Return real pairs whose contrasts add up to the real part of Σ weight · ½[∂Φ/∂θ(s^β) − ∂Φ/∂θ(s*)].

    With c = (s^β + s*)/2 and o = weight · (s^β − s*)/2 that is Re(c ⊗ o + o ⊗ c): the contrast of the pair (Re c, Re o)
    and, for what is quadratic in the states (not for biases and the edges of the clamped input), of (Im c, −Im o).
    """
    real: States = {}
    imaginary: States = {}
    for name, s in circle.items():
        rest = _copies(free[name], copies)
        odd = 0.5 * (s - rest) * weights.view(-1, *(1,) * (s.ndim - 1))
        common = 0.5 * (s + rest)
        real[name] = torch.cat((common.real, odd.real))
        imaginary[name] = torch.cat((common.imag, -odd.imag))
    return real, imaginary


def _copies(t: Tensor, count: int) -> Tensor:
    return t.repeat(count, *(1,) * (t.ndim - 1))


def _point(circle: Relaxation, k: int, batch: int) -> Relaxation:
    """Return the relaxation at one β; real at +|β|."""
    rows = slice(k * batch, (k + 1) * batch)
    states = {name: s[rows].clone() for name, s in circle.states.items()}
    states = {name: s.real.clone() if k == 0 else s for name, s in states.items()}
    return replace(circle, states=states, residuals=circle.residuals[rows])
