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


def lowest_cosine(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Lowest cosine of a parameter's gradient."""
    pairs = ((found[name].double().flatten(), value.double().flatten()) for name, value in expected.items())
    return min(float(torch.dot(a, b) / (a.norm() * b.norm())) for a, b in pairs)
