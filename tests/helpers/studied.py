"""How near gradients on the predictive energy are to backpropagation, on random smooth networks without cycles."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import epgraph as ep
from epgraph.solvers import SOLVERS
from epgraph.testing.network import Estimator
from tests.helpers.directed import SMOOTH, DirectedCase, directed_coverage, random_directed
from tests.helpers.qualified import cosine, error

BETAS = (0.04, 0.02, 0.01, 0.005)
BETA = 0.01
SWEEPS = 10
ROUNDS = 2
MOST, REST = 500, 3e-15
"""Sweeps in which a network has to come to rest, and the residual there."""
SETTLED = 40
"""Rounds of error sweeps that lead to an equilibrium."""

POPULATION: dict[str, Any] = {"activations": SMOOTH, "pool_max": False, "moving": (3, 7), "gain": (0.3, 1.2)}


@dataclass(frozen=True)
class Studied:
    """One network: errors are ‖g − g_bp‖/‖g_bp‖, of all trained parameters in one vector."""

    seed: int
    moving: int
    cost: str
    errors: tuple[float, ...]
    """Of the centered gradient at the nudged equilibria, for ``BETAS``."""
    rests: bool
    """Whether colored sweeps come to rest when nudged by ±BETAS[0]. If not, error sweeps give the equilibria."""
    slope: float
    """Of ln error by ln β, least squares."""
    slopes_one_sided: tuple[float, float]
    """Of the gradients of +β and free, and of free and −β."""
    cosine_sweeps: float
    """Of the centered gradient with backpropagation, ``BETA``, ``SWEEPS`` colored sweeps."""
    cosine_rounds: float
    """The same after ``ROUNDS`` rounds of error sweeps."""
    apart: float | None
    """Largest relative difference of a state between the nudged equilibria of colored and of error sweeps, if any."""


def candidates(**options: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Architectures that may be studied, with their seeds: three states that move or more, and an edge over a state."""
    seed = 0
    while True:
        data = random_directed(random.Random(seed), **{**POPULATION, **options})
        if directed_coverage(data)["edge over a state"]:
            yield seed, data
        seed += 1


def study(seed: int, data: dict[str, Any]) -> Studied | None:
    """Study one network; None where backpropagation gives zero."""
    case = DirectedCase(data, seed)
    engine = case.engine("coloring")
    by_rounds = rounds_engine(case, engine)
    oracle = case.predictive(engine)
    free = oracle.forward(case.x)
    gradients, _ = oracle.backpropagation(case.x, case.y)
    exact = torch.cat([gradients[n].flatten() for n, p in engine.named_parameters() if p.requires_grad])
    if not exact.any():
        return None
    options: dict[str, Any] = {"start": free, "steps": MOST, "target": case.y, "tolerance": REST}
    ends = [engine.relax(case.x, beta=sign * BETAS[0], **options) for sign in (1, -1)]
    rests = all(end.status is ep.Status.CONVERGED for end in ends)
    rounds = oracle.error_sweeps(case.x, SETTLED, free, case.y, BETAS[0])
    apart = max(error(rounds[n], s) if bool(s.any()) else 0.0 for n, s in ends[0].states.items())

    def swept(
        of: ep.Engine, beta: float, steps: int, estimator: Estimator = "centered", tolerance: float = 0
    ) -> Tensor:
        of.zero_grad(set_to_none=True)
        start: dict[str, Any] = {"start": free, "free_steps": 1, "nudged_steps": steps, "tolerance": tolerance}
        of.backward(case.x, case.y, estimator=estimator, beta=beta, **start)
        return torch.cat([p.grad.flatten() for p in of.parameters() if p.grad is not None])

    def by_oracle(beta: float, rounds: int, estimator: Estimator = "centered") -> Tensor:
        found = oracle.estimate_by_rounds(case.x, case.y, free, rounds, beta, estimator)
        return torch.cat([found[n].flatten() for n, p in engine.named_parameters() if p.requires_grad])

    def errors(estimator: Estimator) -> tuple[float, ...]:
        found = (
            swept(engine, beta, MOST, estimator, REST) if rests else by_oracle(beta, SETTLED, estimator)
            for beta in BETAS
        )
        return tuple(error(gradient, exact) for gradient in found)

    after = by_oracle(BETA, ROUNDS) if by_rounds is None else swept(by_rounds, BETA, ROUNDS)
    centered = errors("centered")
    return Studied(
        seed,
        len(case.graph.dynamic),
        data["output"]["cost"],
        centered,
        rests,
        slope(centered),
        (slope(errors("positive")), slope(errors("negative"))),
        cosine(swept(engine, BETA, SWEEPS), exact),
        cosine(after, exact),
        apart if rests else None,
    )


def rounds_engine(case: DirectedCase, engine: ep.Engine) -> ep.Engine | None:
    """Return the same network with the solver of error sweeps; None where there is no such solver."""
    if "error_sweeps" not in SOLVERS:
        return None
    data = case.architecture.model_dump(by_alias=True, exclude_unset=True)
    data["dynamics"] = {**data.get("dynamics", {}), "solver": "error_sweeps"}
    other = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
    other.load_state_dict(engine.state_dict())
    return other


def slope(errors: tuple[float, ...]) -> float:
    """d ln error/d ln β by least squares."""
    return float(np.polyfit(np.log(BETAS), np.log(errors), 1)[0])
