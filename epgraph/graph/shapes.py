"""Shape inference: propagate shapes along the edges, and check both ends of every edge."""

from __future__ import annotations

import heapq
from dataclasses import replace

from epgraph.errors import Diagnostic
from epgraph.graph.checks.names import Ends
from epgraph.kinds import EdgeKind, Shape, ShapeError, shape_text
from epgraph.language import Architecture
from epgraph.language.model import MAX_UNITS

SUPPOSED = 256
"""Height and width that a state without any is supposed to have, to see what would follow from it."""

MOST_SUPPOSED = 100
"""States of which this is supposed: each takes the time of an inference."""

MOST_RELATED = 3
"""Other edges that are named beside one that does not fit."""

Reasons = dict[str, tuple[Ends, str]]
"""State → the edge from which its shape follows, and the other end of that edge."""


def infer_shapes(
    architecture: Architecture, ends: list[Ends], complete: bool = True
) -> tuple[dict[str, Shape], list[Diagnostic]]:
    """Infer the shape of every state, in time E log E for E edges.

    Known shapes (input, output, states with ``shape``) propagate along the edges: forwards if the kind has a rule,
    backwards if only one source shape is possible. The first edge in file order that fixes a shape wins; all other
    edges of the state are checked against it. A state without a shape is a mistake only if the edges are ``complete``.

    Returns
    -------
    shapes
        State → inferred shape.
    diagnostics
        Every edge that does not fit, and every state without a shape.
    """
    ends = [edge for edge in ends if not architecture.shapeless & {edge.source, edge.target}]
    channels: dict[str, int | None] = {name: state.channels for name, state in architecture.states.items()}
    shapes: dict[str, Shape] = {architecture.input.name: architecture.input.shape}
    shapes |= {name: s.shape for name, s in architecture.states.items() if s.shape is not None}
    shapes[architecture.output.name] = architecture.output.units
    shapes = {name: shape for name, shape in shapes.items() if name not in architecture.shapeless}
    fixed_by = _spread(architecture, ends, channels, shapes)
    problems = _misfits(architecture, ends, channels, shapes, fixed_by)
    # A state without a shape behind a faulty edge is no further mistake.
    if complete and not problems:
        problems += _unknown(architecture, shapes, ends, channels)
    problems += [
        Diagnostic(
            f"state '{name}' of {shape_text(shape)} has more than {MAX_UNITS:,} units",
            "choose a smaller shape",
            _at(architecture, name),
            rule="out-of-range",
        )
        for name, shape in shapes.items()
        if _units(shape) > MAX_UNITS
    ]
    return shapes, problems


def _spread(
    architecture: Architecture,
    ends: list[Ends],
    channels: dict[str, int | None],
    shapes: dict[str, Shape],
) -> Reasons:
    """Add the shapes that follow from the known ones, and return for each the edge that fixed it."""
    fixed_by: Reasons = {}
    incident: dict[str, list[Ends]] = {}
    for edge in ends:
        incident.setdefault(edge.source, []).append(edge)
        incident.setdefault(edge.target, []).append(edge)

    # Of the edges with a known end, the first in the file goes first: the main path, which is written before the
    # skip over it, fixes a size. A skip that disagrees is reported, with the edges of the path as related places.
    ready = [(edge.index, end) for end in shapes for edge in incident.get(end, ())]
    heapq.heapify(ready)
    by_index = {edge.index: edge for edge in ends}
    while ready:
        index, start = heapq.heappop(ready)
        edge = by_index[index]
        forward = edge.source == start
        other = edge.target if forward else edge.source
        if other in shapes:
            continue
        kind = architecture.edges[index].kind
        try:
            rule = kind.target_shape if forward else kind.source_shape
            shape = rule(shapes[start], channels.get(other))
        except ShapeError:
            continue  # reported by _misfits, where every edge is checked once
        if shape is not None and channels.get(other) in (None, shape[0]):
            shapes[other] = shape
            fixed_by[other] = edge, start
            for next_edge in incident[other]:
                heapq.heappush(ready, (next_edge.index, other))
    return fixed_by


def _misfits(
    architecture: Architecture,
    ends: list[Ends],
    channels: dict[str, int | None],
    shapes: dict[str, Shape],
    fixed_by: Reasons,
) -> list[Diagnostic]:
    """Return a diagnostic for every edge that does not fit the shapes of its ends."""
    problems: list[Diagnostic] = []
    for edge in ends:
        if edge.source not in shapes:
            continue
        kind = architecture.edges[edge.index].kind
        source = shapes[edge.source]
        target = shapes.get(edge.target)
        try:
            if target is None:
                _check_channels(kind, source, channels.get(edge.target))
            else:
                kind.check(source, target)
        except ShapeError as error:
            reason = None if kind.unary else fixed_by.get(edge.target)
            why = f" (fixed by the edge {_between(reason[0], False)})" if reason and target is not None else ""
            problems.append(
                Diagnostic(
                    f"shape mismatch: {kind.name} {_between(edge, kind.unary)} {error.message}{why}",
                    error.hint,
                    (*edge.at, kind.name),
                    rule="shape-mismatch",
                    related=_related(architecture, edge, shapes, fixed_by),
                )
            )
    return problems


