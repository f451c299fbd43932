"""Choose by measurement: run every backend that can be used on a batch, and keep the fastest on record.

A precision is chosen as well, for the user to see; ``train --dtype auto`` measures it again on its own weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from epgraph.compiler import BACKENDS
from epgraph.compiler.record import add, read, record
from epgraph.engine import Engine
from epgraph.errors import EpgraphError
from epgraph.learning_rules import ESTIMATORS, Estimator
from epgraph.probes import NetworkProbe, PrecisionChoice, ThreadChoice, choose_precision
from epgraph.probes.measuring import timed
from epgraph.progress import Progress
from epgraph.runtime.phases import Nudge
from epgraph.runtime.relaxation import States
from epgraph.timings import Timing

SWEEPS = 4
"""Sweeps between two readings of the clock."""

ROUNDS = 3
"""Readings of which the smallest counts: what else the machine does only ever adds to a time."""

AGREE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}
"""Relative difference of the median example's states from the eager ones above which a backend is not trusted.

The median, because an arg-max at a near tie may fall either way, and one pixel then changes a whole example.
"""


@torch.no_grad()
def measure(
    engine: Engine, x: Tensor, y: Tensor, candidates: Sequence[str] | None = None, progress: bool = False
) -> list[Timing]:
    """Time backends on a batch, fastest first; the engine goes on with the backend that it had.

    Parameters
    ----------
    x, y
        A batch as for ``Engine.backward``; its size is part of what is measured.
    candidates
        Names of ``BACKENDS``; all where left out, ``inductor`` included, which may compile for minutes.
    progress
        Whether to show which one is measured.
    """
    before = engine.backend
    engine.backend = "eager"
    reference = engine.relax(x, steps=SWEEPS, tolerance=0).states
    timings = []
    names = list(BACKENDS) if candidates is None else candidates
    try:
        with Progress("measure", len(names), "backends", show=progress) as shown:
            for name in names:
                compiles = BACKENDS[name].compiled
                shown.begin(f"{name}, which compiles first" if compiles else name, slow=compiles)
                reason = BACKENDS[name].unusable(engine.plan, engine.device, engine.dtype)
                if reason:
                    timings.append(Timing(name, reason=reason))
                    continue
                engine.backend = name
                try:
                    timings.append(_time(engine, x, y, reference))
                except Exception as error:  # a compiler may be missing or fail in its own ways; eager never does
                    timings.append(Timing(name, reason=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"))
    finally:
        engine.backend = before
    return sorted(timings, key=lambda t: t.iteration)


def tune(
    engine: Engine, x: Tensor, y: Tensor, candidates: Sequence[str] | None = None, progress: bool = False
) -> tuple[list[Timing], Path | None]:
    """Measure, and put the timings on record for ``backend="auto"``; this engine uses the fastest.

    Where ``candidates`` are given, what is on record of the others at this batch size stays, and counts. A record of
    another batch size is then left as it is: part of a measurement cannot take its place.

    Returns
    -------
    timings
        Those measured and those that stay, fastest first.
    path
        The file of the record; None where one of another batch size was left as it is.

    Raises
    ------
    EpgraphError
        Where none of the candidates can be used, each with its reason; nothing is recorded then.
    OSError
        Where the record cannot be written; the engine uses the fastest all the same.
    """
    timings = measure(engine, x, y, candidates, progress)
    if timings[0].reason:
        reasons = "; ".join(f"{timing.backend}: {timing.reason}" for timing in timings)
        raise EpgraphError(f"no backend that was asked for can be used: {reasons}", "measure 'eager', which always can")
    where = engine.plan, engine.device, engine.dtype
    before = read(*where) if candidates is not None else None
    if before is not None and before.batch == len(x):
        measured = {timing.backend for timing in timings}
        timings += [timing for timing in before.timings if timing.backend not in measured]
        timings.sort(key=lambda t: t.iteration)
    engine.backend = timings[0].backend
    if before is not None and before.batch != len(x):
        return timings, None
    date = datetime.now(UTC).isoformat(timespec="seconds")
    about = {"batch": len(x), "date": date, "timings": [timing.to_dict() for timing in timings]}
    return timings, record(*where, timings[0].backend, about)


@dataclass(frozen=True)
class TuneResult:
    """What ``ep.tune`` returns.

    Attributes
    ----------
    engine
        The network, which uses the fastest backend.
    batch
        Examples in a batch.
    timings
        Those measured and those that stay on record, fastest first; seconds.
    record
        File of the record; None where one of another batch size was left as it is.
    examples
        What was measured on, in words.
    precision
        The precision that ``train --dtype auto`` would take with these weights and examples; None where none was
        measured.
    threads
        What ``threads="auto"`` measured; None where it was not asked for.
    """

    engine: Engine
    batch: int
    timings: tuple[Timing, ...]
    record: Path | None
    examples: str = ""
    precision: PrecisionChoice | None = None
    threads: ThreadChoice | None = None

    @property
    def backend(self) -> str:
        """The fastest backend."""
        return self.timings[0].backend

    def to_dict(self) -> dict[str, Any]:
        """Return backend, batch, record, timings and choices as plain values, ready for JSON."""
        return {
            "batch": self.batch,
            "backend": self.backend,
            "record": None if self.record is None else str(self.record),
            "timings": [timing.to_dict() for timing in self.timings],
            "examples": self.examples,
            "precision": None if self.precision is None else self.precision.to_dict(),
            "threads": None if self.threads is None else self.threads.to_dict(),
        }

    def lines(self) -> list[str]:
        """Return a table of the timings, the choices, and what follows from the timings."""
        chosen = [] if self.threads is None else [f"threads: {self.threads.sentence}"]
        if self.precision is not None:
            chosen.append(f"precision, on {self.examples}: {self.precision.sentence}")
        return [*self._table(), *([""] if chosen else []), *chosen, "", *self._follows()]

    def _table(self) -> list[str]:
        dtype, graph = str(self.engine.dtype).removeprefix("torch."), self.engine.graph
        heads = ["iteration", "forward pass" if graph.one_way else "free sweep", "nudged pair", "per batch", "to start"]
        rows = [[t.iteration, t.sweep, t.pair_sweep, t.once, t.first] for t in self.timings]
        if graph.by_backprop:  # which has no other parts
            heads, rows = [*heads[:2], heads[-1]], [[*row[:2], row[-1]] for row in rows]
        lines = [
            f"batch {self.batch}, {dtype} on {self.engine.device}; an iteration {self._iteration()}; seconds",
            "",
            f"{'backend':<15}" + "".join(f"{head:>13}" for head in heads),
        ]
        for t, figures in zip(self.timings, rows, strict=True):
            lines.append(f"{t.backend:<15}" + (t.reason or "".join(f"{seconds:>13.4f}" for seconds in figures)))
        return lines

    def _iteration(self) -> str:
        """Say what an iteration is."""
        architecture = self.engine.architecture
        dynamics, name = architecture.dynamics, architecture.learning.estimator
        if _as_a_whole(ESTIMATORS[name]):
            return f"is a gradient by {name}"
        free = "one forward pass" if self.engine.graph.energy.feedforward else f"{dynamics.free_steps} free"
        sweeps = "error sweeps" if dynamics.chosen_solver.errors else "nudged sweeps"
        return f"has {free} and {dynamics.nudged_steps} {sweeps}"

    def _follows(self) -> list[str]:
        if self.record is None:
            return ["the record holds another batch size and stays: leave --backend out to measure all for this one"]
        lines = [f"{self.backend} is on record: {self.record}"]
        sooner = break_even(self.timings)
        if sooner is not None:
            other, batches = sooner
            lines.append(
                f"it takes {self.timings[0].first:.1f} s to start, and {other.backend} {other.first:.1f} s: below "
                f"{batches:,.0f} batches {other.backend} takes less, and is what 'auto' takes for a training that short"
            )
        return lines


NOISE = "noise, which says little about the accuracy on data"
"""What is said of examples that are drawn at random."""


def tune_on(
    engine: Engine,
    x: Tensor,
    y: Tensor,
    candidates: Sequence[str] | None = None,
    *,
    examples: str = NOISE,
    threads: ThreadChoice | None = None,
    progress: bool = False,
) -> TuneResult:
    """Tune on a batch, and choose a precision with the engine's weights; both are put on record.

    Parameters
    ----------
    candidates
        As for ``tune``.
    examples
        What the batch is, in words.
    threads
        What was measured of the number of threads, for the result.
    progress
        As for ``measure``.

    Raises
    ------
    EpgraphError
        As ``tune``; and where the record cannot be written.
    """
    try:
        timings, path = tune(engine, x, y, candidates, progress)
        precision = choose_precision(NetworkProbe(engine, x, y, backend="auto"))
        if path is not None:
            add(path, {"precision": {**precision.to_dict(), "examples": examples}})
    except OSError as error:
        raise EpgraphError(
            f"the choice cannot be recorded: {error}", "set XDG_CACHE_HOME to a folder that can be written"
        ) from None
    return TuneResult(engine, len(x), tuple(timings), path, examples, precision, threads)


def break_even(timings: Sequence[Timing]) -> tuple[Timing, float] | None:
    """Return what is faster than the first of these for a while, because it starts sooner, and for how many batches.

    None where nothing is. ``timings`` are the fastest first.
    """
    best, *others = (timing for timing in timings if not timing.reason)
    sooner = [t for t in others if t.first < best.first and t.iteration > best.iteration]
    spans = [((best.first - t.first) / (t.iteration - best.iteration), t) for t in sooner]
    if not spans:
        return None
    batches, other = max(spans, key=lambda span: span[0])
    return other, batches


def _time(engine: Engine, x: Tensor, y: Tensor, reference: States) -> Timing:
    x = engine.executor.inputs.check_input(x)
    nudge = Nudge(engine.cost, engine.executor.inputs.targets(y, len(x)), engine.architecture.learning.beta)
    zeros = engine.executor.inputs.start(x, None)
    started = time.perf_counter()
    free = engine.executor.run(engine.executor.clamp(x, engine.snapshot()), zeros, SWEEPS, 0.0)
    states, carried = free.states, free.carried
    engine.executor.run(engine.executor.clamp(x, engine.snapshot()), states, 1, 0.0, nudge, pair=True, carried=carried)
    _wait(engine)
    first = time.perf_counter() - started
    worst = max(float(_apart(states[name], s).median()) for name, s in reference.items())
    if not worst <= AGREE[engine.dtype]:
        reason = f"its states differ from the eager ones by {worst:.0e} after {SWEEPS} sweeps"
        return Timing(engine.backend, first=first, reason=reason)
    rule = ESTIMATORS[engine.architecture.learning.estimator]
    if rule.feedforward:
        seconds = _least(engine, partial(engine.predict, x))
        return Timing(engine.backend, _gradient(engine, x, y), sweep=seconds, first=first)
    clamped = engine.executor.clamp(x, engine.snapshot())

    def least(steps: int, *, paired: bool = False, fresh: bool = False) -> float:
        def phase() -> None:
            where = engine.executor.clamp(x, engine.snapshot()) if fresh else clamped
            if paired:
                engine.executor.run(where, states, steps, 0.0, nudge, pair=True, carried=carried)
            else:
                engine.executor.run(where, zeros, steps, 0.0)

        return _least(engine, phase)

    # A difference of two runs leaves out what a phase does once; one forward pass has no other sweep to differ from.
    one_pass = engine.graph.energy.feedforward
    sweep = least(1) if one_pass else max(0.0, least(1 + SWEEPS) - least(1)) / SWEEPS
    pair_sweep = max(0.0, least(1 + SWEEPS, paired=True) - least(1, paired=True)) / SWEEPS
    once = max(0.0, least(1, fresh=True) - sweep)
    dynamics = engine.architecture.dynamics
    if _as_a_whole(rule):
        iteration = _gradient(engine, x, y)
    else:
        iteration = once + (1 if one_pass else dynamics.free_steps) * sweep + dynamics.nudged_steps * pair_sweep
    return Timing(engine.backend, iteration, once, sweep, pair_sweep, first)


def _as_a_whole(rule: Estimator) -> bool:
    """Whether the sweeps of real nudged phases say nothing of the time of a rule: its gradient is timed as a whole."""
    return not rule.nudges or rule.complex_states


def _gradient(engine: Engine, x: Tensor, y: Tensor) -> float:
    """Seconds of a gradient as a training computes it; the smaller of two, because the first one may compile."""
    with torch.enable_grad(), engine.aside():
        return min(timed(engine, x, y, None) for _ in range(2))


def _least(engine: Engine, work: Callable[[], object]) -> float:
    """Seconds that some work takes, the smallest of ``ROUNDS``."""
    seconds = []
    for _ in range(ROUNDS):
        _wait(engine)
        started = time.perf_counter()
        work()
        _wait(engine)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _apart(states: Tensor, reference: Tensor) -> Tensor:
    """Relative difference of every example, (batch,)."""
    size = reference.flatten(1).double().norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    apart: Tensor = (states.double() - reference.double()).flatten(1).norm(dim=1) / size
    return apart


def _wait(engine: Engine) -> None:
    if engine.device.type == "cuda":
        torch.cuda.synchronize(engine.device)
