"""The machine: a plan's programs, traced and rewritten for a backend when they are first needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from epgraph.emit.backend import Backend
from epgraph.emit.program import Function, Program, load, tidy
from epgraph.emit.replay import Capture, Replay
from epgraph.emit.rewrite import REWRITES
from epgraph.emit.runtime import Step
from epgraph.emit.trace import PhaseName, Tracer
from epgraph.emit.triton_kernel import Kernel
from epgraph.passes import Plan


@dataclass(frozen=True)
class Loaded:
    """A program whose functions can be called; ``warm`` is a step of its own, or nothing."""

    program: Program
    prepare: Step
    warm: tuple[Step, ...]
    sweep: tuple[Step, ...]


class Machine:
    """Programs of one plan in one precision on one backend.

    Parameters
    ----------
    dtype, cast
        Precision of the states, and whether parameters come in another.
    backend, rewrites
        How to run, and the rewrites that it then takes.
    capture
        How sweeps are captured as graphs; None runs them one by one.
    """

    def __init__(
        self,
        plan: Plan,
        dtype: torch.dtype,
        *,
        cast: bool,
        backend: Backend,
        rewrites: frozenset[str],
        capture: Capture | None = None,
    ) -> None:
        self.tracer = Tracer(plan, dtype, cast=cast)
        self.backend = backend
        self.rewrites = rewrites
        self.channels_last = "channels_last" in rewrites
        # Preparing weights may copy from the host, which no graph can do.
        self.replay = Replay(capture) if capture and "hoist_prepared" in rewrites else None
        self.steps: dict[tuple[Any, ...], Step] = {}
        self._programs: dict[str, Loaded] = {}

    def program(self, phase: PhaseName, *, relaxed: bool = False) -> Loaded:
        """Sweep of a phase."""
        key = f"{phase}{relaxed}"
        if key not in self._programs:
            program = self.tracer.program(phase, relaxed=relaxed)
            for name, rewrite in REWRITES.items():
                if name in self.rewrites:
                    program = rewrite(program, self.tracer)
            calls = self._load(tuple(tidy(f) for f in program.functions))

            def step(function: Function) -> Step:
                call = calls[function.name]
                if self.backend.compiled and function is not program.prepare:
                    call = torch.compile(call, dynamic=False)
                return call, function.arguments, function.results

            self._programs[key] = Loaded(
                program,
                step(program.prepare),
                (step(program.warm),) if program.warm else (),
                tuple(step(f) for f in program.sweep),
            )
        return self._programs[key]

    def function(self, name: str, **options: Any) -> Step:
        """Another function of the tracer, ready to be called: constants, energy, gradient or readout."""
        made: Function = getattr(self.tracer, name)(**options)
        return self._load((made,))[made.name], made.arguments, made.results

    def _load(self, functions: tuple[Function, ...]) -> dict[str, Callable[..., Any]]:
        passed_on = [a for f in functions for node in f.graph.nodes for a in node.args if isinstance(a, Kernel)]
        return load(functions, {str(f): f for f in (*self.tracer.pairs.values(), *passed_on)})
