"""What a network does before it is trained: does it settle, how fast, and does the input reach every state?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from epgraph.linearization.linearize import Linearization
from epgraph.runtime.relaxation import States

if TYPE_CHECKING:
    from epgraph.engine import Engine

MARK = 1e-3
"""Residual at which the time to equilibrium is taken."""

ITERATIONS = 60
"""Power iterations for the norm over all units."""


@dataclass(frozen=True)
class Survey:
    """Coupling, signal and time to equilibrium of a network on given inputs.

    Attributes
    ----------
    norm
        ‖W‖ over all units, W = ∂²Φ/∂s²: below 1 every synchronous sweep contracts, whichever units are active.
    largest, smallest
        Extreme eigenvalues of D^½ W D^½, D = diag σ′, over the active units where the network came to rest; colored
        sweeps settle there where the largest is below 1.
    signal
        How far a change of the input moves each state: the standard deviation over the inputs, root mean square over
        the units; of the input too.
    active
        Part of each state's units with a slope, strictly inside a box.
    residuals
        Median over the inputs of the relative change by each sweep, from zeros, in order.
    settling
        Sweeps until that is at most ``MARK``; None where they were not enough.
    diverged
        Names of states that diverged.
    """

    norm: float
    largest: float
    smallest: float
    signal: dict[str, float]
    active: dict[str, float]
    residuals: tuple[float, ...]
    settling: int | None
    diverged: tuple[str, ...] = ()

    @property
    def residual(self) -> float:
        """The residual after the last sweep."""
        return self.residuals[-1]


@torch.no_grad()
def survey(engine: Engine, x: Tensor, *, sweeps: int = 60, spectrum: int = 8) -> Survey:
    """Measure a network on inputs x, (batch, *input shape), of which there should be ten or more.

    Parameters
    ----------
    sweeps
        Sweeps from zeros.
    spectrum
        Examples that the eigenvalues are computed on: the largest and the smallest of all of them.
    """
    x = engine.executor.inputs.check_input(x)
    states: States = {}
    residuals: list[float] = []
    diverged: tuple[str, ...] = ()
    for _ in range(sweeps):
        relaxation = engine.relax(x, start=states, steps=1, tolerance=0.0)
        states, diverged = relaxation.states, relaxation.diverged
        residuals.append(float(relaxation.residuals.median()))
        if diverged:
            break
    few = {name: s[:spectrum] for name, s in states.items()}
    linear = Linearization(engine.executor, x[:spectrum], few, engine.snapshot())
    symmetric = engine.graph.untied is None
    largest, smallest = linear.spectrum() if symmetric and not diverged else (float("nan"),) * 2
    active = linear.parts((linear.slopes > 0).to(linear.slopes.dtype))
    return Survey(
        coupling_norm(linear),
        largest,
        smallest,
        {name: spread(s) for name, s in {engine.graph.input.name: x, **states}.items()},
        {name: float(active[name].mean()) for name in engine.graph.dynamic},
        tuple(residuals),
        next((sweep for sweep, residual in enumerate(residuals, 1) if residual <= MARK), None),
        diverged,
    )


def coupling_norm(linear: Linearization) -> float:
    """‖W‖ over all units by power iteration, the largest of the examples (they differ by max pooling alone)."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(linear.slopes.shape, generator=generator, dtype=torch.float64).to(linear.slopes)
    tiny = torch.finfo(v.dtype).tiny
    size = v.new_zeros(len(v))
    for _ in range(ITERATIONS):
        v = v / torch.linalg.vector_norm(v, dim=1, keepdim=True).clamp_min(tiny)
        v = linear.curvature(v)
        size = torch.linalg.vector_norm(v, dim=1)
    return float(size.max())


def spread(t: Tensor) -> float:
    """Standard deviation over the examples, (batch, *shape), root mean square over the units."""
    return float(t.double().var(0, unbiased=False).mean().sqrt())
