"""Gradients by the name of the parameter, which several contributions add up to, and their cosine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

Gradients = dict[str, Tensor]
"""Gradients of the batch's mean loss by the name of the parameter."""


def add_gradient(gradients: Gradients, name: str, gradient: Tensor) -> None:
    """Add to what a parameter has so far; where it has nothing, the tensor given becomes its gradient."""
    gradients[name] = gradients[name].add_(gradient) if name in gradients else gradient


def cosine(gradient: Tensor, other: Tensor) -> float:
    """Return the cosine of two tensors of equal shape, as vectors in float64; NaN where one is zero or not finite."""
    one, two = gradient.flatten().double(), other.flatten().double()
    sizes = float(one.norm()) * float(two.norm())
    return float(one @ two) / sizes if sizes else math.nan


@contextmanager
def aside(module: nn.Module) -> Iterator[Gradients]:
    """Empty ``.grad`` of all parameters meanwhile; what was filled in is, afterwards, in the dict that is yielded."""
    before = {parameter: parameter.grad for parameter in module.parameters()}
    found: Gradients = {}
    try:
        module.zero_grad(set_to_none=True)
        yield found
        found.update((name, p.grad) for name, p in module.named_parameters() if p.grad is not None)
    finally:
        for parameter, gradient in before.items():
            parameter.grad = gradient
