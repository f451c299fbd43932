"""A diagram as a TikZ picture, with the positions that Graphviz found: for ``\\input`` in a paper."""

from __future__ import annotations

from collections.abc import Iterator

from epgraph.drawing import legend
from epgraph.drawing.geometry import Curve, Picture, Rect, joined
from epgraph.drawing.markup import edge_words
from epgraph.drawing.model import Box, Diagram, Line, used_kinds
from epgraph.drawing.source import DOUBLE, Labels
from epgraph.drawing.style import ALARM, FRAME, GRAY, INK, OTHER, STROKES, Stroke, color, fill, stroke, width
from epgraph.drawing.table import CELL, Table
from epgraph.errors import visible

_HEAD = r"""% A picture of {name}, by epgraph render. It needs in the preamble:
%   \usepackage[T1]{{fontenc}}
%   \usepackage{{tikz}}
%   \usetikzlibrary{{arrows.meta}}
\begin{{tikzpicture}}[x=1bp, y=1bp, every node/.style={{inner sep=0, align=center}},
    font=\sffamily\fontsize{{11}}{{13}}\selectfont, full/.tip={{Triangle[length=7bp, width=5.5bp]}},
    hollow/.tip={{Triangle[open, length=7bp, width=5.5bp]}}]"""

_SPECIAL = {
    **{c: f"\\{c}" for c in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "{-}",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "…": r"\dots{}",
    "—": r"\textemdash{}",
    "\xa0": "~",
}
_LATIN = 0x17F
"""Last letter that LaTeX's font encoding T1 knows; others are written by their number."""


def tikz_source(diagram: Diagram, picture: Picture, labels: Labels) -> str:
    """Return the environment ``tikzpicture`` of a laid-out diagram."""
    bounds = picture.bounds()
    out = [_HEAD.format(name=legend.title(diagram)), *_colors(diagram)]
    for path, rect in picture.frames.items():
        label = next(frame.label for frame in diagram.frames if frame.path == path)
        out.append(f"\\draw[epframe, dashed, rounded corners=6bp] {_corners(rect)};")
        out.append(_words([f"\\textbf{{{_text(label)}}}"], picture.titles[path], "epgray"))
    number = 0
    for i, line in enumerate(diagram.lines):
        number += not line.married
        out.append(_curve(line, joined(picture.routes[i])))
        if i in picture.labels:
            rows = [f"\\textbf{{{number}}}"] if labels == "numbers" else list(_line_rows(line))
            out.append(
                _words(
                    rows,
                    picture.labels[i],
                    "fill=white, inner sep=1.5bp, font=\\sffamily\\fontsize{10}{11.5}\\selectfont",
                )
            )
    for key, box in diagram.boxes.items():
        out += _box(box, picture.boxes[key])
    out += _legend(diagram, bounds, labels)
    return "\n".join([*out, "\\end{tikzpicture}", ""])


def table_tikz(diagram: Diagram, table: Table) -> str:
    """Return the environment ``tikzpicture`` of a table of edges."""
    out = [_HEAD.format(name=legend.title(diagram)), *_colors(diagram)]
    small = "font=\\sffamily\\fontsize{6}{7}\\selectfont"
    for i, (key, rect) in enumerate(table.heads.items(), 1):
        box = diagram.boxes[key]
        out.append(f"\\filldraw[draw=epframe, line width=.3bp, fill={_named(fill(box))}] {_corners(rect)};")
        out.append(f"\\filldraw[draw=epframe, line width=.3bp, fill={_named(fill(box))}] {_corners(table.cells[key])};")
        out.append(_words([_text(f"{i} {box.name}")], rect, small))
    out += [_words([str(number)], rect, f"epgray, {small}") for number, rect in table.numbers]
    for line, (x0, y0), (x1, y1) in table.marks:
        out.append(f"\\draw[{_named(color(line))}, line width=1.8bp] {_point(x0, y0)} -- {_point(x1, y1)};")
    left = min(rect.left for rect in table.heads.values())
    rows = _rows_below(table.lines, left, -CELL * (len(table.heads) + 1))
    return "\n".join([*out, *rows, "\\end{tikzpicture}", ""])


def _colors(diagram: Diagram) -> list[str]:
    """Define every color that is used."""
    used = [fill(box) for box in diagram.boxes.values()] + [color(line) for line in diagram.lines]
    used += [STROKES.get(kind, OTHER).color for kind in used_kinds(diagram)]
    lines = [
        f"\\definecolor{{{_named(c)}}}{{HTML}}{{{c[1:].upper()}}}"
        for c in dict.fromkeys([*used, ALARM, INK])
        if c[0] == "#"
    ]
    return [
        *lines,
        *(f"\\definecolor{{{n}}}{{HTML}}{{{c[1:].upper()}}}" for n, c in (("epframe", FRAME), ("epgray", GRAY))),
    ]


def _named(color: str) -> str:
    return f"ep{color[1:]}" if color[0] == "#" else color


def _box(box: Box, rect: Rect) -> Iterator[str]:
    """Draw a box as Graphviz does: a cylinder, a second line, or a block with depth."""
    style = f"draw, fill={_named(fill(box))}"
    if box.role == "input":
        high = rect.height / 12
        arc = f"{_number(rect.width / 2)} and {_number(high)}"
        low = _point(rect.left, rect.bottom + high)
        top = _point(rect.right, rect.top - high)
        yield f"\\path[{style}] {low} arc (180:360:{arc}) -- {top} arc (0:180:{arc}) -- cycle;"
        yield f"\\draw {_point(rect.left, rect.top - high)} arc (180:360:{arc});"
    elif box.role == "output":
        yield f"\\path[draw, fill=white] {_corners(rect)};"
        yield f"\\path[{style}] {_corners(rect.grown(-DOUBLE))};"
    elif box.role == "block":
        yield f"\\path[{style}] {_corners(Rect(rect.x + 2, rect.y + 2, rect.width - 4, rect.height - 4))};"
        yield f"\\path[{style}] {_corners(Rect(rect.x - 2, rect.y - 2, rect.width - 4, rect.height - 4))};"
    else:
        yield f"\\path[{style}, rounded corners=6bp] {_corners(rect)};"
    yield _words([f"\\textbf{{{_text(box.name)}}}", *map(_text, box.rows)], rect, "")


def _line_rows(line: Line) -> Iterator[str]:
    if line.title:
        yield f"\\textbf{{{_text(line.title)}}}"
    yield from map(_text, line.parts)
    yield from (f"\\textcolor{{epgray}}{{{_text(row)}}}" for row in line.weights.split("\n") if row)
    if line.conflict:
        yield f"\\textcolor{{{_named(ALARM)}}}{{\\textbf{{same class}}}}"


def _curve(line: Line, curve: Curve) -> str:
    first, last = ("full", "hollow") if line.flipped else ("hollow", "full")
    start = first if curve.start else ""
    end = last if curve.end else ""
    way = [f"{_point(*curve.start)} -- "] if curve.start else []
    way.append(_point(*curve.points[0]))
    for i in range(1, len(curve.points), 3):
        a, b, c = (_point(*p) for p in curve.points[i : i + 3])
        way.append(f" .. controls {a} and {b} .. {c}")
    if curve.end:
        way.append(f" -- {_point(*curve.end)}")
    return f"\\draw[{_stroke(stroke(line), color(line), width(line))}, {start}-{end}] {''.join(way)};"


def _stroke(drawn: Stroke, color: str, wide: float) -> str:
    parts = [_named(color), f"line width={_number(wide)}bp"]
    if drawn.style in ("dashed", "dotted"):
        parts.append(drawn.style)
    if drawn.lines > 1:
        parts.append(f"double, double distance={_number(1.2 * (drawn.lines - 1) + wide * (drawn.lines - 2))}bp")
    if drawn.lines == 3:
        parts.append(f"postaction={{draw, double=none, line width={_number(wide)}bp, -}}")
    return ", ".join(parts)


def _legend(diagram: Diagram, bounds: Rect, labels: Labels) -> Iterator[str]:
    rows = [legend.title(diagram), *legend.remarks(diagram), legend.SIZES]
    rows += edge_words(diagram) if labels == "numbers" else []
    top = bounds.bottom - 16
    yield from _rows_below(rows, bounds.left, top)
    y = top - 14 * len(rows) - 4
    for i, kind in enumerate(used_kinds(diagram)):
        drawn = STROKES.get(kind, OTHER)
        x = bounds.left + 120 * (i % 5)
        level = y - 14 * (i // 5)
        line = f"{_point(x, level)} -- {_point(x + 28, level)}"
        yield f"\\draw[{_stroke(drawn, drawn.color, 1)}] {line};"
        yield f"\\node[anchor=west] at {_point(x + 33, level)} {{{_text(kind)}}};"


def _rows_below(rows: list[str], left: float, top: float) -> Iterator[str]:
    for i, row in enumerate(rows):
        text = f"\\textbf{{{_text(row)}}}" if i == 0 else _text(row)
        yield f"\\node[anchor=west] at {_point(left, top - 14 * i)} {{{text}}};"


def _words(rows: list[str], rect: Rect, style: str) -> str:
    text = r" \\ ".join(rows)
    return f"\\node[{style}] at {_point(rect.x, rect.y)} {{{text}}};"


def _corners(rect: Rect) -> str:
    return f"{_point(rect.left, rect.bottom)} rectangle {_point(rect.right, rect.top)}"


def _point(x: float, y: float) -> str:
    return f"({_number(x)},{_number(y)})"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _text(text: str) -> str:
    found = (_SPECIAL.get(c, c if ord(c) <= _LATIN else f"[U+{ord(c):04X}]") for c in visible(text))
    return "".join(found)
