"""EP proper: two settled states are contrasted, and each estimator says which two (Eq. 4, 5).

They follow the gradient of the loss, up to the order in β that each says.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from epgraph.estimators.problem import Estimate, Problem
from epgraph.runtime.phases import make_pair, split_pair_
from epgraph.runtime.relaxation import States


def centered(problem: Problem) -> Estimate:
    """Centred EP (Eq. 5): −(1/2β)[∂Φ/∂θ(s^{+β}) − ∂Φ/∂θ(s^{−β})], error O(β²) where σ is smooth.

    Both phases start from the free state and run as one doubled batch, carried as a pair (``phases``).
    """
    executor, nudge, keep = problem.executor, problem.nudge, problem.keep
    if executor.doubled:
        # Both before the first sweep: emission takes memory that the weights, once prepared, leave no room for.
        executor.program("free")
        executor.program("pair")
    free = problem.settle()
    energies = problem.energies(free)
    if not executor.doubled:
        both = (nudge, replace(nudge, beta=-nudge.beta))
        plus, minus = (problem.nudged(sign, free) for sign in both)
        made = {name: make_pair(s, minus.states[name]) for name, s in plus.states.items()}
        problem.contrast(made, -nudge.scale)
        return problem.estimate(free, plus, minus, energies=energies)
    used = free
    if not keep:
        output = executor.graph.output.name
        used = replace(free, states={name: free.states.pop(name) for name in list(free.states)})
        free.states[output] = used.states[output]
    pairs = problem.nudged(nudge, used, keep=keep, pair=True)
    if problem.last:
        problem.clamped.prepared.clear()  # the gradient needs room, and no sweep follows
    problem.contrast(pairs.states, -nudge.scale)
    signs: tuple[States, States] = ({}, {})
    for name in list(pairs.states):
        # Taken out one by one, so that what is not kept is free before the next one is copied.
        s, other = split_pair_(pairs.states.pop(name))
        signs[0][name] = s if keep else s.clone()
        if keep:
            signs[1][name] = other
    return problem.estimate(free, *(replace(pairs, states=states) for states in signs), energies=energies)


def positive(problem: Problem) -> Estimate:
    """One-sided EP (Eq. 4): −(1/β)[∂Φ/∂θ(s^{+β}) − ∂Φ/∂θ(s*)], error O(β)."""
    return _one_sided(problem, 1)


def negative(problem: Problem) -> Estimate:
    """One-sided EP with −β: −(1/β)[∂Φ/∂θ(s*) − ∂Φ/∂θ(s^{−β})], error O(β)."""
    return _one_sided(problem, -1)


def random_sign(problem: Problem) -> Estimate:
    """One-sided EP with a sign that is drawn once a batch, from torch's global generator (Scellier & Bengio 2017).

    Its mean over the signs is the centred estimate, at half of the nudged phases.
    """
    drawn = problem.drawn
    if "sign" not in drawn:
        drawn["sign"] = 2.0 * float(torch.randint(2, ())) - 1.0
    return _one_sided(problem, int(drawn["sign"]))


def _one_sided(problem: Problem, sign: int) -> Estimate:
    nudge = replace(problem.nudge, beta=sign * problem.nudge.beta)
    free = problem.settle()
    energies = problem.energies(free)
    nudged = problem.nudged(nudge, free)
    pairs = {name: make_pair(s, free.states[name]) for name, s in nudged.states.items()}
    # Half the difference of the pair, over the β that stands between the two.
    problem.contrast(pairs, -2 * nudge.scale)
    return problem.estimate(free, nudged, energies=energies)
