"""Gradients by the name of an edge or state, and how well two of them agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from epgraph.runtime.gradients import Gradients, cosine

NEGLIGIBLE = 1e-6
"""Part of a gradient's largest entry below which the sign of an entry says nothing."""


@dataclass(frozen=True)
class Agreement:
    """How well one gradient agrees with another: cosine, relative error, and share of equal signs.

    Signs count where the other gradient is not negligible. None where it vanishes (or, for the cosine, either does).
    """

    cosine: float | None
    error: float | None
    signs: float | None


def agree(estimate: Tensor, exact: Tensor) -> Agreement:
    """Compare a gradient with the one that it should be; any equal shapes."""
    estimate, exact = estimate.flatten().double(), exact.flatten().double()
    size, other = float(exact.norm()), float(estimate.norm())
    if not size > 0:
        return Agreement(None, None, None)
    there = exact.abs() > NEGLIGIBLE * exact.abs().max()
    return Agreement(
        cosine(estimate, exact) if other > 0 else None,
        float((estimate - exact).norm()) / size,
        float((estimate.sign() == exact.sign())[there].double().mean()),
    )


def compare(estimate: Gradients, exact: Gradients) -> dict[str, Agreement]:
    """Compare the gradients of all parameters, and under ``all`` all of them at once."""
    each = {name: agree(estimate[name], exact[name]) for name in exact}
    return {**each, "all": agree(flat({name: estimate[name] for name in exact}), flat(exact))}


def named_by_edge(estimate: Gradients) -> Gradients:
    """Gradients by the name of the edge, or 'bias of' the state."""
    return {_label(name): gradient for name, gradient in estimate.items()}


def _label(parameter: str) -> str:
    part, name, what = parameter.split(".")
    # "all" stands for all parameters at once, and may be the name of an edge.
    return name if part == "edges" and name != "all" else f"{what} of {name}"


def flat(gradients: Mapping[str, Tensor]) -> Tensor:
    """Return all gradients as one vector."""
    return torch.cat([g.flatten() for g in gradients.values()])
