"""Programs: a sweep as torch.fx graphs, one function a colour class, and what is computed once per batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import fx

from epgraph.compiler.sweep import Step

Key = tuple[str | int, ...]
"""What identifies a function or a program, in parts; a name of the user's is a part of its own."""


class Passed:
    """What emitted code passes to a helper by its identifier: the activation of a pair, or a kernel."""

    identifier: str

    def __repr__(self) -> str:
        return self.identifier


@dataclass(frozen=True)
class Call:
    """A call of a function: when, and with which values in place of those that the function is written with.

    Attributes
    ----------
    place
        Calls are made in the order of their places.
    names
        Name in the function → name of the value; a name that is not in it stands for itself.
    """

    place: int = 0
    names: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, names: Sequence[str]) -> tuple[str, ...]:
        """Names of the values in place of those of the function."""
        return tuple(map(self.names.get, names, names)) if self.names else tuple(names)


@dataclass(frozen=True)
class Function:
    """A function to be emitted: placeholders of ``graph`` are values by name, in order, as are its results.

    ``notes`` are the equations that it computes, one a line. In a large network it is called for everything that is
    alike, and written with the names of the first.
    """

    name: str
    graph: fx.Graph
    results: tuple[str, ...]
    notes: tuple[str, ...] = ()
    calls: tuple[Call, ...] = (Call(),)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the values that it takes."""
        return tuple(str(node.target) for node in self.graph.nodes if node.op == "placeholder")


@dataclass(frozen=True)
class Program:
    """One phase's sweep.

    Attributes
    ----------
    key
        The phase, then what tells this program from others of the phase: its functions are named after it.
    sweep
        One function a colour class; in a large network one for all updates that are alike.
    prepare
        What depends on parameters alone, computed once per batch: packed, flipped or merged weights.
    warm
        What a sweep hands to the next one (arg-maxes that are reused), computed from the states that the first sweep
        starts from; None where nothing is.
    scratch
        Working memory that updates share: name → name of the state whose shape it has.
    channels_last
        Memory layout of the states.
    """

    key: Key
    sweep: tuple[Function, ...]
    prepare: tuple[Function, ...] = ()
    warm: Function | None = None
    scratch: Mapping[str, str] = field(default_factory=dict)
    channels_last: bool = False

    @property
    def parts(self) -> tuple[tuple[Function, ...], ...]:
        """What is called once per batch, before the first sweep, and in every sweep."""
        return self.prepare, (self.warm,) if self.warm else (), self.sweep

    @property
    def functions(self) -> tuple[Function, ...]:
        """All functions, in the order in which they are called."""
        return tuple(function for part in self.parts for function in part)


@dataclass(frozen=True)
class CompiledProgram:
    """A program whose functions can be called, step by step."""

    program: Program
    prepare: tuple[Step, ...]
    warm: tuple[Step, ...]
    sweep: tuple[Step, ...]


Named = tuple[Function, tuple[str, ...], tuple[str, ...]]
"""A function with the values that it is called with, and those that it returns."""


def calls(functions: Sequence[Function]) -> list[Named]:
    """All calls of functions, in the order in which they are made."""
    found: list[tuple[int, Named]] = []
    for function in functions:
        arguments = function.arguments
        found += [(call.place, (function, call(arguments), call(function.results))) for call in function.calls]
    return [named for _, named in sorted(found, key=lambda pair: pair[0])]
