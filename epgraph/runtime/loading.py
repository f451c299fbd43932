"""A phase of a batch: what its sweeps take, by the names of emitted code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epgraph.compiler import CompiledProgram, loading
from epgraph.compiler.loading import Memory
from epgraph.runtime.phases import Nudge, Pull
from epgraph.runtime.relaxation import Clamped, States


@dataclass(frozen=True)
class BatchPhase:
    """One phase of a batch.

    Attributes
    ----------
    keys
        Names of emitted code for the states, by the name of the state; ``moving`` leaves out an output that is clamped.
    pair
        Whether states are pairs.
    """

    clamped: Clamped
    program: CompiledProgram
    nudge: Nudge | Pull | None
    keys: dict[str, str]
    moving: dict[str, str]
    pair: bool


def load(
    memory: Memory, at: BatchPhase, states: States, carried: Mapping[str, Tensor], omega: float, *, donate: bool
) -> dict[str, Any]:
    """All that the sweeps take; see ``compiler.loading``. ``omega`` is the length of an update."""
    clamped, tracer = at.clamped, at.clamped.machine.tracer
    source = tracer.names("state", tracer.graph.input.name)
    known = {**clamped.values, **clamped.prepared, "omega": omega, source: clamped.x, **_nudged(at)}
    phase = at.program.phase
    return loading.load(memory, phase, known, states, at.keys, carried, source=source, pair=at.pair, donate=donate)


def _nudged(at: BatchPhase) -> dict[str, Any]:
    """What nudges a phase, by the names of emitted code."""
    nudge, names = at.nudge, at.clamped.machine.tracer.names
    if isinstance(nudge, Nudge):
        return {"beta": nudge.beta if nudge.turns is None else nudge.beta * nudge.turns, "y": nudge.target}
    if nudge is None:
        return {}
    # The common part of a pair feels nothing.
    forces = {n: torch.cat((torch.zeros_like(f), f)) if at.pair else f for n, f in nudge.forces.items()}
    return {"beta": nudge.beta, **{names("force", name): force for name, force in forces.items()}}
