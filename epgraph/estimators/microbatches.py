"""Large batches in pieces: on a CPU memory then stays that of a piece, and so does what the caches must hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil, prod

import torch

from epgraph.estimators import Estimate
from epgraph.graph import NetworkGraph
from epgraph.linearization.linearize import Adjoint
from epgraph.runtime.relaxation import Relaxation, Status

VALUES = 2 * 2**20
"""Numbers of one phase that a piece should hold: states, and the largest map that an edge makes."""

ROWS = 16
"""Examples that a piece has at least: on maps of 8×8 they are the 64 tiles that minimal filtering takes at a time."""


def cut(graph: NetworkGraph, batch: int, device: torch.device) -> list[slice]:
    """Return the pieces of a batch, as even as can be; a GPU takes it whole."""
    if device.type != "cpu":
        return [slice(0, batch)]
    maps = (edge.macs // prod(edge.weight_shape[1:]) for edge in graph.edges.values() if edge.weight_shape)
    each = sum(state.units for state in graph.states.values()) + max(maps, default=0)
    count = ceil(batch / max(ROWS, VALUES // each))
    edges = [batch * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def join(estimates: Sequence[Estimate]) -> Estimate:
    """Put the estimates of the pieces together."""
    if len(estimates) == 1:
        return estimates[0]
    energies = [e.energies for e in estimates if e.energies is not None]
    return Estimate(
        torch.cat([e.losses for e in estimates]),
        torch.cat([e.output for e in estimates]),
        _joined([e.free for e in estimates]),
        tuple(_joined(parts) for parts in zip(*(e.nudged for e in estimates), strict=True)),
        torch.cat(energies) if energies else None,
        _solved([e.adjoint for e in estimates if e.adjoint is not None]),
    )


def _solved(parts: Sequence[Adjoint]) -> Adjoint | None:
    if not parts:
        return None
    return Adjoint(
        max(part.products for part in parts),
        torch.cat([part.residuals for part in parts]),
        torch.cat([part.indefinite for part in parts]),
    )


def _joined(parts: Sequence[Relaxation]) -> Relaxation:
    """Steps and status are those of the piece that took longest, or went wrong."""
    worst = max(parts, key=lambda part: _ORDER.index(part.status))
    states = {}
    for name in list(parts[0].states):
        # Taken out one by one: all states twice would be what the pieces are there to save.
        states[name] = torch.cat([part.states.pop(name) for part in parts])
    return replace(
        worst,
        states=states,
        steps=max(part.steps for part in parts),
        residuals=torch.cat([part.residuals for part in parts]),
        diverged=tuple(dict.fromkeys(name for part in parts for name in part.diverged)),
    )


_ORDER = (Status.CONVERGED, Status.FIXED_STEPS, Status.OUT_OF_STEPS, Status.DIVERGED)
