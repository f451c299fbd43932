"""The parameters of a network at one moment.

All phases of a gradient, and the backward pass of ``Equilibrium``, use the values that the free phase used. So a weight
may be exchanged in between (``torch.func.functional_call``, ``p.data = …``), and a weight that is computed from other
parameters (``torch.nn.utils.parametrize``, ``torch.nn.utils.prune``) is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from epgraph.errors import EpgraphError
from epgraph.runtime.gradients import Gradients

LOWEST = 1e-3
"""Learnt levels of ReLUα are kept at or above this: a state whose level is 0 could not come back."""


class Holder(nn.Module):
    """Holds the parameters of one edge or of one state: weight and feedback, or bias and alpha.

    Called, it returns them by name, because hooks of the module may compute one of them anew: pruning and the old
    ``torch.nn.utils.weight_norm`` do.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.shapes = {name: value.shape for name, value in values.items()}
        for name, value in values.items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(name, value)
            else:
                self.register_buffer(name, value)

    def forward(self) -> dict[str, Any]:
        """Return what stands under each name: a parameter, what something else has put there, or None if it is gone."""
        return {name: getattr(self, name, None) for name in self.shapes}

    def held(self, name: str) -> Tensor | None:
        """Return one of them as it is now; None for what the edge or the state does not have."""
        found: Tensor | None = self().get(name)
        return found

    def read(self, path: str, like: Tensor) -> dict[str, Tensor]:
        """Return the parameters by their full names, ``path.weight`` …, attached to what autograd knows of them.

        Raises
        ------
        EpgraphError
            Where one has another shape than the network's, or another dtype or device than ``like``.
        """
        found = {}
        for name, value in self().items():
            shape = self.shapes[name]
            fits = isinstance(value, Tensor) and value.shape == shape
            if not fits or value.dtype != like.dtype or value.device != like.device:
                expected = _described(shape, like)
                instead = _described(value.shape, value) if isinstance(value, Tensor) else repr(value)
                raise EpgraphError(
                    f"parameter '{path}.{name}' must have {expected}; found {instead}",
                    "convert a tensor before you put it in place of a parameter",
                )
            found[f"{path}.{name}"] = value
        return found


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


def _described(shape: torch.Size, like: Tensor) -> str:
    return f"shape {tuple(shape)}, dtype {str(like.dtype).removeprefix('torch.')} and device {like.device}"
