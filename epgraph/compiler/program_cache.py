"""The programs of a plan, traced and rewritten for a backend when they are first needed, and then kept."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch

from epgraph.compiler.backend import Backend
from epgraph.compiler.cuda_graphs import Capture, Replay
from epgraph.compiler.names import ORDER, Names
from epgraph.compiler.passes import stages
from epgraph.compiler.program import CompiledProgram, Function, Program, calls
from epgraph.compiler.sweep import Step
from epgraph.compiler.text import listing, load
from epgraph.compiler.trace import PhaseName, Tracer
from epgraph.compiler.verify import verify, verify_calls
from epgraph.lowering import Plan


class ProgramCache:
    """Programs of one plan in one precision on one backend.

    Parameters
    ----------
    dtype, cast
        Precision of the states, and whether parameters come in another.
    backend
        How to run: the passes that every program goes through.
    capture
        How sweeps are captured as graphs; None runs them one by one.
    strict
        Whether autograd is to take σ′ = 0 at the kinks of σ (see ``Tracer``).
    """

    def __init__(
        self,
        plan: Plan,
        dtype: torch.dtype,
        *,
        cast: bool,
        backend: Backend,
        capture: Capture | None = None,
        strict: bool = False,
    ) -> None:
        self.tracer = Tracer(plan, dtype, cast=cast, by_class=backend.by_class, strict=strict)
        self.backend = backend
        self.replay = Replay(capture) if capture and backend.capturable else None
        self.steps: dict[tuple[Any, ...], tuple[Step, ...]] = {}
        self._programs: dict[tuple[Any, ...], CompiledProgram] = {}

    def program(self, phase: PhaseName, *, relaxed: bool = False, pulled: tuple[str, ...] = ()) -> CompiledProgram:
        """Sweep of a phase; see ``Tracer.program``."""
        key = (phase, relaxed, pulled)
        if key not in self._programs:
            *_, (_, program) = self.stages(phase, relaxed=relaxed, pulled=pulled)
            for function in program.functions:
                _order(function, self.tracer.names)
            # What runs once per batch is not worth compiling.
            often = program.functions[len(program.prepare) :] if self.backend.compiled else ()
            prepare, warm, sweep = self._steps(*program.parts, compiled={function.name for function in often})
            self._programs[key] = CompiledProgram(program, prepare, warm, sweep)
            _give_back()
        return self._programs[key]

    def stages(
        self, phase: PhaseName, *, relaxed: bool = False, pulled: tuple[str, ...] = ()
    ) -> Iterator[tuple[str, Program]]:
        """Yield the sweep of a phase as it is traced, and after every pass, with the name of what made it."""
        traced = self.tracer.program(phase, relaxed=relaxed, pulled=pulled)
        return stages(traced, self.tracer, self.backend.passes)

    def dump(self, phases: Sequence[PhaseName] = ("free", "pair")) -> str:
        """Text of the sweeps as they are traced, and after every pass, under the name of what made it."""
        relaxed = self.tracer.dynamics.stepped
        parts = []
        for phase in phases:
            before = ""
            for name, program in self.stages(phase, relaxed=relaxed):
                text = listing(program)
                parts += [f"# ==== {phase}: {name} ====\n", "# (unchanged)\n" if text == before else text]
                before = text
        return "\n".join(parts)

    def functions(self, name: str, **options: Any) -> tuple[Step, ...]:
        """What else the tracer records, ready to be called: constants, energy, forces, gradient or readout."""
        key = (name, *options.values())
        if key not in self.steps:
            functions = getattr(self.tracer, name)(**options)
            for function in functions:
                verify(function)
            (self.steps[key],) = self._steps(functions)
        return self.steps[key]

    def _steps(self, *parts: tuple[Function, ...], compiled: Collection[str] = ()) -> tuple[tuple[Step, ...], ...]:
        """Check and load functions; those of a part are called before those of the next."""
        made = [calls(part) for part in parts]
        verify_calls(made, self.tracer.names)
        loaded = load(function for part in parts for function in part)
        loaded |= {name: torch.compile(loaded[name], dynamic=False) for name in compiled}
        return tuple(tuple((loaded[f.name], arguments, results) for f, arguments, results in part) for part in made)


def _order(function: Function, names: Names) -> None:
    """Put the arguments in the order of their roles."""
    ranks = {role: rank for rank, role in enumerate(ORDER)}
    arguments = [node for node in function.graph.nodes if node.op == "placeholder"]
    for node in sorted(arguments, key=lambda n: ranks.get(str(names.role(n.target)), 0), reverse=True):
        next(iter(function.graph.nodes)).prepend(node)


def _give_back() -> None:
    """Give the system what emission has freed: it finds shapes on weights of full size, which glibc would keep."""
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
