"""F = Σ G − Φ per example: what edges and states contribute, as pieces of functions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from epgraph.compiler.pieces import Piece
from epgraph.compiler.recorder import Recorder
from epgraph.compiler.trace.context import Context, Results
from epgraph.compiler.trace.recording import Recording
from epgraph.graph import Edge, State


def energy(context: Context) -> Iterator[Piece]:
    """``phi``, and ``energy``, which is F."""
    graph, names = context.graph, context.names
    first = names("state", (graph.dynamic or graph.free)[0])
    note = "F = Σ G(s) − Φ with G′ = σ⁻¹, and Φ = Σ ⟨s_j, A_e s_i⟩ + Σ ⟨b, s⟩; both (batch,)"
    if not graph.energy.descends:
        note = f"F of the energy {graph.architecture.energy}; (batch,)"
    yield context.piece(("energy",), partial(_start, first), note, [first], "start")
    for edge in context.inside:
        read = [names("weight", edge.owner), *context.ends(edge)]
        yield context.piece(("energy",), partial(_edge, context, edge), "", read, context.geometry(edge), 1)
    for name in graph.dynamic:
        state = graph.states[name]
        read = [names(role, name) for role in ("state", "bias", "alpha")]
        like = (state.shape, state.activation, state.bias_shape)
        yield context.piece(("energy",), partial(_state, context, state), "", read, like, 1)
    yield context.piece(("energy",), _end, "", (), "end", 2)


def _start(state: str, recorder: Recorder, results: Results) -> None:
    per_example = recorder.argument(state).flatten(1).sum(1)
    results["phi"] = torch.zeros_like(per_example)
    results["own"] = torch.zeros_like(per_example)


def _edge(context: Context, edge: Edge, recorder: Recorder, results: Results) -> None:
    context.graph.energy.edge_energy(Recording(context, recorder, results, alone=True), edge)


def _state(context: Context, state: State, recorder: Recorder, results: Results) -> None:
    context.graph.energy.state_energy(Recording(context, recorder, results, alone=True), state)


def _end(recorder: Recorder, results: Results) -> None:
    results["energy"] = recorder.result(results, "own") - recorder.result(results, "phi")
