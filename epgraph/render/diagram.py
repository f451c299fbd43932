"""The network as a diagram: states as boxes coloured by update class, edges styled by kind."""

from __future__ import annotations

import os
import shutil
import textwrap
import unicodedata
from dataclasses import dataclass
from html import escape
from pathlib import Path

import networkx as nx

from epgraph.edges import shape_text
from epgraph.errors import EpgraphError, nearest
from epgraph.graph import SCHEDULES, Edge, NetworkGraph, Schedule, State, build, make_schedule
from epgraph.render.fonts import bundled_fonts
from epgraph.render.write import suffix, write
from epgraph.spec import Architecture

FORMATS = ("svg", "png", "pdf", "dot", "gv")
"""Suffixes that ``render`` writes."""

# DejaVu Sans and Verdana are equally wide, so that labels fit their boxes also where an SVG is
# viewed with another font than it was laid out with.
FONT = "DejaVu Sans,Verdana,sans-serif"
INK = "#1a1a1a"
GREY = "#555555"
ALARM = "#b3261e"

# Tints of Okabe and Ito's colours. Neighbours differ in lightness as well as in hue, for print in grey
# and for the colour-blind; the text on all of them has a contrast of at least 7:1.
TINTS = ("#d3e9f8", "#f3c26b", "#8fd3bd", "#f6eea0", "#e3b4d0", "#8dbbe0", "#f0b48f", "#c9c9c9")


@dataclass(frozen=True)
class Stroke:
    """How the edges of a kind are drawn."""

    style: str
    color: str
    width: float
    lines: int = 1


STROKES = {
    "conv": Stroke("solid", "#3c3c3c", 1.4),
    "dense": Stroke("solid", "#000000", 1.1, lines=2),
    "skip": Stroke("dashed", "#0072b2", 1.6),
    "identity": Stroke("dotted", "#00735c", 2.0),
}
"""Kinds differ in their line as well as in their colour; one that is not listed is drawn as ``OTHER``."""

OTHER = Stroke("solid", "#6a3d9a", 1.4)


def dot(architecture: Architecture, schedule: str | None = None) -> str:
    """Return the diagram as DOT source; the same architecture gives the same text, byte for byte.

    Parameters
    ----------
    schedule
        Update schedule to show (a key of ``SCHEDULES``); left out, the architecture's own.

    Raises
    ------
    EpgraphError
        Where the network has mistakes or the schedule is unknown.
    """
    import graphviz

    name = architecture.dynamics.schedule if schedule is None else schedule
    if name not in SCHEDULES:
        raise EpgraphError(f"unknown schedule '{name}'", nearest(name, list(SCHEDULES)))
    graph = build(architecture)
    plan = make_schedule(graph, name)
    moves = _moves(plan)
    conflicts = {edge.name for edge in plan.conflicts}
    flipped, column = _columns(graph)

    picture = graphviz.Digraph("network")
    picture.attr(
        rankdir="LR",
        label=_caption(graph, plan),
        labelloc="b",
        labeljust="l",
        fontname=FONT,
        fontsize="12",
        fontcolor=INK,
        nodesep="0.3",
        ranksep="0.18",
        pad="0.2",
    )
    picture.attr("node", fontname=FONT, fontsize="13", fontcolor=INK, color=INK, margin="0.08,0.06")
    picture.attr("edge", fontname=FONT, fontsize="11", fontcolor=INK, arrowsize="0.8")
    for state in graph.states.values():
        picture.node(state.name, **_box(state, moves, graph))
    for edge in graph.edges.values():
        ends = (edge.source, edge.target)
        span = column[edge.target] - column[edge.source]
        attributes = _line(edge, edge.name in conflicts, edge.name in flipped)
        # States in neighbouring columns are pulled into line; whatever passes over a column bends around it.
        attributes["weight"] = "100" if abs(span) == 1 else "1"
        picture.edge(*(ends[::-1] if edge.name in flipped else ends), **attributes)
    return str(picture.source)


