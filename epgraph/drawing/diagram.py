"""The network as a diagram: states as boxes colored by update class, edges styled by kind."""

from __future__ import annotations

import os
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import networkx as nx

from epgraph.arguments import choice, flag
from epgraph.arguments import path as file_path
from epgraph.drawing.formats import suffix
from epgraph.drawing.layout import layout
from epgraph.errors import EpgraphError, visible
from epgraph.files import write_bytes
from epgraph.graph import SCHEDULES, Edge, NetworkGraph, Schedule, State, checked
from epgraph.kinds import shape_text
from epgraph.language import Architecture
from epgraph.lowering import Plan, lower

FORMATS = ("svg", "png", "pdf", "dot", "gv")
"""Suffixes that ``render`` writes."""

# DejaVu Sans and Verdana have equal widths, so labels fit their boxes even if the viewer of an SVG lacks the font
# of the layout.
FONT = "DejaVu Sans,Verdana,sans-serif"
INK = "#1a1a1a"
GREY = "#555555"
ALARM = "#b3261e"

# Tints of the color-blind-safe palette of Okabe and Ito. The first three, enough for most networks, differ in
# lightness too. Every box also names its class.
TINTS = ("#d3e9f8", "#f3c26b", "#6fbfa3", "#f6eea0", "#e3b4d0", "#8dbbe0", "#f0b48f", "#c9c9c9")

# Edges have labels up to this sum of the columns that they cross. Above it labels cannot be matched to edges, and dot
# needs minutes to place them.
MAX_LABELED_COLUMNS = 1500

# From this number of columns on the diagram runs from top to bottom: a page scrolls downwards, not sideways.
MIN_VERTICAL_COLUMNS = 14


@dataclass(frozen=True)
class Stroke:
    """Line style of the edges of a kind. Kinds differ in more than color."""

    style: str
    color: str
    width: float
    lines: int = 1

    @property
    def label(self) -> str:
        """The line style in one or two words."""
        lines = ("", "double", "triple")[self.lines - 1]
        return lines if lines and self.style == "solid" else f"{lines} {self.style}".strip()


STROKES = {
    "conv": Stroke("solid", "#3c3c3c", 1.4),
    "dense": Stroke("solid", "#000000", 1.1, lines=2),
    "skip": Stroke("dashed", "#0072b2", 1.6),
    "identity": Stroke("dotted", "#00735c", 2.0),
    "conv_transpose": Stroke("solid", "#8a4b08", 0.9, lines=3),
    "pool": Stroke("dotted", "#3c3c3c", 1.6, lines=2),
    "lateral": Stroke("dashed", "#7a5c00", 1.2, lines=2),
    "self": Stroke("solid", "#a0522d", 1.4),
    "memory": Stroke("dashed", "#7a3b8f", 1.6),
}
MARRIED_COLOR = "#8a8a8a"
MARRIED = {"style": "dashed", "penwidth": "1", "dir": "none", "constraint": "false"}
"""Line style of pairs that no edge joins."""
OTHER = Stroke("bold", "#7a3b8f", 2.4)
"""Line style of kinds that are not in ``STROKES``; their labels name them."""

_UNITS = ("", "k", "M", "G", "T", "P", "E")


def dot(
    architecture: Architecture | str | os.PathLike[str], schedule: str | None = None, *, moral: bool = False
) -> str:
    """Return the diagram as DOT source; the same architecture gives the same text, byte for byte.

    Parameters
    ----------
    architecture
        An architecture, or a path or YAML text to load.
    schedule
        Update schedule to show (a key of ``SCHEDULES``); by default the architecture's own.
    moral
        Draw the pairs of states that no edge joins although one reads the other: with the energy ``predictive`` those
        with edges into one state, which complete the moral graph.

    Raises
    ------
    EpgraphError
        If the network has mistakes, the schedule is unknown, or the energy has no such pairs for ``moral``.
    """
    import graphviz

    graph = checked(architecture, None if schedule is None else choice("schedule", schedule, SCHEDULES))
    married = _married(graph) if flag("moral", moral) else None
    architecture = graph.architecture
    name = schedule or architecture.dynamics.schedule
    plan = lower(graph, name)
    moves = _moves(plan.schedule)
    conflicts = {edge.name for edge in plan.schedule.conflicts}
    flipped, column = _columns(graph)
    spans = {edge.name: abs(column[edge.target] - column[edge.source]) for edge in graph.edges.values()}
    labeled = sum(spans.values()) <= MAX_LABELED_COLUMNS

    picture = graphviz.Digraph("network")
    # Labels widen the gap between columns. Without labels the arrows need a wider one.
    nodesep, ranksep = ("0.3", "0.18") if labeled else ("0.1", "0.5")
    long = max(column.values()) >= MIN_VERTICAL_COLUMNS
    picture.attr(rankdir="TB" if long else "LR", nodesep=nodesep, ranksep=ranksep, pad="0.2")
    picture.attr(label=_caption(plan, labeled, married), labelloc="t" if long else "b", labeljust="l")
    picture.attr(fontname=FONT, fontsize="12", fontcolor=INK)
    picture.attr("node", fontname=FONT, fontsize="13", fontcolor=INK, color=INK, margin="0.08,0.06")
    picture.attr("edge", fontname=FONT, fontsize="11", fontcolor=INK, arrowsize="0.8")
    for state in graph.states.values():
        picture.node(state.name, **_box(state, moves, graph))
    for edge in graph.edges.values():
        line = _line(edge, edge.name in conflicts, edge.name in flipped, graph.energy.feedforward)
        if labeled:
            line["label"] = _label(edge, edge.name in conflicts, spacing=5 if long else 2)
        # A heavy edge keeps states of neighboring columns in line; an edge over more columns bends around them.
        line["weight"] = "100" if spans[edge.name] == 1 else "1"
        tail, head = (edge.target, edge.source) if edge.name in flipped else (edge.source, edge.target)
        picture.edge(tail, head, **line)
    for one, other in married or ():
        clash = (one, other) in plan.schedule.unjoined
        picture.edge(one, other, **MARRIED, color=ALARM if clash else MARRIED_COLOR)
    if any(place >= column[graph.output.name] for name, place in column.items() if name != graph.output.name):
        # Some states lie beyond the output. The output is drawn last all the same.
        with picture.subgraph() as last:
            last.attr(rank="max")
            last.node(graph.output.name)
    return str(picture.source)


