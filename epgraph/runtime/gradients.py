"""Gradients by the name of the parameter, which several contributions add up to."""

from __future__ import annotations

from torch import Tensor

Gradients = dict[str, Tensor]
"""Gradients of the batch's mean loss by the name of the parameter."""


def add_gradient(gradients: Gradients, name: str, gradient: Tensor) -> None:
    """Add to what a parameter has so far; where it has nothing, the tensor given becomes its gradient."""
    gradients[name] = gradients[name].add_(gradient) if name in gradients else gradient
