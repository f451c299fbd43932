"""Programs: a sweep as torch.fx graphs, one function per class, and the functions that run once per batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import fx

from epgraph.compiler.loading import Phase

Key = tuple[str | int, ...]
"""Parts that identify a function or a program; a user's name is one part."""


class Passed:
    """An object that emitted code passes to a helper by its identifier: the activation of a pair, or a kernel."""

    identifier: str

    def __repr__(self) -> str:
        return self.identifier


@dataclass(frozen=True)
class Call:
    """A call of a function: its position, and its values in place of those in the function's text.

    Attributes
    ----------
    place
        Position among all calls.
    names
        Name in the function → name of the value. A missing name stands for itself.
    """

    place: int = 0
    names: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, names: Sequence[str]) -> tuple[str, ...]:
        """Translate names in the function to names of values."""
        return tuple(map(self.names.get, names, names)) if self.names else tuple(names)


@dataclass(frozen=True)
class Function:
    """A function to emit: the placeholders of ``graph`` are its arguments, by name and in order, as are ``results``.

    ``notes`` are its equations, one per line. In a large network one function serves all equal updates: its text has
    the names of the first, and ``calls`` lists them all.
    """

    name: str
    graph: fx.Graph
    results: tuple[str, ...]
    notes: tuple[str, ...] = ()
    calls: tuple[Call, ...] = (Call(),)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments."""
        return tuple(str(node.target) for node in self.graph.nodes if node.op == "placeholder")


@dataclass(frozen=True)
class Program:
    """One phase's sweep.

    Attributes
    ----------
    key
        The phase, and the options that distinguish programs of one phase. Functions are named after it.
    sweep
        One function per class; in a large network one for all equal updates.
    prepare
        Values of parameters alone, computed once per batch: packed, flipped or merged weights.
    warm
        Values that a sweep passes to the next one (sums, arg-max indices), computed from the initial states.
    opening
        Functions in place of as many of the first ones of ``sweep``, in a first sweep whose states have no odd parts.
    scratch
        Buffers that updates share: name → name of the state with the same shape.
    channels_last
        Memory layout of the states.
    """

    key: Key
    sweep: tuple[Function, ...]
    prepare: tuple[Function, ...] = ()
    warm: tuple[Function, ...] = ()
    opening: tuple[Function, ...] = ()
    scratch: Mapping[str, str] = field(default_factory=dict)
    channels_last: bool = False

    @property
    def parts(self) -> tuple[tuple[Function, ...], ...]:
        """Functions called once per batch, before the first sweep, at its beginning, and in every sweep."""
        return self.prepare, self.warm, self.opening, self.sweep

    @property
    def functions(self) -> tuple[Function, ...]:
        """All functions, in the order of their calls."""
        return tuple(function for part in self.parts for function in part)


@dataclass(frozen=True)
class CompiledProgram:
    """A program, and its functions as they can be called, step by step."""

    program: Program
    phase: Phase


Named = tuple[Function, tuple[str, ...], tuple[str, ...]]
"""A function, the names of its arguments in a call, and the names of its results."""


def calls(functions: Sequence[Function]) -> list[Named]:
    """All calls of functions, in order."""
    found: list[tuple[int, Named]] = []
    for function in functions:
        arguments = function.arguments
        found += [(call.place, (function, call(arguments), call(function.results))) for call in function.calls]
    return [named for _, named in sorted(found, key=lambda pair: pair[0])]
