"""Gradients of modules by name, and how far two of them are apart."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def accumulate(module: nn.Module) -> dict[str, Tensor]:
    """Gradients of a module by name, as copies."""
    return {n: p.grad.detach().clone() for n, p in module.named_parameters() if p.grad is not None}


def relative_difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Largest relative difference ‖a − b‖/‖b‖ of a parameter's gradient."""
    return max(float(torch.dist(found[name], value) / value.norm()) for name, value in expected.items())


def cosines(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
    """Cosine of every parameter's gradient to the expected one."""
    pairs = {name: (found[name].double().flatten(), value.double().flatten()) for name, value in expected.items()}
    return {name: float(torch.dot(a, b) / (a.norm() * b.norm())) for name, (a, b) in pairs.items()}


def lowest_cosine(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Lowest cosine of a parameter's gradient."""
    return min(cosines(found, expected).values())
