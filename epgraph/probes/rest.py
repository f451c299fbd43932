"""How near the gradient that a training uses is to that of the network at rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from epgraph.probes.measuring import NetworkProbe, lowest
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


def compare_at_rest(
    probe: NetworkProbe,
    start: Mapping[str, Tensor] | None = None,
    *,
    beta: float | None = None,
    free_steps: int | None = None,
    nudged_steps: int | None = None,
    tolerance: float | None = None,
) -> RestComparison | None:
    """Compare the gradient of a batch with that of phases that come to rest; None where they do not.

    The reference has the same rule and the same β. It starts from where the free phase ends, because a network may have
    several equilibria, and it is in float32 (float64 where the network is). Where the free phase is one forward pass,
    the reference is backpropagation, which the gradient at rest differs from by the error of β alone.

    Parameters
    ----------
    start
        States that the free phase starts from, as in ``Engine.backward``.
    beta, free_steps, nudged_steps, tolerance
        With which the gradient is trained, as in ``Engine.backward``; β is that of the reference too.
    """
    engine = probe.engine
    own = str(engine.dtype).removeprefix("torch.")
    wide = EXACT if own == EXACT else USUAL
    given = {"beta": beta, "free_steps": free_steps, "nudged_steps": nudged_steps, "tolerance": tolerance}
    same, there = probe.estimate(wide, start=start, **given)
    trained = same if own == wide else probe.estimate(own, start=start, **given)[0]
    if engine.graph.energy.feedforward:
        reference, _ = probe.estimate(wide, estimator="backprop")
    else:
        steps = engine.architecture.dynamics
        reference, settled = probe.estimate(
            wide,
            start=there.free.states,
            beta=beta,
            free_steps=max(LONGER * (free_steps or steps.free_steps), FEWEST),
            nudged_steps=max(LONGER * (nudged_steps or steps.nudged_steps), FEWEST),
            tolerance=TOLERANCE,
        )
        if not all(float(phase.residuals.max()) <= AT_REST for phase in (settled.free, *settled.nudged)):
            return None
    cosine = whole_cosine(trained, reference)
    return None if math.isnan(cosine) else RestComparison(cosine, whole_cosine(same, reference))


def whole_cosine(gradient: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> float:
    """Return the cosine of two gradients as vectors of all parameters; 0 where the first is zero, NaN the second."""
    there = [gradient.get(name, torch.zeros_like(g)).flatten() for name, g in reference.items()]
    found = lowest({"all": torch.cat(there)}, {"all": torch.cat([g.flatten() for g in reference.values()])})
    return math.nan if found is None else found.cosine
