"""Names of states and edges, and the ends of edges."""

from __future__ import annotations

from dataclasses import dataclass, replace

from epgraph.costs import COSTS
from epgraph.energies import ENERGIES
from epgraph.errors import Diagnostic, Location, Suggestions
from epgraph.kinds import Conv, Lateral
from epgraph.kinds.pixels import both
from epgraph.language import Architecture
from epgraph.language.model import EdgeBase
from epgraph.language.names import check_name


@dataclass(frozen=True)
class Ends:
    """An edge with existing ends, which differ unless it is unary; ``at`` is its location in the file."""

    index: int
    source: str
    target: str
    at: Location


def check_names(architecture: Architecture) -> list[Diagnostic]:
    """Check that names are legal, and that no two states and no two edges share one."""
    diagnostics = []
    owners = {architecture.input.name: "the input"}
    if architecture.output.name in owners:
        diagnostics.append(
            Diagnostic(
                f"duplicate name '{architecture.output.name}': input and output share it",
                "give one of them another name",
                ("output", "name"),
                rule="duplicate-name",
            )
        )
    owners[architecture.output.name] = "the output"
    for name in architecture.states:
        at: Location = ("states", name)
        if problem := check_name(name, at):
            diagnostics.append(problem)
        elif name in owners:
            diagnostics.append(
                Diagnostic(
                    f"duplicate name '{name}': {owners[name]} has it",
                    "choose another name",
                    at,
                    on_key=True,
                    rule="duplicate-name",
                )
            )
    first: dict[str, int] = {}
    for index, edge in enumerate(architecture.edges):
        if edge.name is None:
            continue
        if edge.name in first:
            diagnostics.append(
                Diagnostic(
                    f"duplicate name '{edge.name}': edges[{first[edge.name]}] has it",
                    "choose another name, or leave it out",
                    (*architecture.edge_location(index), "name"),
                    rule="duplicate-name",
                )
            )
        first.setdefault(edge.name, index)
    return diagnostics


def check_ends(architecture: Architecture) -> tuple[list[Ends], list[Diagnostic]]:
    """Return the edges with valid ends, and a diagnostic for each of the others."""
    states = [architecture.input.name, *architecture.states, architecture.output.name]
    names = set(states)
    good: list[Ends] = []
    diagnostics: list[Diagnostic] = []
    unknown: dict[str, list[int]] = {}
    roles = {"input": architecture.input.name, "output": architecture.output.name}
    suggest = Suggestions(states, roles)
    forward = ENERGIES[architecture.energy].feedforward
    for index, edge in enumerate(architecture.edges):
        at = architecture.edge_location(index)
        written = [("from", edge.source), ("to", edge.target)] if edge.at is None else [("at", edge.at)]
        missing = [(key, end) for key, end in written if end not in names]
        for key, end in missing:
            message = f"'{key}' names no state: '{end}'"
            unknown.setdefault(end, []).append(len(diagnostics))
            diagnostics.append(Diagnostic(message, suggest(end), (*at, key), rule="unknown-state"))
        if edge.at is not None:
            problem = None if missing else _no_unary(architecture, edge.at, edge.kind.name)
            if problem:
                diagnostics.append(Diagnostic(*problem, (*at, "at"), rule="edge-kind"))
            elif not missing:
                good.append(Ends(index, edge.source, edge.target, at))
        elif edge.source == edge.target and not missing:
            diagnostics.append(
                Diagnostic(
                    f"self-loop: the edge joins '{edge.source}' to itself, "
                    + (
                        "and a forward pass needs states one after the other"
                        if forward
                        else "so Φ is quadratic in that state and its update no longer minimizes F"
                    ),
                    _instead_of_loop(architecture, edge, at),
                    (*at, "to"),
                    rule="self-loop",
                )
            )
        elif not missing:
            # Such an edge is refused by an energy that reads edges forward.
            if edge.source == architecture.output.name and not forward:
                diagnostics.append(
                    Diagnostic(
                        f"the edge leaves the output '{edge.source}': its initial weights are scaled for the fan-in of "
                        f"'{edge.target}', which is small here, and may be too large in the other direction",
                        "write it into the output; an edge acts both ways",
                        (*at, "from"),
                        severity="warning",
                        rule="edge-from-output",
                    )
                )
            good.append(Ends(index, edge.source, edge.target, at))
    return good, _folded(diagnostics, unknown)


MISSING = 3
"""A name that so many ends have is taken for a state that is missing, and not for a slip: it is reported once."""


def _folded(diagnostics: list[Diagnostic], unknown: dict[str, list[int]]) -> list[Diagnostic]:
    """Report a missing state once; ``unknown`` has the positions of the diagnostics about each name."""
    left_out = set[int]()
    found = list(diagnostics)
    for end, (first, *others) in unknown.items():
        if len(others) + 1 < MISSING:
            continue
        left_out |= {*others}
        problem = found[first]
        more = f"{len(others)} more ends of edges name '{end}': if the state is missing, add it to 'states'"
        found[first] = replace(problem, hint="; ".join(filter(None, [problem.hint, more])))
    return [problem for index, problem in enumerate(found) if index not in left_out]


def _instead_of_loop(architecture: Architecture, edge: EdgeBase, at: Location) -> str:
    """Hint for an edge from a state to itself."""
    hint = "join it to another state"
    if ENERGIES[architecture.energy].feedforward or _no_unary(architecture, edge.source, "self"):
        return hint
    options = ""
    if isinstance(edge.kind, Conv | Lateral) and edge.kind.kernel is not None:
        # The kernel of 'self' is square and odd.
        options = f"kernel: {max(both(edge.kind.kernel)) | 1}"
    name = architecture.written((*at, "from"), edge.source)
    return f"{hint}, or write {{at: {name}, self: {{{options}}}}} in its place"


def _no_unary(architecture: Architecture, name: str, kind: str) -> tuple[str, str] | None:
    """Message and hint for a unary edge at a state where it has no effect; None elsewhere."""
    if name == architecture.input.name:
        return f"'{kind}' acts on the input '{name}', which is clamped and does not move", "put it on another state"
    cost = architecture.output.cost
    if name == architecture.output.name and COSTS[cost].readout:
        reason = f"'{kind}' acts on the output '{name}', but with {cost} the output has no dynamics"
        return reason, "put it on another state, or use another cost"
    return None
