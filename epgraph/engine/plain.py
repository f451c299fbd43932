"""The engine's own sweep and forces as plain torch code, which autograd differentiates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from epgraph.emit.runtime import run
from epgraph.engine.gradients import add_gradient
from epgraph.engine.phases import Nudge
from epgraph.engine.relaxation import States

if TYPE_CHECKING:
    from epgraph.engine.engine import Engine


class Plain:
    """A batch with its input clamped, as torch code whose results autograd can follow back to states and parameters.

    What runs is what the tracer records before any rewrite; at a kink σ′ is 0 (``Activation.derivative``).

    Parameters
    ----------
    x
        Input, (batch, *input shape).
    dtype
        Precision of the states; left out, the engine's.
    attached
        Whether results depend on the parameters as autograd sees them, or on their values alone.
    """

    def __init__(self, engine: Engine, x: Tensor, *, dtype: torch.dtype | None = None, attached: bool = True) -> None:
        self.engine = engine
        self.machine = engine.plain(dtype)
        # Contiguous: torch's own weight gradient corrupts the heap with channels last (see ``correlate``).
        self.x = x.to(self.machine.tracer.dtype).contiguous()
        weights = engine.attached()
        self.values: dict[str, Any] = weights if attached else {name: w.detach() for name, w in weights.items()}
        self.values |= self.named({engine.graph.input.name: self.x})
        with torch.enable_grad():
            run(self.machine.functions("constants"), self.values)

    def sweep(self, states: States, nudge: Nudge | None = None) -> States:
        """Take one sweep, free or nudged; the states given are left as they are."""
        dynamics = self.engine.architecture.dynamics
        program = self.machine.program("free" if nudge is None else "nudged", relaxed=dynamics.stepped)
        values = {**self.values, **self.named(states), "omega": dynamics.step}
        if nudge is not None:
            values |= {"y": nudge.target, "beta": nudge.beta}
        run(program.sweep, values)
        return {name: values[self.machine.tracer.names("state", name)] for name in states}

    def forces(self, states: States) -> States:
        """∂Φ/∂s of every state that moves."""
        values = {**self.values, **self.named(states)}
        run(self.machine.functions("forces"), values)
        return {name: values[self.machine.tracer.names("force", name)] for name in states}

    def named(self, states: States) -> dict[str, Tensor]:
        """States by the names of emitted code."""
        return {self.machine.tracer.names("state", name): s for name, s in states.items()}


def add_gradients(
    engine: Engine, results: Sequence[Tensor], weights: Sequence[Tensor], inputs: Sequence[Tensor] = ()
) -> tuple[Tensor, ...]:
    """Add the derivative of Σ ⟨weight, result⟩ to the ``.grad`` of every parameter that is to learn.

    Returns
    -------
    tuple
        Its derivatives by ``inputs``.
    """
    learning = [parameter for parameter in engine.parameters() if parameter.requires_grad]
    attached = [number for number, result in enumerate(results) if result.requires_grad]
    wanted = [*learning, *inputs]
    if attached and wanted:
        chosen = [results[n] for n in attached], [weights[n] for n in attached]
        found = torch.autograd.grad(chosen[0], wanted, chosen[1], materialize_grads=True)
    else:
        found = tuple(torch.zeros_like(t) for t in wanted)
    for parameter, gradient in zip(learning, found, strict=False):
        add_gradient(parameter, gradient)
    return tuple(found[len(learning) :])
