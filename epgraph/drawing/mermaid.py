"""A diagram as a Mermaid flowchart, for pages that draw Mermaid; they do the layout."""

from __future__ import annotations

import json
import re

from epgraph.drawing import legend
from epgraph.drawing.model import Box, Diagram, Line
from epgraph.drawing.source import Direction
from epgraph.drawing.style import FRAME, INK, color, fill, stroke, width
from epgraph.errors import visible

_PLAIN = re.compile(r"[^A-Za-z0-9 _.,×·…/:()→-]")

_SHAPES = {"input": ("[(", ")]"), "hidden": ("(", ")"), "output": ("[[", "]]"), "block": ("[/", "/]")}
"""Brackets of a box: a store of data, rounded, with a second line, and leaning."""


def mermaid_source(diagram: Diagram, direction: Direction) -> str:
    """Return the text of a flowchart; boxes are called ``n0``, ``n1`` …, since names could be words of Mermaid."""
    ids = {key: f"n{i}" for i, key in enumerate(diagram.boxes)}
    lines = ["---", f"title: {json.dumps(legend.title(diagram))}", "---", f"flowchart {direction}"]
    lines += _boxes(diagram, ids, (), "  ")
    for line in diagram.lines:
        lines.append(f"  {ids[line.tail]} {_arrow(line)} {ids[line.head]}")
    for i, line in enumerate(diagram.lines):
        style = f"stroke:{color(line)},stroke-width:{width(line):g}px"
        dashes = {"dashed": ",stroke-dasharray:6 4", "dotted": ",stroke-dasharray:2 3"}.get(stroke(line).style, "")
        lines.append(f"  linkStyle {i} {style}{dashes}")
    for key, box in diagram.boxes.items():
        lines.append(f"  style {ids[key]} fill:{fill(box)},stroke:{INK},color:{INK}")
    for i in range(len(diagram.frames)):
        lines.append(f"  style g{i} fill:none,stroke:{FRAME},stroke-dasharray:6 4")
    notes = "<br/>".join(map(_text, legend.remarks(diagram, heads=False)))
    lines += [f'  legend["{notes}"]', f"  style legend fill:none,stroke:none,color:{INK},text-align:left"]
    return "\n".join(lines) + "\n"


def _boxes(diagram: Diagram, ids: dict[str, str], path: tuple[str, ...], indent: str) -> list[str]:
    """Declare the boxes and frames within a frame, in their order."""
    lines = [f"{indent}{ids[key]}{_box(box)}" for key, box in diagram.boxes.items() if box.frames == path]
    for i, frame in enumerate(diagram.frames):
        if frame.path[:-1] == path:
            lines.append(f'{indent}subgraph g{i} ["{_text(frame.label)}"]')
            lines += [*_boxes(diagram, ids, frame.path, indent + "  "), f"{indent}end"]
    return lines


def _box(box: Box) -> str:
    before, after = _SHAPES[box.role]
    rows = "<br/>".join([f"<b>{_text(box.name)}</b>", *map(_text, box.rows)])
    return f'{before}"{rows}"{after}'


def _arrow(line: Line) -> str:
    """An arrow at both ends, since the interaction is symmetric, with the label of the edge."""
    if line.married:
        return "---"
    rows = [f"<b>{_text(line.title)}</b>"] if line.title else []
    rows += [_text(part) for part in (*line.parts, *filter(None, line.weights.split("\n")))]
    rows += ["<b>same class</b>"] if line.conflict else []
    arrow = "---" if line.unary else "-->" if line.directed else "<-->"
    return f'{arrow}|"{"<br/>".join(rows)}"|'


def _text(text: str) -> str:
    """Write what Mermaid or HTML would read as theirs by its number."""
    return _PLAIN.sub(lambda match: f"#{ord(match[0])};", visible(text))
