"""``compile``: from an architecture to an engine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from math import inf

import torch

from epgraph.activations import NAMED
from epgraph.arguments import choice, flag, number, several, whole_number
from epgraph.compiler import BACKENDS, pass_names
from epgraph.compiler.trace import SHARE_ABOVE
from epgraph.contract import HINT, is_own
from epgraph.costs import COSTS
from epgraph.engine import Engine
from epgraph.errors import Diagnostic, EpgraphError, Location
from epgraph.graph import SCHEDULES, NetworkGraph, checked
from epgraph.language import Architecture
from epgraph.lowering import lower
from epgraph.result_shapes import activation_shapes, cost_shapes, shape_problems
from epgraph.runtime.apart import apart
from epgraph.runtime.arguments import place, precision
from epgraph.runtime.memory import refuse_too_large


def compile(
    architecture: Architecture | str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    schedule: str | None = None,
    seed: int | None = None,
    backend: str = "auto",
    without: Iterable[str] = (),
    doubled: bool = True,
    cuda_graphs: bool = True,
    initialised: bool = True,
    share_above: int = SHARE_ABOVE,
    batches: float = inf,
) -> Engine:
    """Compile an architecture into an engine: draw its parameters, choose its backend, emit the free phase.

    Other phases are emitted when they are first needed, and all are emitted again where the engine moves to another
    device or precision.

    Parameters
    ----------
    architecture
        What ``load`` returns, or a path or YAML text to load.
    device, dtype
        Where and in what floating-point precision to run, as torch's or by name (``"cuda:0"``, ``"float32"``); torch's
        defaults where left out.
    schedule
        Overrides ``dynamics.schedule``.
    seed
        Seed of the initial parameters, from 0 to 2³² − 1; left out, ``training.seed``.
    backend
        How sweeps run: ``auto``, or a name in ``epgraph.compiler.BACKENDS`` such as ``eager``, ``onednn`` or
        ``triton``. One that cannot be used on the device and in the precision is refused.
    without
        Passes of the backend to leave out (``epgraph.compiler.PASSES``), to measure what each is worth.
    doubled
        Whether the two nudged phases run as one doubled batch of common and odd parts, which is what keeps the
        gradient's digits; False runs them one after the other, as published.
    cuda_graphs
        Whether sweeps on a CUDA device are captured once and replayed as graphs; False launches every kernel.
    initialised
        Whether to draw parameters by the rule of ``init``. False is for those that are loaded or initialised on data
        next: ``graph_aware`` relaxes the network to find them, which takes a while on a large one.
    share_above
        Number of states above which states and edges that are alike share an emitted function, so that its text, and
        the time to write it, do not grow with the network.
    batches
        Number of batches to come, if it is known: ``auto`` spreads over them what a backend takes to start.

    Raises
    ------
    EpgraphError
        With every mistake of the architecture, or naming the option that cannot be used.
    """
    schedule = None if schedule is None else choice("schedule", schedule, SCHEDULES)
    graph = checked(architecture, schedule)
    architecture = graph.architecture
    seed = architecture.training.seed if seed is None else whole_number("seed", seed, 0, 2**32 - 1)
    backend = choice("backend", backend, ["auto", *BACKENDS])
    left_out = frozenset(choice("rewrite", name, pass_names()) for name in several("without", without))
    doubled, cuda_graphs = flag("doubled", doubled), flag("cuda_graphs", cuda_graphs)
    initialised = flag("initialised", initialised)
    share_above = whole_number("share_above", share_above, 0)
    batches = inf if batches == inf else number("batches", batches, positive=True)
    dtype = None if dtype is None else precision(dtype)
    device = None if device is None else place(device)
    if architecture.dynamics.noise and not doubled:
        raise EpgraphError(
            "dynamics.noise needs the two nudged phases as one doubled batch: one by one they would not share it",
            "compile with doubled=True",
        )
    refuse_too_large(graph, device, dtype)
    plan = lower(graph, schedule or architecture.dynamics.schedule)
    _check_shapes(plan.graph)
    try:
        with apart("cpu"):
            engine = Engine(
                plan,
                seed=seed,
                device=device,
                dtype=dtype,
                backend=backend,
                without=left_out,
                doubled=doubled,
                cuda_graphs=cuda_graphs,
                initialised=initialised,
                share_above=share_above,
                batches=batches,
            )
            if engine.device.type != "meta":  # where nothing runs
                engine.executor.program("free")
            return engine
    except RuntimeError as error:
        # A device that is there may have no memory left all the same.
        if device is None or device.type == "cpu":
            raise
        raise EpgraphError(f"device '{device}' cannot be used: {str(error).splitlines()[0]}", "use 'cpu'") from None


def _check_shapes(graph: NetworkGraph) -> None:
    """Refuse a class of the user's own whose methods give tensors of another shape, which torch might broadcast."""
    architecture = graph.architecture
    problems: dict[str, Location] = {}
    seen = set()
    for index, edge in enumerate(graph.edges.values()):
        ends = (graph.states[edge.source].shape, graph.states[edge.target].shape)
        if is_own(type(edge.kind)) and (edge.kind, ends) not in seen:
            seen.add((edge.kind, ends))
            at = (*architecture.edge_location(index), edge.kind.name)
            problems |= {f"edge kind '{edge.kind.name}': {p}": at for p in shape_problems(edge.kind, *ends)}
    for name, activation in NAMED.items():
        states = [state.name for state in graph.states.values() if state.activation is activation]
        if states and is_own(type(activation)):
            problems |= {f"activation '{name}': {p}": ("states", states[0]) for p in activation_shapes(activation)}
    cost = COSTS[architecture.output.cost]
    if is_own(type(cost)):
        at = ("output", "cost")
        problems |= {f"cost '{architecture.output.cost}': {p}": at for p in cost_shapes(cost, graph.output.shape)}
    if problems:
        raise EpgraphError(architecture.locate(Diagnostic(p, HINT, at, rule="plugin")) for p, at in problems.items())
