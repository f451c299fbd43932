"""Positions of a diagram, by Graphviz, which pygraphviz brings along: no program has to be installed."""

from __future__ import annotations

import json
from typing import Any

from epgraph.drawing.fonts import bundled_fonts
from epgraph.drawing.geometry import Curve, Picture, Point, Rect, around
from epgraph.drawing.legibility import place_titles
from epgraph.drawing.markup import frame_text
from epgraph.drawing.model import Diagram
from epgraph.drawing.source import POINTS, Direction, Labels, layout_source
from epgraph.drawing.style import FONT


def draw(source: str, format: str, program: str = "nop2") -> bytes:
    """Draw DOT in a format of Graphviz; by default everything has its position already."""
    import pygraphviz

    with bundled_fonts():
        return bytes(pygraphviz.AGraph(string=source).draw(format=format, prog=program))


def place(
    diagram: Diagram, direction: Direction, labels: Labels, spread: float = 1.0, levels: dict[str, int] | None = None
) -> Picture:
    """Lay a diagram out.

    Parameters
    ----------
    labels
        What stands on the lines: all of the label, its number in a table, or nothing.
    spread
        Multiple of the usual distances.
    levels
        Row of every box, from the top; left out, Graphviz chooses ranks.
    """
    found = json.loads(draw(layout_source(diagram, direction, labels, spread, levels), "json", "dot"))
    nodes: dict[str, Rect] = {}
    frames: dict[tuple[str, ...], Rect] = {}
    for item in found.get("objects", ()):
        name = item["name"]
        if name.startswith("cluster_") and "bb" in item:
            x0, y0, x1, y1 = map(float, item["bb"].split(","))
            frames[diagram.frames[int(name[8:])].path] = Rect((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
        elif "pos" in item:
            x, y = map(float, item["pos"].split(","))
            nodes[name] = Rect(x, y, float(item["width"]) * POINTS, float(item["height"]) * POINTS)
    boxes = {key: nodes[f"b{i}"] for i, key in enumerate(diagram.boxes)}
    routes = _routes(found.get("edges", ()))
    pills = {i: nodes[f"l{i}"] for i in range(len(diagram.lines)) if f"l{i}" in nodes}
    for i, line in enumerate(diagram.lines):
        if levels and i in pills and not line.unary and levels[line.tail] == levels[line.head]:
            routes[i] = _straight(routes[i], boxes[line.tail], pills[i], boxes[line.head])
    picture = Picture(boxes, routes, pills, dict(sorted(frames.items(), key=lambda item: len(item[0]))))
    place_titles(picture, _title_sizes(diagram) if frames else {})
    return picture


def measure(labels: list[str]) -> list[Point]:
    """Return width and height of HTML-like labels, in points."""
    rows = "".join(f"n{i} [label={label}]\n" for i, label in enumerate(labels))
    source = f'graph {{ node [shape=plaintext, margin=0, width=0, height=0, fontsize=12, fontname="{FONT}"]\n{rows}}}'
    found = json.loads(draw(source, "json", "dot"))
    return [(float(item["width"]) * POINTS, float(item["height"]) * POINTS) for item in found["objects"]]


def _title_sizes(diagram: Diagram) -> dict[tuple[str, ...], Point]:
    sizes = measure([frame_text(frame.label) for frame in diagram.frames])
    return {frame.path: size for frame, size in zip(diagram.frames, sizes, strict=True)}


def _routes(edges: list[dict[str, Any]]) -> dict[int, list[Curve]]:
    """Read curves back, by the index of their line, from its tail to its head."""
    parts: dict[int, list[tuple[int, Curve]]] = {}
    for edge in edges:
        if "id" not in edge or "pos" not in edge:
            continue
        turned = "-" in edge["id"]
        index, part = map(int, edge["id"].replace("-", "+").split("+"))
        for piece in edge["pos"].split(";"):
            curve = _curve(piece)
            if turned:
                curve = Curve(curve.points[::-1], curve.end, curve.start)
            parts.setdefault(index, []).append((-part if turned else part, curve))
    return {i: [curve for _, curve in sorted(found, key=lambda item: item[0])] for i, found in parts.items()}


def _straight(curves: list[Curve], tail: Rect, pill: Rect, head: Rect) -> list[Curve]:
    """Return the two halves of a line within a row as horizontal lines, where they do not bend around something."""
    found = []
    for curve, one, other in zip(curves, (tail, pill), (pill, head), strict=True):
        left, right = (one.right, other.left) if one.x < other.x else (one.left, other.right)
        extent = around(curve.flat())
        if extent.width > abs(right - left) + 2 or extent.height > min(one.height, other.height):
            return curves
        signed = 1 if right > left else -1
        start, end = (left, pill.y), (right, pill.y)
        first = left + signed * (abs(curve.points[0][0] - curve.start[0]) if curve.start else 0)
        last = right - signed * (abs(curve.points[-1][0] - curve.end[0]) if curve.end else 0)
        points = tuple((first + (last - first) * i / 3, pill.y) for i in range(4))
        found.append(Curve(points, start if curve.start else None, end if curve.end else None))
    return found


def _curve(text: str) -> Curve:
    start = end = None
    points = []
    for word in text.split():
        mark, _, rest = word.partition(",") if word[0] in "se" else ("", "", word)
        x, y = map(float, rest.split(","))
        if mark == "s":
            start = (x, y)
        elif mark == "e":
            end = (x, y)
        else:
            points.append((x, y))
    return Curve(tuple(points), start, end)
