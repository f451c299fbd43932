"""Tied and frozen weights: the owner of each weight, and whether two edges can share it."""

from __future__ import annotations

from epgraph.costs import COSTS
from epgraph.errors import Diagnostic, Location, Suggestions
from epgraph.kinds import Shape
from epgraph.language import Architecture

MOST_SHOWN = 12
"""Largest number of edges in the message about a circle of ties."""


def owners(architecture: Architecture, names: list[str]) -> dict[int, int]:
    """Index of a tied edge → index of the edge that owns the weight, at the end of a chain of ties."""
    tied, _ = _follow(architecture, names)
    return tied


def check_ties(
    architecture: Architecture, names: list[str], shapes: dict[str, Shape], complete: bool
) -> list[Diagnostic]:
    """Report ties to unknown edges, to edges that cannot share their weight, and from frozen to other edges.

    Parameters
    ----------
    names
        Names of the edges.
    shapes
        Shapes of the states, of those that are known.
    complete
        Whether all edges of the file are there; otherwise one that is not may have been left out.
    """
    tied, diagnostics = _follow(architecture, names)
    if not complete:
        diagnostics = []
    for index, owner in tied.items():
        edge, other = architecture.edges[index], architecture.edges[owner]
        at: Location = (*architecture.edge_location(index), "tie")
        pair = f"edge '{names[index]}' cannot be tied to '{names[owner]}'"
        if edge.kind.name != other.kind.name:
            message = f"{pair}: one has the kind {edge.kind.name}, the other {other.kind.name}"
            diagnostics.append(Diagnostic(message, f"make both {other.kind.name}, or leave 'tie' out", at, rule="tie"))
            continue
        if edge.frozen and not other.frozen:
            message = f"edge '{names[index]}' is frozen, and '{names[owner]}', whose weight it shares, is not"
            where: Location = (*architecture.edge_location(index), "frozen")
            diagnostics.append(Diagnostic(message, f"write frozen: true at '{names[owner]}'", where, rule="tie"))
        diagnostics += _unlike(architecture, index, owner, shapes, pair)
    return diagnostics


def _unlike(
    architecture: Architecture, index: int, owner: int, shapes: dict[str, Shape], pair: str
) -> list[Diagnostic]:
    """Report why two edges of one kind cannot share a weight; nothing if a shape is unknown."""
    both = [architecture.edges[i] for i in (index, owner)]
    if not {name for edge in both for name in (edge.source, edge.target)} <= shapes.keys():
        return []
    at: Location = (*architecture.edge_location(index), "tie")
    mine, its = (edge.kind.weight_shape(shapes[edge.source], shapes[edge.target]) for edge in both)
    if its is None:
        return [Diagnostic(f"{pair}: {both[1].kind.name} has no weight", "leave 'tie' out", at, rule="tie")]
    if mine != its:
        message = f"{pair}: their weights are {_text(mine)} and {_text(its)}"
        same = "states of equal shapes"
        if "kernel" in type(both[0].kind).model_fields and len(mine or ()) == 4:
            same = "states of equal channels and kernels of equal size"
        return [Diagnostic(message, f"give both edges {same}, or leave 'tie' out", at, rule="tie")]
    if acts_back(architecture, index) != acts_back(architecture, owner):
        message = f"{pair}: one of the two has a feedback weight of its own, and the other does not"
        return [Diagnostic(message, "set learning.feedback: tied, or leave 'tie' out", at, rule="tie")]
    return []


def acts_back(architecture: Architecture, index: int) -> bool:
    """Whether an edge, if it has a weight, acts on its source through a second one."""
    edge = architecture.edges[index]
    # The input does not move, and through a readout only the nudge acts back, by the edge's own weight.
    fixed = {architecture.input.name}
    if COSTS[architecture.output.cost].readout:
        fixed.add(architecture.output.name)
    untied = architecture.learning.feedback == "untied" and not edge.kind.unary
    return untied and not fixed & {edge.source, edge.target}


def _follow(architecture: Architecture, names: list[str]) -> tuple[dict[int, int], list[Diagnostic]]:
    ties = {index: edge.tie for index, edge in enumerate(architecture.edges) if edge.tie is not None}
    if not ties:
        return {}, []
    index_of = {name: index for index, name in enumerate(names)}
    suggest = Suggestions(names)
    # The edge at the end of every chain, None where it has none, so that each tie is followed once.
    ends: dict[int, int | None] = {}
    faults: dict[int, tuple[str, str]] = {}
    for start in ties:
        path: dict[int, None] = {}
        here: int | None = start
        while here is not None and here not in ends and here not in path:
            path[here] = None
            name = ties.get(here)
            if name is None:
                ends[here] = here
            elif (step := index_of.get(name)) is None:
                faults[here] = (f"'tie' names no edge: '{name}'", suggest(name))
                here = None
            else:
                here = step
        if here is not None and here not in ends:
            # Every edge that leads into a circle is at fault; it is said once, at the first of the circle.
            walk = list(path)
            circle = walk[walk.index(here) :]
            first = circle.index(min(circle))
            circle = [*circle[first:], *circle[: first + 1]]
            way = " → ".join(_shortened([f"'{names[i]}'" for i in circle]))
            faults[circle[0]] = (f"edges are tied in a circle: {way}", "leave 'tie' out of one of them")
            here = None
        end = None if here is None else ends[here]
        ends.update((index, end) for index in path if index not in ends)
    tied = {index: end for index in ties if (end := ends[index]) is not None}
    diagnostics = [
        Diagnostic(*faults[index], (*architecture.edge_location(index), "tie"), rule="tie") for index in sorted(faults)
    ]
    return tied, diagnostics


def _shortened(names: list[str]) -> list[str]:
    return names if len(names) <= MOST_SHOWN else [*names[: MOST_SHOWN - 2], "…", names[-1]]


def _text(shape: Shape | None) -> str:
    return "×".join(map(str, shape or ()))