def render(architecture: Architecture, path: str | os.PathLike[str], schedule: str | None = None) -> Path:
    """Draw the network to a file; the suffix says how: ``.svg``, ``.png``, ``.pdf``, ``.dot`` or ``.gv``.

    Parameters
    ----------
    path
        File to write; directories on the way are made.
    schedule
        As for ``dot``.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    EpgraphError
        As for ``dot``; where the suffix is unknown or the file cannot be written.
    """
    path = Path(path)
    format = suffix(path, FORMATS)
    source = dot(architecture, schedule)
    return write(path, source.encode() if format in ("dot", "gv") else _layout(source, format))


def _layout(source: str, format: str) -> bytes:
    if shutil.which("dot"):
        import graphviz

        try:
            return bytes(graphviz.Source(source).pipe(format=format))
        except graphviz.CalledProcessError as error:
            # E.g. a Graphviz built without cairo, which knows no PDF.
            reason = error.stderr.decode(errors="replace").strip() if error.stderr else str(error)
            raise EpgraphError(f"the program 'dot' cannot draw {format}: {reason}", "write a .dot file") from None
    import pygraphviz

    with bundled_fonts():
        return bytes(pygraphviz.AGraph(string=source).draw(format=format, prog="dot"))


def _moves(plan: Schedule) -> dict[str, list[int]]:
    """Numbers of the classes that a state moves in: one, but for ``forward_backward``."""
    moves: dict[str, list[int]] = {}
    for number, states in enumerate(plan.classes, 1):
        for state in states:
            moves.setdefault(state, []).append(number)
    return moves


def _columns(graph: NetworkGraph) -> tuple[set[str], dict[str, int]]:
    """Return the edges to lay out against their direction, and the column of every state.

    Directions are only notation, since the interaction is symmetric. They are followed where they lead from
    the input to every state without a cycle; elsewhere the order of declaration says what is left and right.
    """
    directed = nx.DiGraph(graph.graph)
    follow = nx.is_directed_acyclic_graph(directed) and all(
        (degree == 0) == (name == graph.input.name) for name, degree in directed.in_degree()
    )
    place = {name: i for i, name in enumerate(graph.states)}
    flipped: set[str] = set()
    if not follow:
        flipped = {e.name for e in graph.edges.values() if place[e.source] > place[e.target]}
        directed = nx.DiGraph()
        directed.add_nodes_from(graph.states)
        directed.add_edges_from(sorted((e.source, e.target), key=place.__getitem__) for e in graph.edges.values())
    column: dict[str, int] = {}
    for name in nx.topological_sort(directed):
        column[name] = max((column[before] + 1 for before in directed.predecessors(name)), default=0)
    return flipped, column


def _box(state: State, moves: dict[str, list[int]], graph: NetworkGraph) -> dict[str, str]:
    rows = [f"<B>{_text(state.name)}</B>", shape_text(state.shape)]
    if state.clamped:
        # A store of data, without the colour of a class: nothing moves it.
        label = _rows([*rows, _small("clamped")], spacing=1)
        return {"shape": "cylinder", "style": "filled", "fillcolor": "white", "label": label}
    numbers = moves[state.name]
    rows.append(_small(_text(state.activation.label)))
    box = {"shape": "box", "style": "rounded,filled", "fillcolor": TINTS[(numbers[0] - 1) % len(TINTS)]}
    if state.role == "output":
        cost = graph.architecture.output.cost.replace("_", " ")
        rows += [_small("output"), _small(_text(cost))]
        box |= {"style": "filled", "peripheries": "2"}
    rows.append(_small(f"class {', '.join(map(str, numbers))}"))
    return {**box, "label": _rows(rows, spacing=1)}


