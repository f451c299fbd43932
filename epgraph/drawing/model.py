"""What a diagram shows, whatever the format: boxes, lines between them, frames around blocks or stages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import networkx as nx

from epgraph.drawing.blocks import Blocks, View, all_frames, frame_label
from epgraph.errors import EpgraphError
from epgraph.graph import Edge, NetworkGraph, Schedule, State
from epgraph.kinds import shape_text
from epgraph.lowering import Plan

MOST_CLASSES = 4
"""Classes of one box that are listed."""

_UNITS = ("", "k", "M", "G", "T", "P", "E")


@dataclass(frozen=True)
class Box:
    """A state, or a block that is drawn closed.

    Attributes
    ----------
    key
        Its name in the diagram, which no other box has.
    rows
        Text below the name.
    classes
        Numbers of the classes in which its states move; none if it is clamped.
    side
        Larger side of its image in pixels; 1 without an image.
    stage
        Height and width of its image; empty without an image.
    """

    key: str
    name: str
    rows: tuple[str, ...]
    role: Literal["input", "hidden", "output", "block"]
    classes: tuple[int, ...]
    side: int
    stage: tuple[int, ...] = ()
    frames: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """An edge, or equal edges that are drawn once.

    Attributes
    ----------
    tail, head
        Keys of boxes, in the direction of the layout.
    flipped
        Whether that is against the direction of the edge.
    title
        Explicit name of the edge, or empty.
    parts
        Its kind and options, in pieces.
    weights
        Number of weights and remarks, or empty.
    parameters
        Number of weights.
    conflict
        Whether its two states move together.
    directed
        Whether it is read in one direction.
    span
        Number of columns that it crosses.
    """

    tail: str
    head: str
    kind: str
    title: str
    parts: tuple[str, ...]
    weights: str
    parameters: int
    conflict: bool
    flipped: bool
    directed: bool
    unary: bool
    span: int
    married: bool = False


@dataclass(frozen=True)
class Frame:
    """A rectangle around the boxes of a block or a stage; ``path`` names it and those around it."""

    path: tuple[str, ...]
    label: str


@dataclass
class Diagram:
    """A network as it is drawn.

    Attributes
    ----------
    column
        Key of a box → its place from the input on, counted in edges.
    married
        Whether pairs that no edge joins are drawn: None if not asked for, else whether there are any.
    """

    plan: Plan
    boxes: dict[str, Box]
    lines: list[Line]
    frames: list[Frame]
    column: dict[str, int]
    married: bool | None = None
    last: str = ""
    view: View = field(default_factory=View)

    @property
    def span(self) -> int:
        """Columns that all lines cross together: the work of a layout grows with it."""
        return sum(line.span for line in self.lines)

    @property
    def beyond_output(self) -> bool:
        """Whether some boxes lie beyond the output."""
        return any(place >= self.column[self.last] for key, place in self.column.items() if key != self.last)


def diagram(
    graph: NetworkGraph, plan: Plan, *, moral: bool = False, depth: int | Literal["all"] | None = None
) -> Diagram:
    """Return what to draw of a network, with ``depth`` levels of blocks opened as ``Blocks.view`` does."""
    blocks = Blocks(graph)
    view = blocks.view(depth)
    moves = _moves(plan.schedule)
    boxes = {
        key: _box(key, [graph.states[name] for name in names], moves, graph, view)
        for key, names in view.members.items()
    }
    kept = [
        (edge, view.box[edge.source], view.box[edge.target])
        for edge in graph.edges.values()
        if not view.implied(edge, blocks.path)
    ]
    kept = [(e, a, b) for e, a, b in kept if a != b or (e.unary and boxes[a].role != "block")]
    flipped, column = _columns(list(boxes), [(a, b) for e, a, b in kept if not e.unary], view.box[graph.input.name])
    conflicts = {edge.name for edge in plan.schedule.conflicts}
    whole = len(boxes) == len(graph.states)  # then parallel edges are not equal ones of other blocks
    merged: dict[tuple[object, ...], list[Line]] = {}
    for edge, a, b in kept:
        line = _line(edge, a, b, edge.name in conflicts, graph.one_way, column, flipped)
        same = (line.tail, line.head, line.flipped, edge.kind.label(), edge.frozen, edge.parameters)
        merged.setdefault((edge.name,) if whole else same, []).append(line)
    lines = [_merged(group, view, boxes) for group in merged.values()]
    pairs = _married(graph) if moral else None
    clashes: dict[tuple[str, str], bool] = {}
    for one, other in pairs or ():
        ends = view.box[one], view.box[other]
        clashes[ends] = clashes.get(ends, False) or (one, other) in plan.schedule.unjoined
    for (tail, head), clash in clashes.items():
        if tail != head:
            lines.append(Line(tail, head, "", "", (), "", 0, clash, False, False, False, 0, married=True))
    boxes, frames = _framed(boxes, view)
    married = None if pairs is None else bool(pairs)
    return Diagram(plan, boxes, lines, frames, column, married, view.box[graph.output.name], view)


def _framed(boxes: dict[str, Box], view: View) -> tuple[dict[str, Box], list[Frame]]:
    """Return boxes and frames without frames that only surround another one, unless both say how often."""
    inside: dict[tuple[str, ...], set[str]] = {}
    for path in all_frames(view):
        inside[path] = {key for key, box in boxes.items() if box.frames[: len(path)] == path}
    dropped = set()
    for path, keys in inside.items():
        if inside.get(path[:-1]) == keys:
            said = path[-1] in view.times
            dropped |= {path[-2]} if said and path[-2] not in view.times else set() if said else {path[-1]}

    def kept(path: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in path if name not in dropped)

    frames = [Frame(kept(path), frame_label(path[-1], view)) for path in inside if path[-1] not in dropped]
    return {key: replace(box, frames=kept(box.frames)) for key, box in boxes.items()}, frames


def in_stages(diagram: Diagram) -> Diagram:
    """Return the diagram with a frame around every row of states whose images have one size."""
    order = sorted(diagram.boxes.values(), key=lambda box: diagram.column[box.key])
    boxes, frames = dict(diagram.boxes), list[Frame]()
    previous: tuple[int, ...] | None = None
    for box in order:
        if box.role in ("input", "output"):
            continue
        if box.stage != previous:
            label = "×".join(map(str, box.stage)) if box.stage else "no image"
            frames.append(Frame((f"stage {len(frames) + 1}",), label))
            previous = box.stage
        boxes[box.key] = replace(box, frames=frames[-1].path)
    return replace(diagram, boxes=boxes, frames=frames)


def count(n: int) -> str:
    """Write a number in three digits: ``147k``, ``1.18M``."""
    rounded = float(f"{n:.3g}")
    power = min((len(f"{rounded:.0f}") - 1) // 3, len(_UNITS) - 1)
    return f"{rounded / 1000**power:.3g}{_UNITS[power]}"


def _married(graph: NetworkGraph) -> list[tuple[str, str]]:
    """Pairs of states that move and that the energy couples, without those that an edge joins."""
    if graph.by_backprop:
        reason = "moral: a forward pass reads states along the edges alone"
        raise EpgraphError(reason, "leave it out, or use another estimator than backprop")
    if not graph.energy.feedforward:
        reason = f"moral: energy {graph.architecture.energy} couples states along their edges alone"
        raise EpgraphError(reason, "leave it out, or use energy: predictive")
    joined = {edge.ends for edge in graph.edges.values()}
    pairs = {frozenset(pair): pair for pair in reversed([*graph.energy.interactions(graph)])}
    return [pair for ends, pair in reversed(pairs.items()) if ends not in joined]


def _moves(schedule: Schedule) -> dict[str, list[int]]:
    """Numbers of the classes in which each state moves: one, except under ``forward_backward``."""
    moves: dict[str, list[int]] = {}
    for number, states in enumerate(schedule.classes, 1):
        for state in states:
            moves.setdefault(state, []).append(number)
    return moves


def _columns(keys: list[str], edges: list[tuple[str, str]], first: str) -> tuple[bool, dict[str, int]]:
    """Return whether edges are laid out by the order of declaration, and the column of every box.

    The interaction is symmetric, so a direction is only notation. Where the directions lead from the input to every
    state without a cycle, columns follow them. Otherwise columns follow the order of declaration.
    """
    directed: nx.DiGraph[str] = nx.DiGraph()
    directed.add_nodes_from(keys)
    directed.add_edges_from(edges)
    follow = nx.is_directed_acyclic_graph(directed) and all(
        (degree == 0) == (key == first) for key, degree in directed.in_degree()
    )
    if not follow:
        place = {key: i for i, key in enumerate(keys)}
        directed = nx.DiGraph()
        directed.add_nodes_from(keys)
        directed.add_edges_from((a, b) if place[a] < place[b] else (b, a) for a, b in edges)
    column: dict[str, int] = {}
    for key in nx.topological_sort(directed):
        column[key] = max((column[before] + 1 for before in directed.predecessors(key)), default=0)
    return not follow, column


def _box(key: str, states: list[State], moves: dict[str, list[int]], graph: NetworkGraph, view: View) -> Box:
    first, last = states[0], states[-1]
    stage = last.shape[1:]
    side = max(stage, default=1)
    classes = tuple(sorted({number for state in states for number in moves.get(state.name, ())}))
    frames = view.frames[key]
    one, several = ("step", "steps") if graph.by_backprop else ("class", "classes")
    which = f"{one} {', '.join(map(str, classes))}"
    if len(classes) > MOST_CLASSES:
        which = f"{several} {classes[0]} … {classes[-1]}"
    if key.startswith("block "):
        instance = key.removeprefix("block ")
        n, _ = view.times.get(instance, (1, ""))
        inside = len(states) // n
        many = f"{inside} states{' each' * (n > 1)}" if inside > 1 else last.activation.label
        content = (shape_text(last.shape), many, which)
        return Box(key, frame_label(instance, view), content, "block", classes, side, stage, frames)
    if first.clamped:
        return Box(key, first.name, (shape_text(first.shape), "clamped"), "input", (), side, stage, frames)
    activations = dict.fromkeys(state.activation.label for state in states)
    rows = [shape_text(first.shape), *activations]
    if first.role == "output":
        cost = graph.architecture.output.cost.replace("_", " ")
        return Box(key, first.name, (*rows, "output", cost, which), "output", classes, side, stage, frames)
    return Box(key, first.name, (*rows, which), "hidden", classes, side, stage, frames)


def _line(
    edge: Edge, source: str, target: str, conflict: bool, directed: bool, column: dict[str, int], by_order: bool
) -> Line:
    span = column[target] - column[source]
    flipped = by_order and span < 0
    default_name = f"{edge.source}_{edge.kind.name if edge.unary else edge.target}"
    weights = count(edge.parameters) + ", frozen" * edge.frozen if edge.parameters else ""
    weights = "\n".join(filter(None, (weights, f"weight of {edge.tied}" if edge.tied else "")))
    return Line(
        tail=target if flipped else source,
        head=source if flipped else target,
        kind=edge.kind.name,
        title="" if edge.name == default_name else edge.name,
        parts=tuple(edge.kind.label().split(", ")),
        weights=weights,
        parameters=edge.parameters,
        conflict=conflict,
        flipped=flipped,
        directed=directed,
        unary=edge.unary,
        span=abs(span),
    )


def _merged(lines: list[Line], view: View, boxes: dict[str, Box]) -> Line:
    """Draw equal edges once; how many there are is said unless a frame or a closed block says it."""
    first = replace(lines[0], conflict=any(line.conflict for line in lines))
    said = {1}
    for key in (first.tail, first.head):
        inside = (*boxes[key].frames, key.removeprefix("block "))
        said.add(math.prod(view.times[instance][0] for instance in inside if instance in view.times))
    if len(lines) in said and (len(lines) == 1 or first.tail.startswith("block ") is first.head.startswith("block ")):
        return first
    title = f"× {len(lines)}" if not first.title else f"{first.title} × {len(lines)}"
    return replace(first, title=title)


def used_kinds(diagram: Diagram) -> list[str]:
    """Names of the kinds of edges that are drawn, in order."""
    return list(dict.fromkeys(line.kind for line in diagram.lines if not line.married))
