"""How many CPU threads a network is worth."""

from __future__ import annotations

import torch

from epgraph.arguments import whole_number
from epgraph.engine import Engine

SMALL = 200_000_000
"""Multiply-accumulates of one sweep over a batch below which one thread is the fastest."""


def set_threads(engine: Engine, threads: int | None = None) -> int:
    """Set and return the number of CPU threads: the one given, else one for a small network, else torch's own.

    A small network's operations take microseconds. Handing them to a second thread costs more than it gains,
    and where the cores are shared, waiting for that thread was seen to make training fifty times slower.
    """
    work = engine.plan.macs_per_sweep() * engine.architecture.training.batch_size
    if threads is None and engine.device.type == "cpu" and work < SMALL:
        threads = 1
    if threads is not None:
        torch.set_num_threads(whole_number("threads", threads, 1))
    return torch.get_num_threads()