def _line(edge: Edge, conflict: bool, flipped: bool) -> dict[str, str]:
    stroke = STROKES.get(edge.kind.name, OTHER)
    color = ":".join([ALARM if conflict else stroke.color] * stroke.lines)
    rows = [_text(part) for part in edge.kind.label().split(", ")]
    if edge.name != f"{edge.source}_{edge.target}":
        rows.insert(0, f"<B>{_text(edge.name)}</B>")
    if edge.parameters:
        rows.append(f'<FONT COLOR="{GREY}">{count(edge.parameters)}</FONT>')
    if conflict:
        rows.append(f'<FONT COLOR="{ALARM}"><B>same class</B></FONT>')
    # Full head where A_e arrives, hollow head where its transpose does: the interaction goes both ways, and
    # 'from' and 'to' only say which way is A_e.
    head, tail = ("onormal", "normal") if flipped else ("normal", "onormal")
    return {
        "label": _rows(rows),
        "style": stroke.style,
        "color": color,
        "penwidth": f"{stroke.width:g}",
        "dir": "both",
        "arrowhead": head,
        "arrowtail": tail,
    }


def _caption(graph: NetworkGraph, plan: Schedule) -> str:
    title = "<BR/>".join(_text(line) for line in textwrap.wrap(_clean(graph.architecture.name), 48))
    cost = f"{graph.parameters():,} parameters · {count(macs_per_sweep(graph, plan))} MACs per sweep"
    if plan.proper:
        verdict = "proper: no edge joins states that move together"
    else:
        joins = "edge joins" if len(plan.conflicts) == 1 else "edges join"
        verdict = f"{len(plan.conflicts)} {joins} states that move together"
        verdict = f'<FONT COLOR="{ALARM}">not proper: {verdict} (red, “same class”)</FONT>'
    n = len(plan.classes)
    swatches = "".join(
        f'<TD BGCOLOR="{tint}" BORDER="1" WIDTH="24" HEIGHT="18">{number}</TD>'
        for number, tint in enumerate(TINTS[:n] if n <= len(TINTS) else (), 1)
    )
    schedule = f"schedule {plan.name}, {n} class{'es' * (n != 1)}"
    order = f'<TABLE ALIGN="LEFT" BORDER="0" CELLSPACING="0" CELLPADDING="0"><TR><TD>{schedule}&#160;&#160;</TD>{swatches}<TD>&#160;&#160;{verdict}</TD></TR></TABLE>'
    symmetry = "the map of an edge acts towards its full arrowhead, the transpose back"
    rows = [f'<FONT POINT-SIZE="16"><B>{title}</B></FONT>', cost, order, f'<FONT COLOR="{GREY}">{symmetry}</FONT>']
    return _rows(rows, spacing=4, align="LEFT")


def macs_per_sweep(graph: NetworkGraph, plan: Schedule) -> int:
    """Multiply-accumulates to update every state as often as a sweep does, for one example."""
    cost = {name: sum(e.macs for e in graph.pre(name) + graph.post(name)) for name in graph.free}
    return sum(cost[name] for states in plan.classes for name in states)


def count(n: int) -> str:
    """Write a number in three digits: ``147k``, ``1.18M``."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n >= size:
            digits = f"{n / size:.3g}" if n < 999.5 * size else f"{n / size:.0f}"
            return digits + unit
    return str(n)


def _clean(text: str) -> str:
    """Fold white space, and replace what XML cannot hold, so that any text can stand in a diagram."""
    folded = " ".join(text.split())
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs", "Cn") else c for c in folded)


def _text(text: str) -> str:
    return escape(_clean(text)).replace("\\", "&#92;")


def _small(text: str) -> str:
    return f'<FONT POINT-SIZE="11">{text}</FONT>'


def _rows(rows: list[str], spacing: int = 2, align: str = "CENTER") -> str:
    """One row under the other; a table, because lines that are merely broken stand too close."""
    cells = "".join(f'<TR><TD ALIGN="{align}">{row}</TD></TR>' for row in rows)
    return f'<<TABLE BORDER="0" CELLBORDER="0" CELLPADDING="0" CELLSPACING="{spacing}">{cells}</TABLE>>'
