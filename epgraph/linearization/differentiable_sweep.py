"""The engine's sweep and forces as torch code without in-place operations, which autograd differentiates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from epgraph.compiler.sweep import run
from epgraph.runtime.executor import Executor
from epgraph.runtime.gradients import Gradients, add_gradient
from epgraph.runtime.parameters import Parameters
from epgraph.runtime.phases import Nudge
from epgraph.runtime.relaxation import States, named


class DifferentiableSweep:
    """Sweep and forces for one clamped batch, differentiable with respect to states and parameters.

    It runs the program as traced, without any pass. At a kink σ′ is 0 (``Activation.derivative``).

    Parameters
    ----------
    x
        Input, (batch, *input shape), in the precision of the states.
    attached
        Whether results are differentiable with respect to the trained parameters.

    Attributes
    ----------
    leaves
        Trained parameters by name, as leaves of the autograd graph; empty if results are not attached.
    """

    def __init__(self, executor: Executor, x: Tensor, parameters: Parameters, *, attached: bool = True) -> None:
        self.executor = executor
        values = parameters.values
        self.machine = executor.programs.differentiable(
            x.dtype, cast=any(value.dtype != x.dtype for value in values.values())
        )
        # Contiguous: torch's own weight gradient corrupts the heap with channels last (see ``correlate``).
        self.x = x.contiguous()
        self.leaves = parameters.leaves() if attached else {}
        self.values = executor.emitted({**values, **self.leaves}, self.machine)
        self.values |= named(self.machine, {executor.graph.input.name: self.x})
        with torch.enable_grad():
            run(self.machine.functions("constants"), self.values)

    def sweep(self, states: States, nudge: Nudge | None = None) -> States:
        """Return the states after one sweep, free or nudged; ``states`` is not changed."""
        dynamics = self.executor.architecture.dynamics
        program = self.machine.program("free" if nudge is None else "nudged", relaxed=dynamics.stepped)
        values = {**self.values, **named(self.machine, states), "omega": dynamics.step}
        if nudge is not None:
            values |= {"y": nudge.target, "beta": nudge.beta}
        run(program.phase.sweep, values)
        return {name: values[self.machine.tracer.names("state", name)] for name in states}

    def forces(self, states: States) -> States:
        """∂Φ/∂s of every state that moves."""
        values = {**self.values, **named(self.machine, states)}
        if self.executor.graph.energy.feedforward:
            run(self.machine.functions("sums", phase="free"), values)
        run(self.machine.functions("forces"), values)
        return {name: values[self.machine.tracer.names("force", name)] for name in states}


def add_gradients(
    gradients: Gradients,
    plain: DifferentiableSweep,
    results: Sequence[Tensor],
    weights: Sequence[Tensor],
    inputs: Sequence[Tensor] = (),
) -> tuple[Tensor, ...]:
    """Add the derivative of Σ ⟨weight, result⟩ with respect to every trained parameter; ``plain`` gave the results.

    Returns
    -------
    tuple
        Derivatives with respect to ``inputs``.
    """
    attached = [number for number, result in enumerate(results) if result.requires_grad]
    leaves = [*plain.leaves.values(), *inputs]
    if attached and leaves:
        outputs, grad_outputs = [results[n] for n in attached], [weights[n] for n in attached]
        derivatives = torch.autograd.grad(outputs, leaves, grad_outputs, materialize_grads=True)
    else:
        derivatives = tuple(torch.zeros_like(t) for t in leaves)
    for name, gradient in zip(plain.leaves, derivatives, strict=False):
        add_gradient(gradients, name, gradient)
    return tuple(derivatives[len(plain.leaves) :])
