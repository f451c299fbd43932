"""EP proper: two settled states are contrasted, and each estimator says which two (Eq. 4, 5).

They follow the gradient of the loss, up to the order in β that each says.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from epgraph.estimators.task import Estimate, GradientTask
from epgraph.runtime.phases import split_pair_
from epgraph.runtime.relaxation import States


def centered(task: GradientTask) -> Estimate:
    """Centered EP (Eq. 5): −(1/2β)[∂Φ/∂θ(s^{+β}) − ∂Φ/∂θ(s^{−β})], error O(β²) where σ is smooth.

    Both phases start from the free state and run as one doubled batch, carried as a pair (``phases``).
    """
    executor, nudge, retain = task.executor, task.nudge, task.retain_states
    if executor.doubled:
        task.emit_pair()
    free = task.free_phase()
    energies = task.energies(free)
    if not executor.doubled:
        both = (nudge, replace(nudge, beta=-nudge.beta))
        plus, minus = (task.nudged_phase(sign, free) for sign in both)
        task.add_difference(plus, minus, -0.5 * nudge.scale)
        return task.estimate(free, plus, minus, energies=energies)
    used = free
    if not retain:
        output = executor.graph.output.name
        used = replace(free, states={name: free.states.pop(name) for name in list(free.states)})
        free.states[output] = used.states[output]
    pairs = task.nudged_phase(nudge, used, keep=retain, pair=True)
    free.carried.clear()
    if task.last:
        task.clamped.prepared.clear()  # the gradient needs room, and no sweep follows
    task.contrast(pairs.states, -nudge.scale, carried=pairs.carried)
    pairs.carried.clear()
    signs: tuple[States, States] = ({}, {})
    for name in list(pairs.states):
        # Taken out one by one, so that what is not kept is free before the next one is copied.
        s, other = split_pair_(pairs.states.pop(name))
        signs[0][name] = s if retain else s.clone()
        if retain:
            signs[1][name] = other
    return task.estimate(free, *(replace(pairs, states=states) for states in signs), energies=energies)


def positive(task: GradientTask) -> Estimate:
    """One-sided EP (Eq. 4): −(1/β)[∂Φ/∂θ(s^{+β}) − ∂Φ/∂θ(s*)], error O(β)."""
    return _one_sided(task, 1)


def negative(task: GradientTask) -> Estimate:
    """One-sided EP with −β: −(1/β)[∂Φ/∂θ(s*) − ∂Φ/∂θ(s^{−β})], error O(β)."""
    return _one_sided(task, -1)


def random_sign(task: GradientTask) -> Estimate:
    """One-sided EP with a sign that is drawn once a batch, from torch's global generator (Scellier & Bengio 2017).

    Its mean over the signs is the centered estimate, at half of the nudged phases.
    """
    drawn = task.drawn
    if "sign" not in drawn:
        drawn["sign"] = 2.0 * float(torch.randint(2, ())) - 1.0
    return _one_sided(task, int(drawn["sign"]))


def _one_sided(task: GradientTask, sign: int) -> Estimate:
    executor, nudge = task.executor, replace(task.nudge, beta=sign * task.nudge.beta)
    free = task.free_phase()
    energies = task.energies(free)
    nudged = task.nudged_phase(nudge, free)
    if executor.graph.energy.feedforward:
        # At the free equilibrium ∂F/∂θ is zero.
        task.contrast(nudged.states, -nudge.scale, carried=nudged.carried, single=True)
        nudged.carried.clear()
    else:
        task.add_difference(nudged, free, -nudge.scale)
    return task.estimate(free, nudged, energies=energies)