def _related(
    architecture: Architecture, misfit: Ends, shapes: dict[str, Shape], fixed_by: Reasons
) -> tuple[Diagnostic, ...]:
    """Return the other places where a mismatch may come from: what gave the ends of the edge their shapes.

    Both ends are followed back to a state on which both shapes depend. With the misfit these edges are a circle, and
    any edge of it may be the wrong one.
    """
    gives = _gives(architecture.edges[misfit.index].kind, shapes[misfit.source], shapes.get(misfit.target))
    target, source = (_path(end, fixed_by) for end in (misfit.target, misfit.source))
    if gives is None:
        target = []  # the source alone is at fault, whatever the target is
    elif len(gives) != len(shapes[misfit.target]):
        source = []  # pixels into units, or units into pixels: no size of the source would help
    common = {*target} & {*source}
    found = [_given(architecture, state, shapes, fixed_by) for state in (*target, *source) if state not in common]
    if gives is not None and misfit.target in fixed_by and misfit.target not in common:
        found[0] = replace(found[0], hint=_agreeing(architecture, fixed_by[misfit.target][0], shapes, gives))
    # All instances of a block have one place in the file.
    apart = {architecture.place(one.at[:2]): one for one in reversed(found) if one.at}
    apart.pop(architecture.place(misfit.at), None)
    return tuple(reversed(apart.values()))[:MOST_RELATED]


def _gives(kind: EdgeKind, source: Shape, target: Shape | None) -> Shape | None:
    """Return the shape that a kind gives; None where it cannot use the source, or the target is not known."""
    try:
        return None if target is None else kind.target_shape(source, target[0])
    except ShapeError:
        return None


def _path(state: str, fixed_by: Reasons) -> list[str]:
    """Return the states on which the shape of a state depends, itself first."""
    path = [state]
    while path[-1] in fixed_by:
        path.append(fixed_by[path[-1]][1])
    return path


def _given(architecture: Architecture, state: str, shapes: dict[str, Shape], fixed_by: Reasons) -> Diagnostic:
    """Say what gave a state its shape; without a location where that is the shape of the input or the output."""
    if state not in fixed_by:
        at = ("states", state, "shape") if state in architecture.states else ()
        return Diagnostic(f"'{state}' is declared as {shape_text(shapes[state])}", at=at, rule="shape-mismatch")
    edge = fixed_by[state][0]
    kind = architecture.edges[edge.index].kind
    result, origin = shape_text(shapes[edge.target]), shape_text(shapes[edge.source])
    message = f"{kind.name} {_between(edge, False)} gives {result} from {origin}"
    return Diagnostic(message, at=(*edge.at, kind.name), rule="shape-mismatch")


def _agreeing(architecture: Architecture, edge: Ends, shapes: dict[str, Shape], wanted: Shape) -> str:
    """Return the options with which an edge gives the wanted shape, as a hint; empty where there are none."""
    if edge.source not in shapes or len(shapes[edge.target]) != len(wanted):
        return ""
    hint = architecture.edges[edge.index].kind.suggest(shapes[edge.source], wanted)
    return hint if hint.endswith("would fit") else ""


def _check_channels(kind: EdgeKind, source: Shape, channels: int | None) -> None:
    """Raise if an edge gives another number of channels than the state declares."""
    shape = kind.target_shape(source, channels)
    if shape is not None and channels not in (None, shape[0]):
        target = (channels, *shape[1:])
        message = f"gives {shape_text(shape)} from {shape_text(source)}, but the target has channels: {channels}"
        raise ShapeError(message, kind.suggest(source, target))


def _between(edge: Ends, unary: bool) -> str:
    return f"at {edge.source}" if unary else f"{edge.source}→{edge.target}"


def _unknown(
    architecture: Architecture, shapes: dict[str, Shape], ends: list[Ends], channels: dict[str, int | None]
) -> list[Diagnostic]:
    """Return a diagnostic for every state without a shape, but for those whose shapes follow from another one's."""
    joined = {name for edge in ends for name in (edge.source, edge.target)}
    # A state without edges is reported as unreachable.
    left = [name for name in architecture.states if name not in shapes and name in joined]
    apart = [edge for edge in ends if edge.source not in shapes and edge.target not in shapes]
    supposed: dict[str, Shape] = {}
    diagnostics: list[Diagnostic] = []
    for name in left:
        if name in supposed:
            continue
        count = architecture.states[name].channels
        if count is None:
            message, hint = (
                f"the shape of state '{name}' is not known",
                "give it channels: C, or shape: [C, H, W]",
            )
        else:
            message = f"the height and width of state '{name}' do not follow from its edges"
            hint = f"give it shape: [{count}, H, W], or [{count}] for units without pixels"
            if len(diagnostics) < MOST_SUPPOSED:
                supposed[name] = (count, SUPPOSED, SUPPOSED)
                _spread(architecture, apart, channels, supposed)
        diagnostics.append(Diagnostic(message, hint, ("states", name), on_key=True, rule="unknown-shape"))
    return diagnostics


def _units(shape: Shape) -> int:
    product = 1
    for n in shape:
        product *= n
    return product


def _at(architecture: Architecture, name: str) -> tuple[str, ...]:
    if name in architecture.states:
        return ("states", name)
    return ("output",) if name == architecture.output.name else ("input",)
