"""Backpropagation of the feed-forward network of a wiring, by torch autograd: the baseline of EP on one file."""

from __future__ import annotations

import torch

from epgraph.arguments import flag
from epgraph.estimators.task import Estimate, GradientTask
from epgraph.runtime.feedforward import FeedForward, settled, sorted_memory
from epgraph.runtime.gradients import add_gradient


def backprop(task: GradientTask) -> Estimate:
    """Exact gradient of the mean loss of sⁿ = σ(Σ A_e s + bₙ), with the states taken in topological order.

    Every edge is read in its direction. The relaxation of the estimate is the forward pass: one step, residual 0.
    Where the energy is ``feedforward`` its free equilibrium is the same. Memory is that of a step of torch autograd:
    without ``retain_states`` the states are released on the way back.

    Options
    -------
    batch_statistics
        Whether ``norm: batch`` normalizes with this batch, and adds it to the running statistics; else with those.
    """
    executor, nudge, parameters = task.executor, task.nudge, task.clamped.parameters
    training = flag("batch_statistics", task.options.get("batch_statistics", True))
    leaves = parameters.leaves()
    output = executor.graph.output.name
    with torch.enable_grad():
        network = FeedForward(executor.graph, {**parameters.values, **leaves}, executor.dtype)
        states = network.states(sorted_memory(task.clamped.x), training=training)
        loss = nudge.cost.value(states[output], nudge.target).sum() / nudge.examples
    kept = {name: s.detach() for name, s in states.items() if task.retain_states or name == output}
    del states, network
    if leaves and loss.requires_grad:
        found = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    else:
        found = tuple(torch.zeros_like(leaf) for leaf in leaves.values())
    for name, gradient in zip(leaves, found, strict=True):
        add_gradient(task.gradients, name, gradient)
    free = settled(executor, kept)
    # The pass is the free equilibrium of such an energy, where every error is 0; of another one it is no rest.
    known = task.energy and executor.graph.energy.feedforward
    return task.estimate(free, energies=torch.zeros_like(free.residuals) if known else None)
