"""Times and gradients of a network in several precisions, on one batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from epgraph.compiling import compile
from epgraph.engine import Engine
from epgraph.errors import EpgraphError
from epgraph.estimators import Estimate
from epgraph.probes.precision import EXACT, NEGLIGIBLE, USUAL, Agreement
from epgraph.runtime.gradients import cosine

SWEEPS = 2
"""Sweeps of each phase in a short piece."""

ROUNDS = 3
"""Readings of the clock, of which the smallest counts: what else the machine does only ever adds to a time."""

HOPELESS = 1.5
"""How many times slower a precision must be for one reading to be enough."""

EXAMPLES = 32
"""Most examples on which gradients are compared."""


class NetworkProbe:
    """Measures a network on a batch, with the weights that it has now; the engine is left as it is.

    Parameters
    ----------
    engine
        The network.
    x, y
        A batch as for ``Engine.backward``. All of it is timed, and gradients are those of its first ``EXAMPLES``.
    backend
        Backend in every precision but float64; left out, that of the engine.
    """

    def __init__(self, engine: Engine, x: Tensor, y: Tensor, *, backend: str | None = None) -> None:
        self.engine, self.x, self.y = engine, x, y
        self.backend = engine.backend if backend is None else backend
        self._twins: dict[str, Engine] = {}
        self._exact: dict[str, Tensor] | None = None

    def unusable(self, dtype: str) -> str:
        """Return why the network cannot run in a precision; empty if it can."""
        try:
            with undisturbed(self.engine.device):
                run(self._twin(dtype), self.x[:1], self.y[:1], SWEEPS)
        except EpgraphError as error:
            return error.diagnostics[0].message
        return ""

    def seconds(self, dtype: str, *, whole: bool) -> tuple[float, float]:
        """Time of a short piece, or of a whole iteration, in a precision and in the usual one, in turn."""
        sweeps = None if whole else SWEEPS
        least = [math.inf, math.inf]
        with undisturbed(self.engine.device):
            twins = self._twin(dtype), self._twin(USUAL)
            if not whole:  # what happens once is not timed
                for twin in twins:
                    run(twin, self.x, self.y, 1)
            for _ in range(2 if whole else ROUNDS):
                for i, twin in enumerate(twins):
                    least[i] = min(least[i], timed(twin, self.x, self.y, sweeps))
                if least[0] > HOPELESS * least[1]:
                    break
        return least[0], least[1]

    def agreement(self, dtype: str) -> Agreement | None:
        """Compare the gradient of every parameter with that in float64; None where none counts."""
        if self._exact is None:
            self._exact, _ = self.estimate(EXACT, keep=False)
            del self._twins[EXACT]
        return lowest(self.estimate(dtype, keep=False)[0], self._exact)

    def estimate(self, dtype: str, **options: Any) -> tuple[dict[str, Tensor], Estimate]:
        """Return the gradient of the first ``EXAMPLES`` in a precision, in float64 on the CPU, and how it was found.

        ``options`` are those of ``Engine.backward``.
        """
        twin = self._twin(dtype)
        _fill(twin, self.engine)  # some rules change weights within a batch
        with undisturbed(self.engine.device):
            found = twin.backward(self.x[:EXAMPLES], self.y[:EXAMPLES], **options)
        gradient = {n: p.grad.detach().cpu().double() for n, p in twin.named_parameters() if p.grad is not None}
        twin.zero_grad(set_to_none=True)
        return gradient, found

    def _twin(self, dtype: str) -> Engine:
        """Return the same network in a precision, made when it is first asked for."""
        if dtype not in self._twins:
            engine = self.engine
            twin = compile(
                engine.architecture,
                device=engine.device,
                dtype=dtype,
                schedule=engine.plan.schedule.name,
                backend="auto" if dtype == EXACT else self.backend,  # the reference runs as it can
                without=engine.without,
                doubled=engine.doubled,
                cuda_graphs=engine.cuda_graphs,
                initialised=False,
                share_above=engine.share_above,
                batches=engine.batches,
            )
            _fill(twin, engine)
            self._twins[dtype] = twin
        return self._twins[dtype]


def lowest(gradient: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> Agreement | None:
    """Return the lowest cosine of a parameter's gradient to the exact one, of the parameters that count.

    A gradient that is zero or not finite has the cosine 0 or NaN where the exact one counts; NaN is the lowest. None:
    no parameter counts.
    """
    norms = {name: float(g.norm()) for name, g in exact.items()}
    whole = math.sqrt(sum(norm * norm for norm in norms.values()))
    found = []
    for name, norm in norms.items():
        if norm == 0 or norm < NEGLIGIBLE * whole:
            continue
        g = gradient.get(name)
        found.append(Agreement(0.0 if g is None or float(g.norm()) == 0 else cosine(g, exact[name]), name))
    return min(found, key=lambda one: -math.inf if math.isnan(one.cosine) else one.cosine, default=None)


def run(engine: Engine, x: Tensor, y: Tensor, sweeps: int | None) -> None:
    """Estimate a gradient as a training does, with so many sweeps a phase; None: with those of the network."""
    dynamics = engine.architecture.dynamics
    free, nudged = dynamics.free_steps, dynamics.nudged_steps
    if sweeps is not None:
        free, nudged = min(free, sweeps), min(nudged, sweeps)
    engine.zero_grad(set_to_none=True)
    engine.backward(x, y, free_steps=free, nudged_steps=nudged, keep=False)


def timed(engine: Engine, x: Tensor, y: Tensor, sweeps: int | None, clock: Callable[[], float] | None = None) -> float:
    """Seconds that ``run`` takes."""
    read = time.perf_counter if clock is None else clock
    _wait(engine)
    started = read()
    run(engine, x, y, sweeps)
    _wait(engine)
    return read() - started


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Leave torch's random generators as they were; within, every gradient draws the same numbers."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        yield


def _fill(twin: Engine, engine: Engine) -> None:
    """Give a network the parameters of another one; of those that are computed, the values."""
    values = {**engine.state_dict(), **engine.snapshot().values}
    twin.load_state_dict({name: values[name] for name in twin.state_dict()})


def _wait(engine: Engine) -> None:
    if engine.device.type == "cuda":
        torch.cuda.synchronize(engine.device)
