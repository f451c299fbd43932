"""What training a network takes, told without running it: memory, multiply-accumulates, and known times."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from epgraph.graph import NetworkGraph
from epgraph.learning_rules import ESTIMATORS
from epgraph.lowering import Plan
from epgraph.timings import Measured

TRAINED = 3
"""Numbers that training keeps for each parameter: itself, its gradient, its momentum."""

FLOAT32 = 4
"""Bytes of a number in the usual precision."""


def parameter_bytes(graph: NetworkGraph, itemsize: int, copies: int) -> int:
    """Return the bytes of ``copies`` numbers for each parameter, frozen ones included."""
    return itemsize * copies * (graph.parameters() + graph.frozen())


def state_bytes(graph: NetworkGraph, itemsize: int, batch: int, copies: int = 2) -> int:
    """Return the bytes of the states of a batch, each held ``copies`` times: twice for the two nudged phases."""
    return itemsize * copies * batch * sum(state.units for state in graph.states.values())


@dataclass(frozen=True)
class Resources:
    """What a training batch takes.

    Attributes
    ----------
    batch
        Examples in it.
    parameter_bytes, state_bytes
        Memory of parameters with gradients and momentum, and of the states, in float32: those of both nudged phases, or
        those of the forward pass of ``backprop``. Work space comes on top.
    macs
        Multiply-accumulates of one free sweep over the batch, or of one forward pass where ``one_pass``.
    measured
        What ``epgraph tune`` has on record; None without a record.
    """

    batch: int
    parameter_bytes: int
    state_bytes: int
    macs: int
    measured: Measured | None
    one_pass: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def resources(plan: Plan, batch: int | None, measured: Measured | None) -> Resources:
    """Estimate what a training batch takes; ``batch`` None is ``training.batch_size``.

    ``plan`` is the one that is shown (``epgraph.lowering.depicted``), and ``measured`` what is on record.
    """
    graph = plan.graph
    size = graph.architecture.training.batch_size if batch is None else batch
    rule = ESTIMATORS[graph.architecture.learning.estimator]
    return Resources(
        size,
        parameter_bytes(graph, FLOAT32, TRAINED),
        state_bytes(graph, FLOAT32, size, 1 if rule.feedforward else 2),
        size * plan.macs_per_sweep(),
        measured,
        graph.by_backprop,
    )


def sentences(found: dict[str, Any]) -> tuple[str, str]:
    """Say memory and time in words, from the values of ``Resources.to_dict``."""
    parameters, states, batch = found["parameter_bytes"], found["state_bytes"], found["batch"]
    memory = (
        f"{_size(parameters + states)} and work space for a batch of {batch} in float32: {_size(parameters)} for "
        f"parameters, gradients and momentum, {_size(states)} for states"
    )
    unit = "pass" if found["one_pass"] else "sweep"
    work = f"{_count(found['macs'])} MACs a {unit} of a batch of {batch}"
    measured = found["measured"]
    if measured is None:
        return memory, f"{work}; no time is known: 'epgraph tune' measures one"
    times = batch / measured["batch"]
    basis = f"as 'epgraph tune' measured on {measured['date'][:10]}"
    if measured["batch"] != batch:
        basis = f"estimated in proportion to a batch of {measured['batch']}, {basis}"
    how = f"backend {measured['backend']}, {measured['dtype']}, {measured['device']}"
    seconds = f"about {_seconds(times * measured['sweep'])} a {unit}, {_seconds(times * measured['iteration'])} a batch"
    return memory, f"{seconds}, {basis} ({how}); {work}"


def _size(count: float) -> str:
    """Write bytes in the largest unit in which they are 1 or more."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.3g} GiB" if count < 1000 else f"{count:,.0f} GiB"


def _count(number: float) -> str:
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:,.3g} {unit}" if number < 1000 * factor else f"{number / factor:,.0f} {unit}"
    return f"{number:g}"


def _seconds(seconds: float) -> str:
    # Two digits, and no exponent.
    digits = max(0, 1 - math.floor(math.log10(seconds * 1e3))) if seconds > 0 else 0
    return f"{seconds:,.1f} s" if seconds >= 1 else f"{1e3 * seconds:.{digits}f} ms"
