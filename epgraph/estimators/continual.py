"""Continual EP: the parameters move while the nudged phase still relaxes."""

from __future__ import annotations

from dataclasses import replace

from epgraph.estimators.task import Estimate, GradientTask
from epgraph.runtime.gradients import add_gradient
from epgraph.runtime.parameters import LOWEST_LEVEL
from epgraph.runtime.phases import make_pair
from epgraph.runtime.relaxation import Status


def continual(task: GradientTask) -> Estimate:
    """Continual EP (Ernoult et al. 2020): after every nudged sweep θ moves along that sweep's own contrast.

    With g_t = −(1/β)[∂Φ/∂θ(s_{t+1}) − ∂Φ/∂θ(s_t)] the next sweep runs under θ − ``rate`` · Σ g. The sum of all g is the
    gradient; what moves is a copy of the parameters, so that any optimizer applies. At rate 0 the sum telescopes to
    ``positive``, from which it departs linearly in the rate.

    Every nudged sweep costs a weight gradient and what a sweep leaves to be done once per batch. It is a plain one:
    solvers that mix states act in the free phase only.
    """
    executor, nudge, rate = task.executor, task.nudge, task.options["continual_rate"]
    free = task.free_phase()
    energies = task.energies(free)
    clamped, now = task.clamped, free
    given = clamped.parameters
    moving = {name: given.values[name].clone() for name in given.trained}
    steps = 0
    while steps < task.nudged_steps:
        before = now.states
        now = executor.run(clamped, before, 1, task.tolerance, nudge)
        steps += 1
        pairs = {name: make_pair(s, before[name]) for name, s in now.states.items()}
        # Half the difference of the pair, over the β that stands between the two.
        moves = list(executor.contrasts.by_parameters(clamped, pairs, -2 * nudge.scale))
        for name, gradient in moves:
            moving[name].sub_(gradient, alpha=rate)
            if name.endswith(".alpha"):
                moving[name].clamp_(min=LOWEST_LEVEL)
            add_gradient(task.gradients, name, gradient)
        if now.status in (Status.CONVERGED, Status.DIVERGED):
            break
        if rate:
            clamped = executor.clamp(clamped.x, replace(given, values={**given.values, **moving}))
    return task.estimate(free, replace(now, steps=steps), energies=energies)
