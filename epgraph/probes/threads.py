"""How many CPU threads a network is worth, by measurement."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from epgraph.engine import Engine
from epgraph.probes.measuring import ROUNDS, SWEEPS, run, timed, undisturbed

CLOSE = 1.05
"""Times that differ by less than this factor count as equal: then fewer threads are better."""

HOPELESS = 1.5
"""A number of threads this many times slower than the best one is not measured again."""


@dataclass(frozen=True)
class ThreadChoice:
    """The number of threads that was chosen, and why.

    Attributes
    ----------
    threads
        The number.
    seconds
        Time of a short piece of an iteration, by the number of threads; empty where there was nothing to choose.
    sentence
        The choice and its reason, in words.
    """

    threads: int
    seconds: Mapping[int, float]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return the choice and the times as plain values, ready for JSON."""
        times = {str(count): seconds for count, seconds in self.seconds.items()}
        return {"chosen": self.threads, "why": self.sentence, "seconds": times}


def choose_threads(seconds: Mapping[int, float]) -> ThreadChoice:
    """Choose the fewest threads that are within ``CLOSE`` of the fastest."""
    least = min(seconds.values())
    threads = min(count for count, time in seconds.items() if time <= CLOSE * least)
    if len(seconds) == 1:
        return ThreadChoice(threads, seconds, f"{_count(threads)}: there is one core")
    others = [f"{count}: {time / seconds[threads]:.2f}" for count, time in seconds.items() if count != threads]
    return ThreadChoice(threads, seconds, f"{_count(threads)}; times of others, relative to it: {', '.join(others)}")


def measure_threads(engine: Engine, x: Tensor, y: Tensor, cores: int | None = None) -> ThreadChoice:
    """Time a short piece of an iteration on 1, 2, 4, … threads in turn, and set the number that is chosen.

    On a device that is no CPU torch's own number stays.

    Parameters
    ----------
    x, y
        A batch as for ``Engine.backward``; its size is part of what is measured.
    cores
        Most threads; left out, the cores that this process may use.
    """
    if engine.device.type != "cpu":
        threads = torch.get_num_threads()
        return ThreadChoice(threads, {}, f"{_count(threads)}, as torch has it: the network runs on {engine.device}")
    counts = thread_counts(available_cores() if cores is None else cores)
    before = torch.get_num_threads()
    held = {name: value.clone() for name, value in engine.state_dict().items()}
    try:
        with undisturbed(engine.device):
            seconds = _measured(counts, lambda count: _piece(engine, x, y, count), lambda: run(engine, x, y, 1))
    finally:
        torch.set_num_threads(before)
        engine.zero_grad(set_to_none=True)
        engine.load_state_dict(held)  # some rules change weights within a batch
    chosen = choose_threads(seconds)
    torch.set_num_threads(chosen.threads)
    return chosen


def thread_counts(cores: int) -> list[int]:
    """Return 1, 2, 4, … below the number of cores, and that number."""
    counts = [1]
    while 2 * counts[-1] < cores:
        counts.append(2 * counts[-1])
    return counts if cores <= 1 else [*counts, cores]


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _measured(counts: list[int], piece: Callable[[int], float], start: Callable[[], None]) -> dict[int, float]:
    """Least time of each number of threads; those that are hopeless after a round are left out of the next."""
    if len(counts) == 1:
        return {counts[0]: 0.0}
    start()  # what happens once is not timed
    seconds: dict[int, float] = {}
    for _ in range(ROUNDS):
        for count in counts:
            seconds[count] = min(seconds.get(count, float("inf")), piece(count))
        least = min(seconds.values())
        counts = [count for count in counts if seconds[count] <= HOPELESS * least]
    return seconds


def _piece(engine: Engine, x: Tensor, y: Tensor, count: int) -> float:
    torch.set_num_threads(count)
    return timed(engine, x, y, SWEEPS)


def _count(threads: int) -> str:
    return f"{threads} thread{'s' * (threads != 1)}"
