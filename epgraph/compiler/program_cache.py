"""Cache of a plan's programs: each is traced, passed through the backend's passes and loaded at its first use."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch

from epgraph.compiler.backend import Backend
from epgraph.compiler.compiled import Compiled
from epgraph.compiler.cuda_graphs import Capture, Replay
from epgraph.compiler.loading import Phase
from epgraph.compiler.names import ORDER, Names
from epgraph.compiler.passes import stages
from epgraph.compiler.program import CompiledProgram, Function, Program, calls
from epgraph.compiler.sweep import Step
from epgraph.compiler.text import listing, load
from epgraph.compiler.trace import SHARE_ABOVE, PhaseName, Tracer
from epgraph.compiler.verify import verify, verify_calls
from epgraph.lowering import Plan


class ProgramCache:
    """Programs of one plan in one precision on one backend.

    Parameters
    ----------
    dtype, cast
        Precision of the states, and whether parameters have another one.
    backend
        The passes that every program goes through, and how to run it.
    capture
        Function that captures sweeps as a CUDA graph; None runs them one by one.
    strict, share_above
        Whether autograd takes σ′ = 0 at the kinks of σ, and when functions are shared (see ``Context``).
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
        share_above: int = SHARE_ABOVE,
    ) -> None:
        self.tracer = Tracer(plan, dtype, cast=cast, by_class=backend.by_class, strict=strict, share_above=share_above)
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
            # torch.compile does not pay for functions that run once per batch.
            often = program.functions[len(program.prepare) :] if self.backend.compiled else ()
            prepare, warm, opening, sweep = self._steps(*program.parts, compiled=[function.name for function in often])
            made = Phase(prepare, warm, opening, sweep, program.scratch, program.channels_last)
            self._programs[key] = CompiledProgram(program, made)
            _give_back()
        return self._programs[key]

    def stages(
        self, phase: PhaseName, *, relaxed: bool = False, pulled: tuple[str, ...] = ()
    ) -> Iterator[tuple[str, Program]]:
        """Yield (name, sweep) of a phase: as traced, and after each pass, under the name of the pass."""
        traced = self.tracer.program(phase, relaxed=relaxed, pulled=pulled)
        return stages(traced, self.tracer, self.backend.passes)

    def dump(self, phases: Sequence[PhaseName] = ("free", "pair")) -> str:
        """Text of the sweeps as traced, and after each pass, under the name of the pass."""
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
        """Steps of the tracer's method ``name``: constants, energy, forces, gradient or readout."""
        key = (name, *options.values())
        if key not in self.steps:
            functions = getattr(self.tracer, name)(**options)
            for function in functions:
                verify(function)
            (self.steps[key],) = self._steps(functions, given=(*self.tracer.handed, *self.tracer.returned))
        return self.steps[key]

    def _steps(
        self, *parts: tuple[Function, ...], compiled: Collection[str] = (), given: Collection[str] = ()
    ) -> tuple[tuple[Step, ...], ...]:
        """Verify and load functions; each part is called before the next. ``given``: what other programs return."""
        made = [calls(part) for part in parts]
        verify_calls(made, self.tracer.names, given)
        loaded = load(function for part in parts for function in part)
        for place, name in enumerate(compiled):
            loaded[name] = Compiled(loaded[name], name, place, len(compiled))
        return tuple(tuple((loaded[f.name], arguments, results) for f, arguments, results in part) for part in made)


def _order(function: Function, names: Names) -> None:
    """Put the arguments in the order of their roles."""
    ranks = {role: rank for rank, role in enumerate(ORDER)}
    arguments = [node for node in function.graph.nodes if node.op == "placeholder"]
    for node in sorted(arguments, key=lambda n: ranks.get(str(names.role(n.target)), 0), reverse=True):
        next(iter(function.graph.nodes)).prepend(node)


def _give_back() -> None:
    """malloc_trim: return the pages that shape inference allocated for full-size weights; glibc would keep them."""
    with suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
