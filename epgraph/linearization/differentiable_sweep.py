"""The engine's own sweep and forces as plain torch code, which autograd differentiates."""

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


class Plain:
    """A batch with its input clamped, as torch code whose results autograd can follow back to states and parameters.

    What runs is what the tracer records before any rewrite; at a kink σ′ is 0 (``Activation.derivative``).

    Parameters
    ----------
    x
        Input, (batch, *input shape), in the precision that the states are to have.
    attached
        Whether autograd follows results back to the parameters that are trained.

    Attributes
    ----------
    leaves
        Those parameters by name, as leaves of the graph; none where results are not attached.
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
        """Take one sweep, free or nudged; the states given are left as they are."""
        dynamics = self.executor.architecture.dynamics
        program = self.machine.program("free" if nudge is None else "nudged", relaxed=dynamics.stepped)
        values = {**self.values, **named(self.machine, states), "omega": dynamics.step}
        if nudge is not None:
            values |= {"y": nudge.target, "beta": nudge.beta}
        run(program.sweep, values)
        return {name: values[self.machine.tracer.names("state", name)] for name in states}

    def forces(self, states: States) -> States:
        """∂Φ/∂s of every state that moves."""
        values = {**self.values, **named(self.machine, states)}
        run(self.machine.functions("forces"), values)
        return {name: values[self.machine.tracer.names("force", name)] for name in states}


def add_gradients(
    gradients: Gradients,
    plain: Plain,
    results: Sequence[Tensor],
    weights: Sequence[Tensor],
    inputs: Sequence[Tensor] = (),
) -> tuple[Tensor, ...]:
    """Add the derivative of Σ ⟨weight, result⟩ by every parameter that is trained; ``plain`` made the results.

    Returns
    -------
    tuple
        Its derivatives by ``inputs``.
    """
    attached = [number for number, result in enumerate(results) if result.requires_grad]
    wanted = [*plain.leaves.values(), *inputs]
    if attached and wanted:
        chosen = [results[n] for n in attached], [weights[n] for n in attached]
        found = torch.autograd.grad(chosen[0], wanted, chosen[1], materialize_grads=True)
    else:
        found = tuple(torch.zeros_like(t) for t in wanted)
    for name, gradient in zip(plain.leaves, found, strict=False):
        add_gradient(gradients, name, gradient)
    return tuple(found[len(plain.leaves) :])
