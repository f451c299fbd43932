"""What a pass is: a function from program to program, with what it needs and what it changes besides the program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from epgraph.compiler.passes.common import shapes
from epgraph.compiler.program import Function, Program
from epgraph.compiler.trace import Tracer
from epgraph.compiler.verify import HINT, verify, verify_effects
from epgraph.errors import EpgraphError


def anywhere(device: torch.device, dtype: torch.dtype) -> str:
    """Return no reason against any device and precision."""
    return ""


@dataclass(frozen=True)
class Pass:
    """One step from the plain program to the fast one.

    Attributes
    ----------
    apply
        Returns the changed program. It leaves the program that it is given as it is.
    requires
        Names of the passes that a backend must have before this one.
    before
        Names of the passes that this one must precede, in a backend that has both.
    unusable
        Returns why the result cannot run on a device and in a precision; empty where it can.
    by_class
        Whether tracing has to keep the updates of max-pooled edges in the function of their class (see ``Tracer``).
    capturable
        Whether sweeps can be captured as CUDA graphs after it. One pass of a backend has to say so: preparing weights
        within a sweep may copy from the host, which no graph can do.
    exportable
        Whether an emitted module, which needs torch alone, can hold what the pass writes.
    """

    name: str
    apply: Callable[[Program, Tracer], Program]
    requires: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    unusable: Callable[[torch.device, torch.dtype], str] = anywhere
    by_class: bool = False
    capturable: bool = False
    exportable: bool = True


def check_order(passes: Sequence[Pass]) -> None:
    """Check that passes stand in an order that all of them allow.

    Raises
    ------
    EpgraphError
        Where two passes have one name, one is missing that another requires, or one comes after a pass that it has to
        precede.
    """
    earlier: list[str] = []
    for one in passes:
        if one.name in earlier:
            raise EpgraphError(f"pass '{one.name}' is listed twice")
        missing = [f"'{name}'" for name in one.requires if name not in earlier]
        if missing:
            raise EpgraphError(f"pass '{one.name}' requires {', '.join(missing)} before it")
        late = [f"'{name}'" for name in one.before if name in earlier]
        if late:
            raise EpgraphError(f"pass '{one.name}' must precede {', '.join(late)}")
        earlier.append(one.name)


def stages(program: Program, tracer: Tracer, passes: Sequence[Pass]) -> Iterator[tuple[str, Program]]:
    """Yield the program as it was traced and after every pass, each verified, with the name of what made it."""
    _verify_new(program, None, tracer)
    for function in program.functions:
        _verify_shapes(function, tracer, program)
    yield "trace", program
    for one in passes:
        before, program = program, one.apply(program, tracer)
        _verify_new(program, before, tracer)
        yield one.name, program


def _verify_new(program: Program, before: Program | None, tracer: Tracer) -> None:
    """Check the functions of a program, except those that the last pass has left as they were."""
    unchanged = set() if before is None else {id(function) for function in before.functions}
    for function in program.functions:
        if id(function) not in unchanged:
            verify(function)
            verify_effects(function, tracer.names)


def _verify_shapes(function: Function, tracer: Tracer, program: Program) -> None:
    """Check that results have the shapes of the values that they are; raise EpgraphError otherwise.

    Packed weights have no shape that an operation on an empty batch could check, so passes are trusted with shapes.
    So are complex states: examples are real.
    """
    if tracer.dtype.is_complex:
        return
    sizes = shapes(function.graph, tracer, program)
    (values,) = (node.args[0] for node in function.graph.nodes if node.op == "output")
    for name, value in zip(function.results, values, strict=True):
        expected = tuple(tracer.examples[name].shape[1:])
        if sizes[value][1:] != expected:
            message = f"its result '{name}' has the shape {sizes[value][1:]}, and should have {expected}"
            raise EpgraphError(f"emitted function '{function.name}': {message}", HINT)
