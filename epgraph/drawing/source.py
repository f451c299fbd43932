"""A diagram as DOT: for a file that the user lays out, for the layout, and for a picture with all positions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from epgraph.drawing.geometry import Curve, Picture, Rect, joined
from epgraph.drawing.markup import box_label, caption, frame_text, line_label, number_label, opaque
from epgraph.drawing.model import Box, Diagram, Line
from epgraph.drawing.style import FONT, FRAME, INK, color, fill, size, stroke, width

if TYPE_CHECKING:
    import graphviz

Labels = Literal["full", "numbers", "none"]
Direction = Literal["LR", "TB"]

POINTS = 72
"""Points of an inch."""

DOUBLE = 4.0
"""What the second line around the output adds to each side of its box, in points."""


def dot_source(diagram: Diagram, direction: Direction, *, labeled: bool, levels: dict[str, int] | None = None) -> str:
    """Return the diagram without positions: one DOT edge for an edge, with its label."""
    down = direction == "TB"
    picture = _digraph()
    # Labels widen the gap between columns. Without labels the arrows need a wider one.
    nodesep, ranksep = ("0.3", "0.18") if labeled else ("0.1", "0.5")
    picture.attr(rankdir=direction, nodesep=nodesep, ranksep=ranksep, pad="0.2")
    picture.attr(label=caption(diagram, labeled=labeled), labelloc="t" if down else "b", labeljust="l")
    if levels:
        picture.attr(newrank="true")  # rows may hold boxes of several frames
    _defaults(picture)
    for box in diagram.boxes.values():
        picture.node(box.key, **box_style(box))
    for number, frame in enumerate(diagram.frames):
        names = [key for key, box in diagram.boxes.items() if box.frames == frame.path]
        _in_frame(picture, diagram, number, names, label=frame_text(frame.label))
    for line in diagram.lines:
        style = line_style(line)
        if line.married:
            picture.edge(line.tail, line.head, **style, constraint="false")
            continue
        if labeled:
            style["label"] = line_label(line, spacing=5 if down else 2)
        # A heavy edge keeps states of neighboring columns in line; an edge over more columns bends around them.
        picture.edge(line.tail, line.head, **style, weight="100" if line.span == 1 else "1")
    for same in _rows_of(levels or {}):
        with picture.subgraph() as row:
            row.attr(rank="same")
            for key in same:
                row.node(key)
    if diagram.beyond_output and levels is None:
        # Some states lie beyond the output. The output is drawn last all the same.
        with picture.subgraph() as last:
            last.attr(rank="max")
            last.node(diagram.last)
    return str(picture.source)


def layout_source(
    diagram: Diagram, direction: Direction, labels: Labels, spread: float, levels: dict[str, int] | None = None
) -> str:
    """Return what is laid out for a picture: every label is a node of its own, in the middle of its edge.

    Graphviz leads edges around nodes, but not around labels. Boxes are called ``b0``, labels ``l0``.
    """
    picture = _digraph()
    gap = 0.24 if labels == "full" else 0.3 if labels == "numbers" else 0.55
    apart = 0.22 if levels is None else 0.4
    picture.attr(rankdir=direction, nodesep=f"{apart * spread:.3g}", ranksep=f"{gap * spread:.3g}")
    if levels:
        picture.attr(newrank="true")  # rows may hold boxes of several frames
    _defaults(picture)
    place = {key: i for i, key in enumerate(diagram.boxes)}
    for key, i in place.items():
        picture.node(f"b{i}", **box_style(diagram.boxes[key]))
    inside: dict[tuple[str, ...], list[str]] = {}
    for key, i in place.items():
        inside.setdefault(diagram.boxes[key].frames, []).append(f"b{i}")
    number = 0
    for i, line in enumerate(diagram.lines):
        number += not line.married
        a, b = f"b{place[line.tail]}", f"b{place[line.head]}"
        pill = "" if line.married or (labels == "none" and not line.unary) else f"l{i}"
        if pill:
            picture.node(pill, **_pill(line, labels, number))
            frames = _common(diagram.boxes[line.tail].frames, diagram.boxes[line.head].frames)
            inside.setdefault(frames, []).append(pill)
        _lay_line(picture, line, (a, pill, b), i, direction, levels)
    for index, frame in enumerate(diagram.frames):
        _in_frame(picture, diagram, index, inside.get(frame.path, []), margin="12")
    if levels:
        _anchor(picture, diagram, levels, place, labels)
    elif diagram.beyond_output:
        with picture.subgraph() as last:
            last.attr(rank="max")
            last.node(f"b{place[diagram.last]}")
    return str(picture.source)


def placed_source(
    diagram: Diagram, picture: Picture, labels: Labels, below: bool, caption_size: tuple[float, float], dots: int | None
) -> str:
    """Return the diagram with the position of everything; Graphviz only draws it, a bitmap with ``dots`` an inch."""
    text = caption(diagram, labeled=labels != "none", numbered=labels == "numbers")
    wide, high = caption_size
    bounds = picture.bounds()
    y = bounds.bottom - 12 - high / 2 if below else bounds.top + 12 + high / 2
    out = _digraph()
    out.attr(pad="0.2", **({"dpi": str(dots)} if dots else {}))
    _defaults(out)
    legend = Rect(bounds.left + wide / 2, y, wide, high)
    out.node(" legend", shape="plaintext", margin="0", label=text, **_at(legend), fontsize="12")
    for key, box in diagram.boxes.items():
        # The size that Graphviz reports has the second line; the one that it is told has not.
        out.node(key, **{**box_style(box), **_at(picture.boxes[key].grown(-DOUBLE * (box.role == "output")))})
    for path, rect in picture.frames.items():
        title = picture.titles[path]
        name = ".".join(path)
        frame = {"shape": "box", "style": "rounded,dashed", "color": FRAME, "label": "", **_at(rect)}
        out.node(f" frame {name}", **frame)
        label = frame_text(next(f.label for f in diagram.frames if f.path == path))
        out.node(f" title {name}", shape="plaintext", margin="0", label=label, fontsize="11", **_at(title))
    number = 0
    for i, line in enumerate(diagram.lines):
        number += not line.married
        style = line_style(line)
        style["pos"] = _spline(joined(picture.routes[i]))
        if i in picture.labels:
            full = labels == "full" or (line.unary and labels == "none")
            style["label"] = opaque(line_label(line) if full else number_label(number, line))
            style["lp"] = f"{picture.labels[i].x:.2f},{picture.labels[i].y:.2f}"
        out.edge(line.tail, line.head, **style)
    return str(out.source)


def box_style(box: Box) -> dict[str, str]:
    """Return the attributes of the node of a box."""
    wide, high = size(box)
    common = {"label": box_label(box), "width": f"{wide:g}", "height": f"{high:g}", "fillcolor": fill(box)}
    if box.role == "input":
        # Drawn as a store of data without the color of a class: a clamped state does not move.
        return {**common, "shape": "cylinder", "style": "filled"}
    if box.role == "output":
        return {**common, "shape": "box", "style": "filled", "peripheries": "2"}
    if box.role == "block":
        return {**common, "shape": "box3d", "style": "filled", "margin": "0.16,0.1"}
    return {**common, "shape": "box", "style": "rounded,filled"}


def line_style(line: Line) -> dict[str, str]:
    """Return the attributes of a line."""
    drawn = stroke(line)
    # A full head at the target of A_e, a hollow head at the target of its transpose. A plain arrow would hide that the
    # interaction is symmetric; no arrow would hide the direction of A_e.
    head, tail = ("onormal", "normal") if line.flipped else ("normal", "onormal")
    style = {
        "style": drawn.style,
        "color": ":".join([color(line)] * drawn.lines),
        "penwidth": f"{width(line):g}",
        # A unary edge has no direction. An energy that reads edges forward is not symmetric.
        "dir": "none" if line.unary or line.married else "forward" if line.directed else "both",
    }
    return style if style["dir"] == "none" else {**style, "arrowhead": head, "arrowtail": tail}


def _digraph() -> graphviz.Digraph:
    import graphviz

    return graphviz.Digraph("network")


def _defaults(picture: graphviz.Digraph) -> None:
    picture.attr(fontname=FONT, fontsize="12", fontcolor=INK)
    picture.attr("node", fontname=FONT, fontsize="13", fontcolor=INK, color=INK, margin="0.08,0.06")
    picture.attr("edge", fontname=FONT, fontsize="11", fontcolor=INK, arrowsize="0.8")


def _pill(line: Line, labels: Labels, number: int) -> dict[str, str]:
    label = number_label(number, line) if labels == "numbers" else line_label(line)
    return {"shape": "plaintext", "margin": "0", "width": "0", "height": "0", "fontsize": "11", "label": label}


def _lay_line(
    picture: graphviz.Digraph,
    line: Line,
    ends: tuple[str, str, str],
    index: int,
    direction: Direction,
    levels: dict[str, int] | None,
) -> None:
    a, pill, b = ends
    style = {
        key: value for key, value in line_style(line).items() if key in ("dir", "arrowhead", "arrowtail", "penwidth")
    }
    # What is read in a row stands straight, and the label of a unary edge near its state.
    style["weight"] = "100" if line.span == 1 else "10" if line.unary else "1"
    flat = False
    if levels is not None:
        one, other = levels[line.tail], levels[line.head]
        flat = one == other
        if one > other:
            # Laid out from the higher row to the lower one; the curve is turned around once it is read back.
            style |= {"dir": {"both": "both", "forward": "back", "none": "none"}[style["dir"]]}
            heads = {"arrowhead": style.get("arrowtail", ""), "arrowtail": style.get("arrowhead", "")}
            style |= {key: value for key, value in heads.items() if value}
            a, b = b, a
    turned = a != ends[0]
    mark = "-" if turned else "+"
    if not pill:
        extra = {"constraint": "false"} if line.married else {}
        picture.edge(a, b, id=f"{index}{mark}0", **{**style, **extra})
        return
    into, out = ("w", "e") if direction == "LR" or flat else ("n", "s")
    first, second = dict(style), dict(style)
    if style["dir"] != "none":
        first["dir"] = "back" if style["dir"] in ("both", "back") else "none"
        second["dir"] = "forward" if style["dir"] in ("both", "forward") else "none"
    far = {} if levels is not None else {"minlen": str(max(line.span, 1))}
    picture.edge(a, pill, id=f"{index}{mark}0", headport=into, **first, **far)
    if not line.unary:
        picture.edge(pill, b, id=f"{index}{mark}1", tailport=out, **second, **far)


def _anchor(
    picture: graphviz.Digraph, diagram: Diagram, levels: dict[str, int], place: dict[str, int], labels: Labels
) -> None:
    """Hold every box and label at its level: in one rank with an invisible point of a chain."""
    ranks: dict[int, list[str]] = {}
    for key, level in levels.items():
        ranks.setdefault(2 * level, []).append(f"b{place[key]}")
    for i, line in enumerate(diagram.lines):
        if not line.married and (labels != "none" or line.unary):
            between = levels[line.tail] + levels[line.head]
            ranks.setdefault(between + line.unary, []).append(f"l{i}")
    chain = list(range(min(ranks), max(ranks) + 1))
    for rank in chain:
        picture.node(f"a{rank}", style="invis", width="0", height="0", label="", fixedsize="true")
        with picture.subgraph() as row:
            row.attr(rank="same")
            for name in (f"a{rank}", *ranks.get(rank, ())):
                row.node(name)
    for one, other in pairwise(chain):
        picture.edge(f"a{one}", f"a{other}", style="invis", weight="0")


def _in_frame(picture: graphviz.Digraph, diagram: Diagram, number: int, names: list[str], **attributes: str) -> None:
    """Put nodes into the cluster of a frame, and that into the clusters around it."""
    path = diagram.frames[number].path
    order = {frame.path: i for i, frame in enumerate(diagram.frames)}
    chain = [order[path[: i + 1]] for i in range(len(path))]

    def inner(out: graphviz.Digraph, rest: list[int]) -> None:
        if not rest:
            for name in names:
                out.node(name)
            return
        with out.subgraph(name=f"cluster_{rest[0]}") as cluster:
            if len(rest) == 1:
                cluster.attr(style="rounded,dashed", color=FRAME, **attributes)
            inner(cluster, rest[1:])

    inner(picture, chain)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    n = 0
    while n < min(len(one), len(other)) and one[n] == other[n]:
        n += 1
    return one[:n]


def _rows_of(levels: dict[str, int]) -> Iterator[list[str]]:
    rows: dict[int, list[str]] = {}
    for key, level in levels.items():
        rows.setdefault(level, []).append(key)
    yield from (row for row in rows.values() if len(row) > 1)


def _at(rect: Rect) -> dict[str, str]:
    return {
        "pos": f"{rect.x:.2f},{rect.y:.2f}",
        "width": f"{rect.width / POINTS:.4f}",
        "height": f"{rect.height / POINTS:.4f}",
    }


def _spline(curve: Curve) -> str:
    ends = [f"{mark},{tip[0]:.2f},{tip[1]:.2f}" for mark, tip in (("s", curve.start), ("e", curve.end)) if tip]
    return " ".join([*ends, *(f"{x:.2f},{y:.2f}" for x, y in curve.points)])