def render(
    architecture: Architecture | str | os.PathLike[str],
    path: str | os.PathLike[str],
    schedule: str | None = None,
    *,
    moral: bool = False,
    report: Callable[[str], None] = warnings.warn,
) -> Path:
    """Draw the network to a file; its suffix is the format: ``.svg``, ``.png``, ``.pdf``, ``.dot`` or ``.gv``.

    Parameters
    ----------
    path
        File to write; missing directories are created.
    architecture, schedule, moral
        As for ``dot``.
    report
        Called with a sentence if the full layout took longer than ``layout.TIMEOUT_SECONDS`` and a simpler one was
        drawn; by default ``warnings.warn``.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    EpgraphError
        As for ``dot``, and if the suffix is unknown or the file cannot be written.
    """
    path = file_path("path", path)
    format = suffix(path, FORMATS)
    source = dot(architecture, schedule, moral=moral)
    if format in ("dot", "gv"):
        return write_bytes(path, source.encode())
    picture, note = layout(source, format, source.count("\n"))
    if note:
        report(f"{path}: {note}")
    return write_bytes(path, picture)


def _married(graph: NetworkGraph) -> list[tuple[str, str]]:
    """Pairs of states that move and that the energy couples, without those that an edge joins."""
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


def _tint(number: int) -> str:
    return TINTS[(number - 1) % len(TINTS)]


def _columns(graph: NetworkGraph) -> tuple[set[str], dict[str, int]]:
    """Return the edges to lay out against their direction, and the column of every state.

    The interaction is symmetric, so a direction is only notation. Where the directions lead from the input to every
    state without a cycle, columns follow them. Otherwise columns follow the order of declaration.
    """
    directed = nx.DiGraph(graph.graph)
    directed.remove_edges_from([(name, name) for name in graph.states])
    follow = nx.is_directed_acyclic_graph(directed) and all(
        (degree == 0) == (name == graph.input.name) for name, degree in directed.in_degree()
    )
    place = {name: i for i, name in enumerate(graph.states)}
    flipped: set[str] = set()
    if not follow:
        flipped = {e.name for e in graph.edges.values() if place[e.source] > place[e.target]}
        directed = nx.DiGraph()
        directed.add_nodes_from(graph.states)
        directed.add_edges_from(
            (e.target, e.source) if e.name in flipped else (e.source, e.target)
            for e in graph.edges.values()
            if not e.unary
        )
    column: dict[str, int] = {}
    for name in nx.topological_sort(directed):
        column[name] = max((column[before] + 1 for before in directed.predecessors(name)), default=0)
    return flipped, column


def _box(state: State, moves: dict[str, list[int]], graph: NetworkGraph) -> dict[str, str]:
    rows = [f"<B>{_text(state.name)}</B>", shape_text(state.shape)]
    if state.clamped:
        # Drawn as a store of data without the color of a class: a clamped state does not move.
        label = _rows([*rows, _small("clamped")], spacing=1)
        return {"shape": "cylinder", "style": "filled", "fillcolor": "white", "label": label}
    numbers = moves[state.name]
    rows.append(_small(_text(state.activation.label)))
    box = {"shape": "box", "style": "rounded,filled", "fillcolor": _tint(numbers[0])}
    if state.role == "output":
        cost = graph.architecture.output.cost.replace("_", " ")
        rows += [_small("output"), _small(_text(cost))]
        box |= {"style": "filled", "peripheries": "2"}
    rows.append(_small(f"class {', '.join(map(str, numbers))}"))
    return {**box, "label": _rows(rows, spacing=1)}


