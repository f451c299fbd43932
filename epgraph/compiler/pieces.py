"""Pieces of functions, and which of them share one: what is alike is recorded once, however large the network."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from epgraph.compiler.names import SHARED, Names
from epgraph.compiler.program import Call, Function, Key
from epgraph.compiler.recorder import Recorder


@dataclass(frozen=True)
class Piece:
    """Part of what a function computes: a state's update, an edge's gradient, …

    Attributes
    ----------
    function
        The function that it is part of, or what the key of one for all that are alike begins with.
    place
        Position of that function among those that are called.
    record
        Records it, and adds its results to those of the function so far.
    note
        Equation for it.
    names
        Every value that it reads or returns, by name.
    like
        All that decides what is computed, save the names: pieces with equal ``like`` are called with their own
        ``names`` in place of the first one's. None for a piece that stays in ``function``.
    """

    function: Key
    place: int
    record: Callable[[Recorder, dict[str, Any]], None]
    note: str
    names: tuple[str, ...] = ()
    like: Hashable = None


def functions(pieces: Iterable[Piece], names: Names) -> tuple[Function, ...]:
    """Record pieces: those that are alike once, and of the others each function once."""
    groups: dict[Hashable, list[Piece]] = {}
    for piece in pieces:
        key = (piece.function,) if piece.like is None else (piece.like, _pattern(piece.names))
        groups.setdefault(key, []).append(piece)
    return tuple(_function(group, number, names) for number, group in enumerate(groups.values(), start=1))


def _function(group: list[Piece], number: int, names: Names) -> Function:
    first = group[0]
    recorder = Recorder()
    results: dict[str, Any] = {}
    if first.like is None:
        name = names("function", *first.function)
        for piece in group:
            piece.record(recorder, results)
        return recorder.finish(name, results, [piece.note for piece in group if piece.note], (Call(first.place),))
    name = names("function", *first.function, "kind", number)
    first.record(recorder, results)
    notes = [first.note] if first.note else []
    if len(group) > 1:
        notes.append(f"This is the first of {len(group)} that are alike; the others are called with their own values.")
    calls = [Call(piece.place, dict(zip(first.names, piece.names, strict=True))) for piece in group]
    made = recorder.finish(name, results, notes, calls)
    assert {*made.arguments, *results} <= {*first.names, *SHARED}, f"{name} uses values that are not in its names"
    return made


def _pattern(names: tuple[str, ...]) -> tuple[int, ...]:
    """Which names are the same: two edges from one state are not alike to two from different ones."""
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(name, len(numbers)) for name in names)
