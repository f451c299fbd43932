"""Implicit differentiation of an equilibrium s = σ(∂Φ/∂s): solve H λ = ∂C/∂s, then differentiate ⟨λ, ∂Φ/∂s⟩.

Where the energy is ``feedforward`` the equilibrium is one pass, its own derivative is at hand, and no system is solved.
"""

from __future__ import annotations

import torch
from torch import Tensor

from epgraph.linearization.differentiable_sweep import DifferentiableSweep, add_gradients
from epgraph.linearization.linearize import Adjoint, Linearization
from epgraph.runtime.feedforward import FeedForward, sorted_memory
from epgraph.runtime.gradients import Gradients, add_gradient
from epgraph.runtime.phases import Nudge, per_example
from epgraph.runtime.relaxation import States


def loss_force(about: Linearization, nudge: Nudge) -> States:
    """∂C/∂s of the mean loss by the output state, or by what a readout reads off the states."""
    graph = about.executor.graph
    output = graph.output.name
    with torch.enable_grad():
        # After one forward pass a readout is among the states.
        read = graph.readout and not graph.energy.feedforward
        reached = (about.forces if read else about.states)[output].detach().requires_grad_()
        loss = nudge.cost.value(reached, nudge.target.to(reached)).sum() / nudge.examples
        (force,) = torch.autograd.grad(loss, reached)
    return {output: force}


def differentiate_implicitly(
    gradients: Gradients,
    about: Linearization,
    forces: States,
    tolerance: float,
    steps: int,
    *,
    sizes: Tensor | None = None,
    x: Tensor | None = None,
) -> tuple[Adjoint, Tensor | None]:
    """Add the implicit gradient at the states of ``about``; tolerance and steps as for its ``adjoint``.

    Parameters
    ----------
    forces
        ∂C/∂s by the name of the state; those left out are 0.
    sizes
        Factor of the loss of each example, (batch,); 1 where left out.
    x
        The input, where the gradient by it is wanted as well.

    Returns
    -------
    tuple
        How the system was solved, and the gradient by ``x``.
    """
    executor = about.executor
    if executor.graph.energy.feedforward:
        return _through_one_pass(gradients, about, forces, sizes, x)
    output, readout = executor.graph.output.name, executor.graph.readout
    right = about.flat(forces)
    if readout:
        right = about.curvature(right)
    weights, solved = about.adjoint(right, tolerance, steps)
    if sizes is not None:
        weights = weights * sizes[:, None].to(weights)
    adjoint = about.parts(weights)
    if readout:
        adjoint[output] = forces[output]
    for name in [state.name for state in executor.graph.states.values() if state.activation.learnt]:
        key = f"states.{name}.alpha"
        if key in about.parameters.trained:
            # Units at α move with it, and the others with them: the envelope theorem, once more.
            level = about.parameters.values[key]
            moved = about.parts(right + about.curvature(weights))[name]
            add_gradient(gradients, key, moved[about.forces[name] >= level].sum().to(level.dtype))
    inputs = []
    with torch.enable_grad():
        attached = about.plain.x
        if x is not None:
            inputs = [x.detach().requires_grad_()]
            attached = inputs[0].to(attached.dtype)
        plain = DifferentiableSweep(executor, attached, about.parameters)
        acting = plain.forces({name: s.detach() for name, s in about.states.items()})
    by_x = add_gradients(gradients, plain, list(acting.values()), [adjoint[name] for name in acting], inputs)
    return solved, by_x[0] if by_x else None


def _through_one_pass(
    gradients: Gradients, about: Linearization, forces: States, sizes: Tensor | None, x: Tensor | None
) -> tuple[Adjoint, Tensor | None]:
    """As ``differentiate_implicitly``, by backpropagation through the forward pass."""
    graph, parameters = about.executor.graph, about.parameters
    leaves = parameters.leaves()
    inputs = [] if x is None else [x.detach().requires_grad_()]
    with torch.enable_grad():
        attached = inputs[0].to(about.x.dtype) if inputs else about.x
        states = FeedForward(graph, {**parameters.values, **leaves}, about.x.dtype).states(sorted_memory(attached))
    if sizes is not None:
        forces = {name: force * per_example(sizes.to(force), force) for name, force in forces.items()}
    moved = [name for name in forces if states[name].requires_grad]
    wanted = [*leaves.values(), *inputs]
    found: tuple[Tensor, ...] = tuple(torch.zeros_like(leaf) for leaf in wanted)
    if moved and wanted:
        results, weights = [states[name] for name in moved], [forces[name].to(states[name]) for name in moved]
        found = torch.autograd.grad(results, wanted, weights, materialize_grads=True)
    for name, gradient in zip(leaves, found, strict=False):
        add_gradient(gradients, name, gradient)
    rows = about.x.new_zeros(len(about.x))
    return Adjoint(0, rows, rows.bool()), found[-1] if inputs else None
