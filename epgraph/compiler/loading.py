"""What the sweeps of a phase take. Needs torch and ``sweep`` alone: emitted modules carry a copy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from epgraph.compiler.sweep import Step, Sweeps


class Phase(NamedTuple):
    """The functions of one phase, and the memory that they need.

    Attributes
    ----------
    prepare
        What is computed once per batch.
    warm
        What the first sweep needs.
    opening
        In place of as many of the first steps of ``sweep``, in the first sweep of a pair from plain states.
    sweep
        The color classes of a sweep.
    scratch
        Working memory: name → name of the state whose shape it has.
    channels_last
        Whether images have this memory layout.
    """

    prepare: tuple[Step, ...]
    warm: tuple[Step, ...]
    opening: tuple[Step, ...]
    sweep: tuple[Step, ...]
    scratch: Mapping[str, str]
    channels_last: bool

    def sweeps(
        self, carried: Mapping[str, Tensor], rows: int, steps: int, states: Collection[str], returned: Collection[str]
    ) -> Sweeps:
        """What ``steps`` sweeps consist of.

        Of a pair that starts from plain states and their sums, no odd part is different from zero: ``carried`` then has
        one row for each of the examples, of which there are ``rows``. ``returned`` has the names of the errors that a
        gradient needs, if it does: then the way back, which moves none of the ``states``, closes the relaxation.
        """
        plain = bool(carried) and all(len(value) == rows for value in carried.values())
        first = (*self.opening, *self.sweep[len(self.opening) :]) if self.opening and plain else ()
        last = first if first and steps == 1 else self.sweep
        closing = tuple(step for step in last if returned and not any(name in states for name in step[2]))
        errors = tuple(name for _, _, results in closing for name in results if name in returned)
        return Sweeps(self.sweep, self.warm, first, closing, errors)


class Memory:
    """Buffers of one relaxation, allocated anew each time."""

    def empty(self, name: str, shape: Sequence[int], like: Tensor, layout: torch.memory_format) -> Tensor:
        """Buffer for the value ``name``, with the dtype and the device of ``like``."""
        return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=layout)

    def hold(self, name: str, value: Tensor) -> Tensor:
        """Keep a value that sweeps only read."""
        return value


def load(
    memory: Memory,
    phase: Phase,
    known: Mapping[str, Any],
    states: dict[str, Tensor],
    keys: Mapping[str, str],
    carried: Mapping[str, Tensor],
    *,
    source: str,
    pair: bool,
    donate: bool = False,
) -> dict[str, Any]:
    """All that a phase's sweeps take, by the names of emitted code, with states that they may write into.

    Parameters
    ----------
    known
        Values that no sweep changes; ``source`` is the name of the clamped input among them.
    states
        States to start from, by their own names; ``keys`` has the names of emitted code.
    carried
        Values that the phase need not compute.
    pair
        Whether states become pairs; those of one row an example are the common part.
    donate
        ``states`` is emptied, one state after the other, to save memory.
    """
    layout = torch.channels_last if phase.channels_last else torch.contiguous_format
    steps = (*phase.warm, *phase.opening, *phase.sweep)
    read = {name for _, arguments, _ in steps for name in arguments}
    rows = (2 if pair else 1) * len(known[source])
    values: dict[str, Any] = {}

    def buffer(name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        return memory.empty(name, shape, like, layout if len(shape) == 4 else torch.contiguous_format)

    def start(name: str, value: Tensor) -> None:
        values[name] = moving = buffer(name, (rows, *value.shape[1:]), value)
        # Of a pair, the common part alone.
        moving[: len(value)].copy_(value)
        moving[len(value) :].zero_()

    for name, value in known.items():
        if name == source and pair and name in read:
            start(name, value)
        elif name in read:
            values[name] = memory.hold(name, value) if isinstance(value, Tensor) else value
    for state, key in keys.items():
        # Given away one by one: all states twice would be too much.
        start(key, states.pop(state) if donate else states[state])
    read |= {name for _, _, results in phase.warm for name in results}
    for name, value in carried.items():
        if name in read:
            start(name, value)
    for name, state in phase.scratch.items():
        values[name] = buffer(name, values[keys[state]].shape, values[keys[state]])
    return values
