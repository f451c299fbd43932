"""How near the gradient that a training uses is to that of the network at rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from epgraph.probes.measuring import NetworkProbe
from epgraph.probes.precision import EXACT, USUAL

LONGER, FEWEST = 4, 300
"""To come to rest the network may take so many times the sweeps of a phase, and always so many."""

TOLERANCE = 1e-5
"""Residual at which the sweeps of the reference end."""

AT_REST = 1e-3
"""Largest residual of a reference. A cosine to a gradient that is not at rest itself would say nothing."""


@dataclass(frozen=True)
class RestComparison:
    """Cosines of gradients to the one at rest, each taken as one vector of all parameters.

    Attributes
    ----------
    cosine
        Of the gradient as it is trained with: its sweeps, its precision.
    sweeps
        Of that with the same sweeps in the precision of the reference. Where it is as low, sweeps are missing.
    """

    cosine: float
    sweeps: float


def compare_at_rest(probe: NetworkProbe, start: Mapping[str, Tensor] | None = None) -> RestComparison | None:
    """Compare the gradient of a batch with that of phases that come to rest; None where they do not.

    The reference has the same rule and the same β. It starts from where the free phase ends, because a network may have
    several equilibria, and it is in float32 (float64 where the network is). Where the free phase is one forward pass,
    the reference is backpropagation, which the gradient at rest differs from by the error of β alone.

    Parameters
    ----------
    start
        States that the free phase starts from, as in ``Engine.backward``.
    """
    engine = probe.engine
    own = str(engine.dtype).removeprefix("torch.")
    wide = EXACT if own == EXACT else USUAL
    same, there = probe.estimate(wide, start=start)
    trained = same if own == wide else probe.estimate(own, start=start)[0]
    if engine.graph.energy.feedforward:
        reference, _ = probe.estimate(wide, estimator="backprop")
    else:
        steps = engine.architecture.dynamics
        reference, settled = probe.estimate(
            wide,
            start=there.free.states,
            free_steps=max(LONGER * steps.free_steps, FEWEST),
            nudged_steps=max(LONGER * steps.nudged_steps, FEWEST),
            tolerance=TOLERANCE,
        )
        if not all(float(phase.residuals.max()) <= AT_REST for phase in (settled.free, *settled.nudged)):
            return None
    cosine = whole_cosine(trained, reference)
    return None if math.isnan(cosine) else RestComparison(cosine, whole_cosine(same, reference))


def whole_cosine(gradient: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> float:
    """Return the cosine of two gradients as vectors of all parameters; 0 where the first is zero, NaN the second."""
    product = sum(float((g * reference[name]).sum()) for name, g in gradient.items() if name in reference)
    sizes = [math.sqrt(sum(float(g.square().sum()) for g in one.values())) for one in (gradient, reference)]
    if not sizes[1]:
        return math.nan
    return product / (sizes[0] * sizes[1]) if sizes[0] else 0.0
