"""Gradients of parameters: contrasts of nudged phases, and the exact gradient of a readout, as pieces of functions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from torch import Tensor

from epgraph.compiler.pieces import Piece
from epgraph.compiler.recorder import Recorder
from epgraph.compiler.trace.context import Context, PhaseName, Results
from epgraph.compiler.trace.notes import written
from epgraph.compiler.trace.recording import Recording
from epgraph.graph import Edge, State
from epgraph.lowering import Update


class How(NamedTuple):
    """What a gradient is computed from.

    Attributes
    ----------
    phase
        ``pair`` for pairs; ``nudged`` for the states of one phase, of an energy that is ``feedforward``.
    weighted
        Whether every example has a weight, the value ``weights``, (batch,); of an energy that is ``feedforward``.
    errors
        Whether that is there what the way back of the last sweep has ``returned``.
    """

    phase: PhaseName = "pair"
    weighted: bool = False
    errors: bool = False


FROM_PAIRS = How()
"""The usual way."""


def _at(
    context: Context, target: str, how: How, recorder: Recorder, results: Results, *, once: bool = True
) -> Recording:
    """Record what the errors of a state contribute. They are those of its new value, if it has one.

    No edge into a state comes from it, so no source is taken for its new value.
    """
    new = how.errors and context.names("next", target) in context.returned
    return Recording(
        context,
        recorder,
        results,
        how.phase,
        once=once,
        weighted=how.weighted,
        from_errors=how.errors,
        moved={target: None} if new else None,
    )


def input_gradient(context: Context, how: How) -> Iterator[Piece]:
    """½[∂F/∂x(s⁻) − ∂F/∂x(s⁺)] per example, or −∂F/∂x, of an energy that is ``feedforward``."""
    for edge in context.graph.post(context.graph.input.name):
        if not context.graph.reads_out(edge):
            yield Piece(("input_gradient",), 0, partial(_input, context, edge, how), f"A[{edge.name}]ᵀ(σ′ ⊙ ε)")


def _input(context: Context, edge: Edge, how: How, recorder: Recorder, results: Results) -> None:
    at = _at(context, edge.target, how, recorder, results)
    _add(results, "input", context.graph.energy.input_gradient(at, edge))


def gradient(context: Context, trainable: frozenset[str], once: bool, how: How) -> Iterator[Piece]:
    """½[∂F/∂θ(s⁻) − ∂F/∂θ(s⁺)] summed over the batch, from pairs, or −∂F/∂θ from states, for the parameters named."""
    graph, names = context.graph, context.names
    shared = frozenset(edge.tied for edge in graph.edges.values() if edge.tied)
    for edge in context.inside:
        parameter = f"edges.{edge.owner}.weight"
        if edge.weight_shape is None or parameter not in trainable:
            continue
        note = f"{edge.name}: c[{edge.source}] ⊗ o[{edge.target}] + o[{edge.source}] ⊗ c[{edge.target}]"
        read = (parameter, names("weight", edge.owner), *context.ends(edge))
        record = partial(_edge, context, edge, once, how)
        if edge.owner in shared or not context.shares:
            # A function a weight, so that a gradient can be added up and dropped before the next one is made.
            # Edges into one state share its signal.
            joint = context.graph.energy.feedforward and edge.owner not in shared
            yield Piece(("gradient", edge.target if joint else edge.owner), 0, record, note)
        else:
            yield context.piece(("gradient",), record, note, read, context.geometry(edge))
    for name in graph.dynamic:
        state, parameter = graph.states[name], f"states.{name}.bias"
        if state.bias_shape is not None and parameter in trainable:
            value = names("state", name)
            function = ("gradient", name) if context.graph.energy.feedforward else ("gradient_biases",)
            yield context.piece(function, partial(_bias, context, state, how), "", (parameter, value), state.shape)
    for update in context.updates.values():
        parameter = f"states.{update.state}.alpha"
        if graph.states[update.state].activation.learnt and parameter in trainable:
            yield _level_piece(context, update, parameter, how)


def _edge(context: Context, edge: Edge, once: bool, how: How, recorder: Recorder, results: Results) -> None:
    at = _at(context, edge.target, how, recorder, results, once=once)
    _add(results, f"edges.{edge.owner}.weight", context.graph.energy.edge_gradient(at, edge))


def _bias(context: Context, state: State, how: How, recorder: Recorder, results: Results) -> None:
    at = _at(context, state.name, how, recorder, results)
    found = context.graph.energy.bias_gradient(at, state)
    results[f"states.{state.name}.bias"] = found.real if context.dtype.is_complex else found


def _level_piece(context: Context, update: Update, parameter: str, how: How) -> Piece:
    state = context.graph.states[update.state]
    driven = update.state in context.driven
    summed = " + ".join([f"c[{state.name}]"] * driven + [written(term) for term in update.terms])
    own = (context.names(role, state.name) for role in ("state", "constant", "alpha"))
    like = ("level", state.shape, driven, *map(context.likeness, update.terms))
    record = partial(_level, context, state, parameter, how)
    function = ("gradient_levels",) if context.shares else ("gradient_level", state.name)
    return context.piece(function, record, f"Σ ({summed} − α)₊", (parameter, *own, *context.read(update)), like)


def _level(context: Context, state: State, parameter: str, how: How, recorder: Recorder, results: Results) -> None:
    at = _at(context, state.name, how, recorder, results)
    results[parameter] = context.graph.energy.level_gradient(at, state)


def local(context: Context, trainable: frozenset[str]) -> Iterator[Piece]:
    """∂C/∂θ summed over the batch, at plain states, for the parameters named of a readout: nothing without one."""
    if not context.graph.readout:
        return
    output = context.graph.output
    for edge in context.graph.pre(output.name):
        parameter = f"edges.{edge.owner}.weight"
        if edge.weight_shape is not None and parameter in trainable:
            note = f"{edge.name}: {edge.source} ⊗ ∂C/∂{output.name}"
            yield Piece(("local", edge.owner), 0, partial(_local_edge, context, edge), note)
    if output.bias_shape is not None and f"states.{output.name}.bias" in trainable:
        yield Piece(("local_bias",), 0, partial(_local_bias, context), f"Σ ∂C/∂{output.name}")


def _cost_gradient(context: Context, recorder: Recorder) -> Tensor:
    output = recorder.argument(context.names("state", context.graph.output.name))
    return context.cost.gradient(output, recorder.argument("y"))


def _local_edge(context: Context, edge: Edge, recorder: Recorder, results: Results) -> None:
    at = Recording(context, recorder, results)
    weight = at.weight(edge)
    assert weight is not None
    source, force = at.state(edge.source), _cost_gradient(context, recorder)
    _add(
        results,
        f"edges.{edge.owner}.weight",
        edge.kind.weight_gradient(weight, source, force, at.shape(edge.source)),
    )


def _local_bias(context: Context, recorder: Recorder, results: Results) -> None:
    output = context.graph.output
    summed = _cost_gradient(context, recorder).sum(dim=[0, *range(2, 1 + len(output.shape))])
    results[f"states.{output.name}.bias"] = summed


def _add(results: Results, name: str, value: Tensor) -> None:
    """Add to a result what one more edge contributes."""
    results[name] = results[name] + value if name in results else value
