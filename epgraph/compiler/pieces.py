"""Fragments of functions. Equal fragments share one function, so a large network has few functions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from epgraph.compiler.names import SHARED, Names
from epgraph.compiler.program import Call, Function, Key
from epgraph.compiler.recorder import Recorder


@dataclass(frozen=True)
class Piece:
    """A fragment of a function: a state's update, an edge's gradient, …

    Attributes
    ----------
    function
        Key of the function that contains it, or prefix of the key of a shared function.
    place
        Position of the call.
    record
        Records the fragment, and adds its results to those of the function.
    note
        Its equation.
    names
        Names of all values that it reads or returns.
    like
        Everything that decides the computation, except names. Fragments with equal ``like`` share one function, called
        with the ``names`` of each. None for a fragment that stays in ``function``.
    """

    function: Key
    place: int
    record: Callable[[Recorder, dict[str, Any]], None]
    note: str
    names: tuple[str, ...] = ()
    like: Hashable = None


def functions(pieces: Iterable[Piece], names: Names) -> tuple[Function, ...]:
    """Record fragments: equal ones once, and each of the other functions once."""
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
    """Pattern of repeated names: two edges from one state differ from two edges from two states."""
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(name, len(numbers)) for name in names)
