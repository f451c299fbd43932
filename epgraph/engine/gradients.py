"""Gradients are added to what stands in ``.grad``, as torch's own are."""

from __future__ import annotations

from torch import Tensor, nn


def add_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Add to ``parameter.grad``; where there is none, the gradient given becomes it."""
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
