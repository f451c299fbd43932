"""Sweeps of energies whose free equilibrium is one forward pass: the bottom-up sums are carried from class to class.

An edge is applied once each time its source moves, in the class where it moves: to the new state if its target has no
other parents, else to the change of the state, which is added to the sum. A sum is not computed again by each of the
updates that read it.

In error sweeps, and in sweeps that are ``Context.two_way``, a sweep is a way back and a way forward: first all errors,
of the present sums; then all states and their new sums. A gradient needs no way forward behind its errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from epgraph.compiler import runtime
from epgraph.compiler.pieces import Piece
from epgraph.compiler.program import Key
from epgraph.compiler.recorder import Recorder
from epgraph.compiler.trace.context import Context, Nudging, PhaseName, Results
from epgraph.compiler.trace.recording import Halves, Recording
from epgraph.graph import Edge, State


def forward_pass(context: Context, key: Key) -> Iterator[Piece]:
    """The free phase: every state after those with an edge into it."""
    for number, name in enumerate(context.graph.forward_order, start=1):
        note = f"a[{name}] = Σ A s + b;  {name} ← {context.graph.states[name].activation.label}(a)"
        yield Piece((*key, number), number, partial(_arrive, context, name), note)


def _arrive(context: Context, name: str, recorder: Recorder, results: Results) -> None:
    at = Recording(context, recorder, results)
    state = context.graph.states[name]
    with recorder.about(name):
        summed = _summed(at, name, results)
        results[context.names("state", name)] = at.activated(state, at.copy(summed), at.level(state))


def sums(context: Context, phase: PhaseName) -> Iterator[Piece]:
    """All bottom-up sums, from the states."""
    for name in context.graph.forward_order:
        yield Piece(("sums", phase), 0, partial(_sums, context, name, phase), f"a[{name}] = Σ A s + b")


def _sums(context: Context, name: str, phase: PhaseName, recorder: Recorder, results: Results) -> None:
    with recorder.about(name):
        _summed(Recording(context, recorder, results, phase), name, results)


def _summed(at: Recording, name: str, results: Results) -> Tensor:
    """Sum of a state from the present states, and what has to be carried beside it."""
    context = at.context
    for edge in context.graph.pre(name):
        if edge.name in context.carried:
            results[context.names("carried", "out", edge.name)] = at.forward(edge)
    summed = at.sum(name, "forward")
    at.recorder.node(summed).meta["kept"] = True
    results[context.names("carried", "sum", name)] = summed
    return summed


def classes(context: Context, key: Key, phase: PhaseName, pulled: Sequence[str]) -> Iterator[Piece]:
    """A nudged sweep: class after class, each with the sums that its states lead to."""
    graph = context.graph
    for number, together in enumerate(context.plan.classes, start=1):
        moved = [u.state for u in together if not (phase == "clamped" and graph.states[u.state].role == "output")]
        for name in moved:
            nudging = context.nudging(graph.states[name], phase, pulled)
            record = partial(_move, context, graph.states[name], phase, nudging)
            yield Piece((*key, number), number, record, _equation(context, name, phase, nudging))
        yield Piece((*key, number), number, partial(_push, context, moved, phase), "")


def _move(
    context: Context, state: State, phase: PhaseName, nudging: Nudging, recorder: Recorder, results: Results
) -> None:
    at = Recording(context, recorder, results, phase, nudging=nudging)
    with recorder.about(state.name):
        reads_off = context.is_readout(state)
        new = at.copy(at.bottom_up(state.name)) if reads_off else context.graph.energy.update(at, state)
        results[context.names("state", state.name)] = new


def _push(context: Context, moved: Sequence[str], phase: PhaseName, recorder: Recorder, results: Results) -> None:
    """Bring the sums up to date that the states of a class lead to."""
    at, graph, names = Recording(context, recorder, results, phase), context.graph, context.names
    new = {name: results[names("state", name)] for name in moved}
    changes: dict[str, Tensor] = {}
    for child in graph.forward_order:
        edges = [edge for edge in graph.pre(child) if edge.source in new]
        if not edges:
            continue
        with recorder.about(child):
            if context.moving_parents(child) <= new.keys():
                parts = [at.forward(edge, new[edge.source]) for edge in edges]
                constant = at.value("constant", child) if child in context.driven else None
                how = runtime.total_pair if at.pair else runtime.total
                summed = recorder.call(how, constant, *parts)
            else:
                start = at.bottom_up(child)
                parts = [_change(at, edge, new[edge.source], changes) for edge in edges]
                summed = at.total(graph.states[child], start, parts)
            recorder.node(summed).meta |= {"state": names("state", child), "about": child, "kept": True}
            results[names("carried", "sum", child)] = summed


def _change(at: Recording, edge: Edge, new: Tensor, changes: dict[str, Tensor]) -> Tensor:
    """What the move of its source adds to the result of an edge."""
    context, results = at.context, at.results
    if edge.name not in context.carried:
        if edge.source not in changes:
            changes[edge.source] = new - at.state(edge.source)
        return at.forward(edge, changes[edge.source])
    key = context.names("carried", "out", edge.name)
    now = at.forward(edge, new)
    results[key] = now
    return now - at.recorder.argument(key)


def two_way(context: Context, key: Key, phase: PhaseName, pulled: Sequence[str]) -> Iterator[Piece]:
    """What all states send back, from the output on, and then their new values and sums, in the order of the edges."""
    order = [n for n in context.graph.forward_order if not (phase == "clamped" and n == context.graph.output.name)]
    errors = context.error_sweeps
    yield from back(context, key, phase, pulled)
    for number, name in enumerate(order, start=len(order)):
        state = context.graph.states[name]
        record = partial(_reply if errors else _settle, context, state, phase)
        note = f"a[{name}] = Σ A s + b" + (f";  {name} ← {state.activation.label}(a) + ε" if errors else "")
        yield Piece((*key, number + 1), number + 1, record, note)


def back(
    context: Context, key: Key, phase: PhaseName, pulled: Sequence[str], *, opening: bool = False
) -> Iterator[Piece]:
    """The way back; ``opening``: of error sweeps of a pair without odd parts, whose errors then are odd."""
    graph, errors = context.graph, context.error_sweeps
    backwards = [n for n in reversed(graph.forward_order) if not (phase == "clamped" and n == graph.output.name)]
    for number, name in enumerate((n for n in backwards if not context.is_readout(graph.states[n])), start=1):
        state, own = graph.states[name], ("opening", number) if opening else (number,)
        nudging = context.nudging(state, phase, pulled)
        if errors:
            record = partial(_error, context, state, phase, nudging, opening)
            note = f"ε[{name}] = {' + '.join(_fed_back(context, name)) or '0'}{_NUDGE[nudging]}"
        else:
            record, note = partial(_next, context, state, phase, nudging), _equation(context, name, phase, nudging)
        yield Piece((*key, *own), number, record, note)


def _next(
    context: Context, state: State, phase: PhaseName, nudging: Nudging, recorder: Recorder, results: Results
) -> None:
    """The value that a state moves to, and what it then sends back; the state itself moves later."""
    at = Recording(context, recorder, results, phase, nudging=nudging, errors=True)
    energy, name = context.graph.energy, state.name
    with recorder.about(name):
        results[context.names("next", name)] = new = energy.update(at, state)
        if context.sends(state):
            moved = Recording(context, recorder, results, phase, moved={name: new})
            results[context.names("carried", "sent", name)] = energy.signal(moved, state)


def _settle(context: Context, state: State, phase: PhaseName, recorder: Recorder, results: Results) -> None:
    """Let a state move, and bring its sum up to date with those before it."""
    at, name = Recording(context, recorder, results, phase), state.name
    with recorder.about(name):
        # A readout is what its sum was when the sweep began.
        new = at.copy(at.bottom_up(name)) if context.is_readout(state) else at.value("next", name)
        results[context.names("state", name)] = new
        if context.moving_parents(name):
            _summed(at, name, results)


def _error(
    context: Context,
    state: State,
    phase: PhaseName,
    nudging: Nudging,
    opening: bool,
    recorder: Recorder,
    results: Results,
) -> None:
    kind = Halves if opening else Recording
    at = kind(context, recorder, results, "nudged" if opening else phase, nudging=nudging, errors=True)
    energy, name = context.graph.energy, state.name
    with recorder.about(name):
        parts = energy.feedback(at, state)
        if nudging == "cost" and context.dynamics.output_step == "closed_form":
            # The closed form is that of the whole sum.
            bottom_up = at.bottom_up(name)
            error = at.nudged(state, at.copy(bottom_up)) - bottom_up
        else:
            error = at.nudged(state, at.total(state, None, parts))
        made = {"error": error}
        if context.sends(state):
            made["sent"] = energy.send(at, state, error)
        for what, value in made.items():
            found = torch.cat((torch.zeros_like(value), value)) if opening else value
            results[context.names("carried", what, name)] = found


def _reply(context: Context, state: State, phase: PhaseName, recorder: Recorder, results: Results) -> None:
    at = Recording(context, recorder, results, phase, errors=True)
    with recorder.about(state.name):
        moves = bool(context.moving_parents(state.name))
        summed = _summed(at, state.name, results) if moves else at.bottom_up(state.name)
        if context.is_readout(state):
            new = at.copy(summed)
        else:
            new = context.graph.energy.reply(at, state, summed, at.handed("error", state.name))
        results[context.names("state", state.name)] = new


_NUDGE = {None: "", "cost": " − β ∂C/∂s", "force": " − β f"}


def _equation(context: Context, name: str, phase: PhaseName, nudging: Nudging) -> str:
    state = context.graph.states[name]
    if context.is_readout(state):
        return f"{name} ← a[{name}]"
    sigma, projects = state.activation.label, state.activation.projects
    chosen = "update" in context.graph.energy.reads  # else the energy's update is that of all energies
    mixed = not chosen or state.activation.linear or (projects and context.dynamics.update == "mod_pgd")
    start = f"a[{name}]" if mixed else f"{sigma}(a[{name}])"
    summed = " + ".join([start, *_fed_back(context, name)]) + _NUDGE[nudging]
    return f"{name} ← {sigma}({summed})" if projects or not chosen else f"{name} ← {summed}"


def _fed_back(context: Context, name: str) -> list[str]:
    graph = context.graph
    return [f"A[{e.name}]ᵀ(σ′ ⊙ ε)[{e.target}]" for e in graph.post(name) if not graph.reads_out(e)]
