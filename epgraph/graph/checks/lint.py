"""Lint: warnings about legal settings that may not be intended, each with a hint."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from epgraph.errors import Diagnostic, Location, listed
from epgraph.graph.network import Edge, NetworkGraph
from epgraph.graph.schedule import Schedule
from epgraph.kinds import Identity
from epgraph.learning_rules import ESTIMATORS


def lint(graph: NetworkGraph, schedule: Schedule) -> list[Diagnostic]:
    """Return the warnings about a network."""
    return [
        *_not_proper(graph, schedule),
        *_beta(graph),
        *_edges(graph),
        *_too_few_steps(graph, schedule),
    ]


def _not_proper(graph: NetworkGraph, schedule: Schedule) -> Iterator[Diagnostic]:
    forward = graph.energy.feedforward
    if schedule.proper or not (schedule.conflicts or forward) or graph.architecture.dynamics.chosen_solver.errors:
        return
    if ESTIMATORS[graph.architecture.learning.estimator].feedforward:
        return  # No state relaxes.
    pairs = {edge.ends: f"{edge.source} and {edge.target}" for edge in reversed(schedule.conflicts)}
    together = [*reversed(pairs.values()), *(f"{one} and {other}" for one, other in schedule.unjoined if forward)]
    why = "share an edge"
    if forward:
        why = "read each other: an edge joins them, or both lead into one state"
    risk = "sweeps may not settle" if forward else "the energy may rise"
    # Where the file says no schedule, there is nothing there to point at.
    dynamics = graph.architecture.dynamics
    said = "schedule" in dynamics.model_fields_set or schedule.name != dynamics.schedule
    default = "" if said else "the default "
    yield _warning(
        "not-proper",
        f"{default}schedule {schedule.name} moves states together that {why} ({listed(together)}), so {risk}",
        f"{'schedule: coloring' if said else 'dynamics: {schedule: coloring}'} keeps them apart",
        ("dynamics", "schedule") if said else ("edges",),
        on_key=not said,
    )


def _beta(graph: NetworkGraph) -> Iterator[Diagnostic]:
    learning, (low, high) = graph.architecture.learning, graph.energy.betas
    if not ESTIMATORS[learning.estimator].nudges or low <= learning.beta <= high:
        return
    where, limit, example = "the paper", "from 0.8 on nothing was learnt there", 0.2
    if graph.energy.feedforward:
        where, limit, example = "its publication", "beyond, the estimate has a larger error", 0.02
        limit = "below, differences of states fall below their rounding" if learning.beta < low else limit
    elif learning.beta < low:
        limit = "smaller ones were unstable there"
    yield _warning(
        "beta",
        f"beta {learning.beta:g} is outside of {low:g} to {high:g}, where training was stable in {where}; {limit}",
        f"e.g. beta: {example:g}",
        ("learning", "beta"),
    )


def _edges(graph: NetworkGraph) -> Iterator[Diagnostic]:
    architecture = graph.architecture
    seen: dict[tuple[str, str, str, str, bool], Edge] = {}
    # A weight that other edges have as well is bound to them.
    shared = {edge.owner for edge in graph.edges.values() if edge.tied}
    zero: list[str] = []
    for index, edge in enumerate(graph.edges.values()):
        at = (*architecture.edge_location(index), edge.kind.name)
        missing = edge.kind.dropped(graph.states[edge.source].shape)
        if missing:
            yield _warning(
                "dropped-pixels",
                f"{edge.kind.name} {edge.source}→{edge.target} drops pixels: {missing}",
                "change padding, stride or size if they should count",
                at,
            )
        if isinstance(edge.kind, Identity) and edge.kind.scale == 0:
            message = f"scale 0 of edge {edge.name}: no signal passes, and there is nothing to learn"
            yield _warning("zero-gain", message, "give a scale other than 0, or remove the edge", (*at, "scale"))
        if edge.weight_shape is not None and edge.weight_scale == 0:
            if architecture.edges[index].gain is None:
                zero.append(edge.name)
            else:
                yield _zero_gain([edge.name], (*at[:-1], "gain"))
        twin = edge
        if _adds_up(edge) and not {edge.name, edge.owner} & shared:
            # A fixed part and one that learns are two.
            same = (edge.source, edge.target, edge.kind.name, edge.kind.model_dump_json(), edge.frozen)
            twin = seen.setdefault(same, edge)
        if twin is not edge:
            yield _warning(
                "twin-edges",
                f"edge '{edge.name}' computes the same as '{twin.name}': together they act as one edge",
                "remove one of them, or give them different options",
                at,
            )
    if zero:
        yield _zero_gain(zero, ("defaults", "gain"))


def _adds_up(edge: Edge) -> bool:
    """Whether two edges of this kind and these options act as one such edge.

    Two low-rank products add up to twice the rank, and edges that are nonlinear in the source do not add up.
    """
    return edge.kind.is_linear and (edge.weight_shape is None or edge.kind.degree == 1)


def _zero_gain(names: list[str], at: Location) -> Diagnostic:
    weights = "weight of edge" if len(names) == 1 else "weights of edges"
    return _warning(
        "zero-gain",
        f"gain 0 makes the initial {weights} {listed(names)} zero, so no signal passes",
        "give a gain above 0, such as 0.5",
        at,
    )


def _too_few_steps(graph: NetworkGraph, schedule: Schedule) -> Iterator[Diagnostic]:
    architecture = graph.architecture
    forward, solver = graph.energy.feedforward, architecture.dynamics.chosen_solver
    if ESTIMATORS[architecture.learning.estimator].feedforward or (forward and solver.errors):
        return
    phases = [] if forward else [("free_steps", graph.input.name, "the input")]
    if not ESTIMATORS[architecture.learning.estimator].differentiates:
        phases.append(("nudged_steps", graph.output.name, "the nudge"))
    for key, start, what in phases:
        steps = getattr(architecture.dynamics, key)
        late = {name: n for name, n in _arrivals(graph, schedule, start).items() if n > steps}
        if late:
            most = max(late.values())
            yield _warning(
                "too-few-steps",
                f"{key} {steps} is too few for {what} to reach {_states(late)}: that takes {most} sweeps",
                f"{key}: {most} or more",
                ("dynamics", key),
            )


def _arrivals(graph: NetworkGraph, schedule: Schedule, start: str) -> dict[str, int]:
    """Number of the sweep in which a change at ``start`` first reaches each state."""
    turns: dict[str, list[int]] = {}
    for turn, names in enumerate(schedule.classes):
        for name in names:
            turns.setdefault(name, []).append(turn)
    neighbors: dict[str, list[str]] = {}
    for edge in graph.edges.values():
        # Errors go against the edges.
        if not graph.energy.feedforward:
            neighbors.setdefault(edge.source, []).append(edge.target)
        if not graph.reads_out(edge) or start == graph.output.name:
            neighbors.setdefault(edge.target, []).append(edge.source)
    length = len(schedule.classes)
    # The nudge acts when the output moves; the input acts from the beginning.
    first = turns[start][0] if start in turns else -1
    felt = {start: first}
    queue = [(first, start)]
    while queue:
        now, name = heapq.heappop(queue)
        if now > felt[name]:
            continue
        for other in neighbors.get(name, ()):
            if other not in turns:
                continue
            own = turns[other]
            sweep, turn = divmod(now, length)
            after = bisect_right(own, turn)
            then = sweep * length + own[after] if after < len(own) else (sweep + 1) * length + own[0]
            if then < felt.get(other, then + 1):
                felt[other] = then
                heapq.heappush(queue, (then, other))
    return {name: turn // length + 1 for name, turn in felt.items() if name != start}


def _states(names: Iterable[str]) -> str:
    states = list(names)
    return f"state{'s' * (len(states) > 1)} {listed(states)}"


def _warning(rule: str, message: str, hint: str, at: Location, on_key: bool = False) -> Diagnostic:
    return Diagnostic(message, hint, at, on_key, severity="warning", rule=rule)
