"""What the sweeps of a phase take: values by the names of emitted code, in memory that sweeps may write into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epgraph.compiler import CompiledProgram
from epgraph.compiler.cuda_graphs import Memory
from epgraph.runtime.phases import Nudge, Pull
from epgraph.runtime.relaxation import Clamped, States


@dataclass(frozen=True)
class Phase:
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
    memory: Memory, phase: Phase, states: States, carried: Mapping[str, Tensor], omega: float, *, donate: bool
) -> dict[str, Any]:
    """All that a phase's sweeps take, by the names of emitted code, with states that they may write into.

    ``carried`` has the values that the phase need not compute; ``omega`` is the length of an update.
    """
    clamped, program = phase.clamped, phase.program
    last = torch.channels_last if program.program.channels_last else torch.contiguous_format
    steps = (*program.warm, *program.opening, *program.sweep)
    read = {name for _, arguments, _ in steps for name in arguments}
    values: dict[str, Any] = {"omega": omega} if "omega" in read else {}
    for name, value in {**clamped.values, **clamped.prepared}.items():
        if name in read:
            values[name] = memory.hold(name, value)
    values |= _nudged(memory, phase)

    def start(key: str, state: Tensor) -> Tensor:
        rows = (2 if phase.pair else 1) * len(clamped.x)
        layout = last if state.ndim == 4 else torch.contiguous_format
        moving = memory.empty(key, (rows, *state.shape[1:]), state, layout)
        # Of a pair, the common part alone.
        moving[: len(state)].copy_(state)
        moving[len(state) :].zero_()
        return moving

    for name, key in phase.keys.items():
        # Given away one by one: all states twice would be too much.
        values[key] = start(key, states.pop(name) if donate else states[name])
    read |= {name for _, _, results in program.warm for name in results}
    for name, value in carried.items():
        if name in read:
            values[name] = start(name, value)
    for key, name in program.program.scratch.items():
        like = values[phase.keys[name]]
        values[key] = memory.empty(key, like.shape, like, last if like.ndim == 4 else torch.contiguous_format)
    clamped_input = clamped.machine.tracer.names("state", clamped.machine.tracer.graph.input.name)
    if phase.pair and clamped_input in read:
        values[clamped_input] = start(clamped_input, clamped.x)
    return values


def _nudged(memory: Memory, phase: Phase) -> dict[str, Any]:
    """What nudges a phase, by the names of emitted code."""
    nudge, names = phase.nudge, phase.clamped.machine.tracer.names
    if isinstance(nudge, Nudge):
        beta = nudge.beta if nudge.turns is None else nudge.beta * nudge.turns
        return {"beta": beta, "y": memory.hold("y", nudge.target)}
    if nudge is None:
        return {}
    forces: dict[str, Any] = {"beta": nudge.beta}
    for name, force in nudge.forces.items():
        key = names("force", name)
        # The common part of a pair feels nothing.
        forces[key] = memory.hold(key, torch.cat((torch.zeros_like(force), force)) if phase.pair else force)
    return forces
