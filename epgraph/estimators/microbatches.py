"""Large batches in pieces: on a CPU memory then stays that of a piece, and so does what the caches must hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor

from epgraph.arguments import shown
from epgraph.errors import EpgraphError
from epgraph.estimators.task import Estimate, GradientTask
from epgraph.graph import NetworkGraph
from epgraph.learning_rules import ESTIMATORS
from epgraph.linearization.linearize import Adjoint
from epgraph.runtime.arguments import PhaseSteps
from epgraph.runtime.executor import Executor
from epgraph.runtime.gradients import Gradients
from epgraph.runtime.parameters import Parameters
from epgraph.runtime.phases import Nudge
from epgraph.runtime.relaxation import Clamped, Relaxation, States, Status

VALUES = 2 * 2**20
"""Numbers of one phase that a piece should hold: states, and the largest map that an edge makes."""

ROWS = 16
"""Examples that a piece has at least: on maps of 8×8 they are the 64 tiles that minimal filtering takes at a time."""


@dataclass
class Batch:
    """A whole batch whose gradient is wanted; what is not said here is as in ``GradientTask``.

    Attributes
    ----------
    parameters
        Values that all phases of the gradient use.
    x, target
        Input and targets, (batch, *input shape) and (batch, *output shape).
    start
        States to start from, by name, (batch, *shape); zeros where left out.
    gradients
        What has been found of the gradient of the batch's mean loss.
    """

    executor: Executor
    parameters: Parameters
    x: Tensor
    target: Tensor
    start: States
    beta: float
    steps: PhaseSteps
    retain_states: bool
    energy: bool
    options: Mapping[str, Any]
    gradients: Gradients = field(default_factory=dict)
    drawn: dict[str, float] = field(default_factory=dict)

    def estimate(self, name: str) -> Estimate:
        """Add what an estimator finds to ``gradients``, piece by piece.

        Raises
        ------
        EpgraphError
            Where a registered estimator returns something else than an ``Estimate``.
        """
        executor, batch, estimator = self.executor, len(self.x), ESTIMATORS[name]

        def run(task: GradientTask) -> Estimate:
            estimate = estimator(task)
            if not isinstance(estimate, Estimate):
                message = f"estimator '{name}' returns {shown(estimate)}: expected an Estimate"
                raise EpgraphError(message, "end with: return task.estimate(free, …)", "plugin")
            return estimate

        prepared: dict[str, Any] = {}
        pieces = [slice(batch)] if estimator.whole_batch else cut(executor.graph, batch, executor.device)
        relaxes = not estimator.feedforward
        return join([run(self.piece(rows, prepared, last=rows is pieces[-1], relaxes=relaxes)) for rows in pieces])

    def piece(self, rows: slice, prepared: dict[str, Any], *, last: bool, relaxes: bool = True) -> GradientTask:
        """Return some examples of the batch as a task; ``prepared`` is shared by those of all pieces.

        Without ``relaxes`` no sweep follows: neither what it needs is computed, nor states to start from.
        """
        x = self.x[rows]
        if relaxes:
            clamped = self.executor.clamp(x, self.parameters, prepared)
            start = self.executor.inputs.start(x, {name: s[rows] for name, s in self.start.items()})
        else:
            clamped, start = Clamped(x, self.parameters, {}, prepared, self.executor.machine), {}
        return GradientTask(
            self.executor,
            clamped,
            Nudge(self.executor.cost, self.target[rows], self.beta, len(self.x)),
            start,
            self.steps.free,
            self.steps.nudged,
            self.steps.tolerance,
            self.gradients,
            retain_states=self.retain_states,
            energy=self.energy,
            options=self.options,
            drawn=self.drawn,
            last=last,
        )


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