def _line(edge: Edge, conflict: bool, flipped: bool, forward: bool) -> dict[str, str]:
    stroke = STROKES.get(edge.kind.name, OTHER)
    # A full head at the target of A_e, a hollow head at the target of its transpose. A plain arrow would hide that the
    # interaction is symmetric; no arrow would hide the direction of A_e.
    head, tail = ("onormal", "normal") if flipped else ("normal", "onormal")
    return {
        "style": stroke.style,
        "color": ":".join([ALARM if conflict else stroke.color] * stroke.lines),
        "penwidth": f"{stroke.width:g}",
        # A unary edge has no direction. An energy that reads edges forward is not symmetric.
        "dir": "none" if edge.unary else "forward" if forward else "both",
        "arrowhead": head,
        "arrowtail": tail,
    }


def _label(edge: Edge, conflict: bool, spacing: int) -> str:
    rows = [_text(part) for part in edge.kind.label().split(", ")]
    default_name = f"{edge.source}_{edge.kind.name if edge.unary else edge.target}"
    if edge.name != default_name:
        rows.insert(0, f"<B>{_text(edge.name)}</B>")
    if edge.parameters:
        rows.append(_colored(GREY, count(edge.parameters) + ", frozen" * edge.frozen))
    if edge.tied:
        rows.append(_colored(GREY, f"weight of {_text(edge.tied)}"))
    if conflict:
        rows.append(_colored(ALARM, "<B>same class</B>"))
    return _rows(rows, spacing)


def _caption(plan: Plan, labeled: bool, married: list[tuple[str, str]] | None) -> str:
    graph = plan.graph
    title = "<BR/>".join(_text(line) for line in textwrap.wrap(visible(graph.architecture.name), 48))
    size = f"{graph.parameters():,} parameters"
    if labeled:
        size += f" ({_colored(GREY, 'in grey')}: weights of an edge)"
    rows = [
        f'<FONT POINT-SIZE="16"><B>{title or "network"}</B></FONT>',
        f"{size} · {count(plan.macs_per_sweep())} MACs per sweep",
        _order(plan.schedule, graph.energy.feedforward),
    ]
    if not labeled:
        kinds = dict.fromkeys(edge.kind.name for edge in graph.edges.values())
        lines = ", ".join(f"{_text(kind)} {STROKES.get(kind, OTHER).label}" for kind in kinds)
        rows.append(f"edges are too many for labels: {lines}")
    arrows = "the map of an edge acts towards its full arrowhead, the transpose back"
    if graph.energy.feedforward:
        arrows = "arrows lead along the forward pass; errors return through the transposes"
    rows.append(_colored(GREY, arrows))
    if married is not None:
        joined = "an edge joins every two states with edges into one state"
        dashed = "dashed grey: states with edges into one state, which read each other"
        rows.append(_colored(GREY, dashed if married else joined))
    return _rows(rows, spacing=4, cell='TD ALIGN="LEFT"')


def _order(schedule: Schedule, forward: bool) -> str:
    n, k = len(schedule.classes), len(schedule.conflicts)
    verdict = "proper: no edge joins states that move together"
    if forward:
        verdict = "proper: no state reads another one that moves with it"
    if not schedule.proper:
        joins = "edge joins" if k == 1 else "edges join"
        wrong = f"{k} {joins} states that move together (red)"
        if forward:
            k += len(schedule.unjoined)
            wrong = f"{k} pair{'s' * (k != 1)} of states move together and read each other (edges in red)"
        verdict = _colored(ALARM, f"not proper: {wrong}")
    classes = sorted({numbers[0] for numbers in _moves(schedule).values()})
    swatches = "".join(
        f'<TD BGCOLOR="{_tint(number)}" BORDER="1" WIDTH="24" HEIGHT="18">{number}</TD>'
        for number in (classes if len(classes) <= len(TINTS) else ())
    )
    name = f"schedule {schedule.name}, {n} class{'es' * (n != 1)}"
    return (
        '<TABLE ALIGN="LEFT" BORDER="0" CELLPADDING="0" CELLSPACING="0"><TR>'
        f"<TD>{name}&#160;&#160;</TD>{swatches}<TD>&#160;&#160;{verdict}</TD></TR></TABLE>"
    )


def count(n: int) -> str:
    """Write a number in three digits: ``147k``, ``1.18M``."""
    rounded = float(f"{n:.3g}")
    power = min((len(f"{rounded:.0f}") - 1) // 3, len(_UNITS) - 1)
    return f"{rounded / 1000**power:.3g}{_UNITS[power]}"


def _text(text: str) -> str:
    # Graphviz expands escapes even in HTML labels: \G is the graph's name, and two backslashes are one. A tag between
    # them prevents it.
    return escape(visible(text)).replace("\\", "<FONT>\\</FONT>")


def _colored(color: str, markup: str) -> str:
    return f'<FONT COLOR="{color}">{markup}</FONT>'


def _small(text: str) -> str:
    return f'<FONT POINT-SIZE="11">{text}</FONT>'


def _rows(rows: list[str], spacing: int = 2, cell: str = "TD") -> str:
    """Put rows below each other, in a table: plain line breaks are too close."""
    cells = "".join(f"<TR><{cell}>{row}</TD></TR>" for row in rows)
    return f'<<TABLE BORDER="0" CELLBORDER="0" CELLPADDING="0" CELLSPACING="{spacing}">{cells}</TABLE>>'
