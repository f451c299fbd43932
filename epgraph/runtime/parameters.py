"""The parameters of a network at one moment.

All phases of a gradient, and the backward pass of ``Equilibrium``, use the values that the free phase used. So a weight
may be exchanged in between (``torch.func.functional_call``, ``p.data = …``), and a weight that is computed from other
parameters (``torch.nn.utils.parametrize``, ``torch.nn.utils.prune``) is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from epgraph.graph import State
from epgraph.runtime.gradients import Gradients

LOWEST_LEVEL = 1e-3
"""Learnt levels of ReLUα are kept at or above this: a state whose level is 0 could not come back."""


@dataclass(frozen=True)
class Parameters:
    """The values of all parameters at one moment.

    Attributes
    ----------
    values
        By name (``edges.<name>.weight``, …, as in the ``state_dict`` of an engine without parametrizations), detached.
        They are references, not copies, and are not to be written into.
    trained
        Names of those whose gradient is wanted.
    """

    values: Mapping[str, Tensor]
    trained: frozenset[str]

    @classmethod
    def of(cls, origins: Mapping[str, Tensor]) -> Self:
        """Detach what ``Engine.origins`` returns; gradients are wanted of what requires them."""
        values = {name: value.detach() for name, value in origins.items()}
        return cls(values, frozenset(name for name, value in origins.items() if value.requires_grad))

    def alpha(self, state: State) -> float | Tensor:
        """Level α of a state, a number or a tensor of no dimensions; 0 (unused) where its activation has none."""
        stored = state.activation.stored
        return self.values[f"states.{state.name}.alpha"] if stored else state.activation.alpha_range[1]

    def leaves(self) -> dict[str, Tensor]:
        """Return those that are trained as leaves of a new autograd graph; they share their memory with ``values``."""
        return {name: value.detach().requires_grad_() for name, value in self.values.items() if name in self.trained}


def hand_out(gradients: Gradients, origins: Mapping[str, Tensor]) -> None:
    """Add gradients to ``.grad`` of the parameters, by the chain rule where a value is computed from others."""
    computed = []
    for name, gradient in gradients.items():
        origin = origins[name]
        if origin.is_leaf:
            origin.grad = gradient if origin.grad is None else origin.grad.add_(gradient)
        else:
            computed.append(name)
    if computed:
        torch.autograd.backward([origins[name] for name in computed], [gradients[name] for name in computed])
