"""Constants, updates and forces: what a sweep computes, as pieces of functions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

from epgraph.compiler import runtime
from epgraph.compiler.pieces import Piece
from epgraph.compiler.program import Key
from epgraph.compiler.recorder import Recorder
from epgraph.compiler.trace.context import Context, Nudging, PhaseName, Results
from epgraph.compiler.trace.notes import equation, written_constant, written_sum
from epgraph.compiler.trace.recording import Recording
from epgraph.graph import State
from epgraph.lowering import Update

Role = Literal["state", "next"]


def constants(context: Context) -> Iterator[Piece]:
    """What the clamped input and the biases contribute to each state, once per batch."""
    names = context.names
    for update in context.plan.constants:
        state = context.graph.states[update.state]
        if state.name not in context.driven:
            continue
        own = (names("constant", state.name), names("bias", state.name))
        like = (state.shape, state.bias_shape is not None, *map(context.likeness, update.terms))
        record, note = partial(_constant, context, update), written_constant(state, update.terms)
        yield context.piece(("constants",), record, note, (*own, *context.read(update)), like)


def _constant(context: Context, update: Update, recorder: Recorder, results: Results) -> None:
    # Once per batch, so that float32 costs next to nothing. What is rounded here is wrong in every sweep.
    at = Recording(context, recorder, results, wide=True)
    with recorder.about(update.state):
        parts = [at.term(term) for term in update.terms]
        bias = at.bias(context.graph.states[update.state])
        name = context.names("constant", update.state)
        summed = recorder.call(runtime.total, bias, *parts) if parts else bias
        assert summed is not None
        results[name] = summed.to(context.dtype) if at.wide else summed


def updates(context: Context, key: Key, phase: PhaseName, relaxed: bool, pulled: tuple[str, ...]) -> Iterator[Piece]:
    """Updates of a sweep, one class after the other.

    Calls that share a function come before the function of their class, and where it has conflicts their states wait
    under another name until all that move at once have been computed.
    """
    names, shares = context.names, context.shares
    schedule = context.plan.schedule
    pairs = (*(edge.ends for edge in schedule.conflicts), *schedule.unjoined)
    conflicts = {name for pair in pairs for name in pair} if shares else set()
    for number, together in enumerate(context.plan.classes, start=1):
        function = (*key, number)
        for update in together:
            state = context.graph.states[update.state]
            if state.role == "output" and phase == "clamped":
                continue
            nudging = context.nudging(state, phase, pulled)
            note = equation(context, update, phase, relaxed, nudging)
            pooled = any(not term.edge.kind.is_linear and not term.edge.unary for term in update.terms)
            moved: Role = "next" if update.state in conflicts else "state"
            if not shares or (context.by_class and pooled):
                record = partial(_update, context, update, phase, relaxed, nudging, "state")
                yield Piece(function, 3 * number + 1, record, note)
                continue
            record = partial(_update, context, update, phase, relaxed, nudging, moved)
            own = (names(role, state.name) for role in ("state", moved, "constant", "alpha", "force"))
            like = (
                *(state.role, state.shape, state.activation, state.name in context.driven, nudging),
                *map(context.likeness, update.terms),
            )
            yield Piece(function, 3 * number, record, note, (*own, *context.read(update)), like)
            if moved == "next":
                ends = names("next", state.name), names("state", state.name)
                yield Piece(function, 3 * number + 2, partial(_settle, *ends), "", ends, "settle")


def _update(
    context: Context,
    update: Update,
    phase: PhaseName,
    relaxed: bool,
    nudging: Nudging,
    moved: Role,
    recorder: Recorder,
    results: Results,
) -> None:
    at = Recording(context, recorder, results, phase, relaxed=relaxed, nudging=nudging)
    with recorder.about(update.state):
        state = context.graph.states[update.state]
        results[context.names(moved, update.state)] = context.graph.energy.update(at, state)


def _settle(waiting: str, state: str, recorder: Recorder, results: Results) -> None:
    results[state] = recorder.argument(waiting)


def forces(context: Context) -> Iterator[Piece]:
    """What σ is applied to, of every state that moves, all of them at the present states."""
    for update in context.updates.values():
        state = context.graph.states[update.state]
        own = (context.names(role, state.name) for role in ("force", "state", "constant"))
        like = (state.shape, state.name in context.driven, *map(context.likeness, update.terms))
        note = f"∂Φ/∂{state.name} = {written_sum(context, update)}"
        yield context.piece(("forces",), partial(_force, context, state), note, (*own, *context.read(update)), like)


def _force(context: Context, state: State, recorder: Recorder, results: Results) -> None:
    at = Recording(context, recorder, results)
    results[context.names("force", state.name)] = context.graph.energy.drive(at, state)
