"""A large or dense network as a table: a row and a column for every state, and a mark for every edge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from epgraph.drawing import legend
from epgraph.drawing.geometry import Point, Rect, around
from epgraph.drawing.model import Diagram, Line, used_kinds
from epgraph.drawing.source import POINTS, line_style
from epgraph.drawing.style import FONT, GRAY, INK, color, fill

CELL = 10.0
"""Side of a cell in points."""
LETTER = 5.6
"""Bound of the width of a letter of a name at ``SIZE``, in points."""
SIZE = 8
"""Size of the names in points."""
EVERY = 10
"""Rows from one number of a column to the next."""
SLANTS = (("—", (-1.0, 0.0)), ("|", (0.0, -1.0)), ("/", (-1.0, -1.0)), ("\\", (-1.0, 1.0)))
"""Direction of the mark of each kind of edge, in the order in which they occur; then they repeat in other colors."""


@dataclass(frozen=True)
class Table:
    """The parts of the picture, in points.

    Attributes
    ----------
    heads
        Rectangle of the name of every state, by key.
    cells
        Rectangle of every state's place on the diagonal.
    marks
        A short straight line for every line of the diagram.
    numbers
        Numbers of columns, and where they stand.
    lines
        Text below.
    """

    heads: dict[str, Rect]
    cells: dict[str, Rect]
    marks: list[tuple[Line, Point, Point]]
    numbers: list[tuple[int, Rect]]
    lines: list[str]

    def bounds(self) -> Rect:
        """Return the rectangle around names and cells."""
        rects = [*self.heads.values(), *self.cells.values()]
        return around([corner for r in rects for corner in ((r.left, r.bottom), (r.right, r.top))])


def edge_table(diagram: Diagram) -> Table:
    """Return the table of a diagram: an edge stands in the row of its source and the column of its target."""
    keys = list(diagram.boxes)
    names = [f"{i} {diagram.boxes[key].name}" for i, key in enumerate(keys, 1)]
    wide = max(map(len, names)) * LETTER + 6
    heads = {key: Rect(-wide / 2 - 2, -CELL * i, wide, CELL) for i, key in enumerate(keys)}
    cells = {key: Rect(CELL * (i + 0.5), -CELL * i, CELL, CELL) for i, key in enumerate(keys)}
    place = {key: i for i, key in enumerate(keys)}
    kinds = used_kinds(diagram)
    ends = [(x.head, x.tail) if x.flipped else (x.tail, x.head) for x in diagram.lines]
    total, seen = Counter(ends), Counter[tuple[str, str]]()
    marks = []
    for line, (source, target) in zip(diagram.lines, ends, strict=True):
        # Parallel edges share the cell.
        part = CELL / total[source, target]
        x = CELL * place[target] + part * (seen[source, target] + 0.5)
        y = -CELL * place[source]
        seen[source, target] += 1
        dx, dy = SLANTS[kinds.index(line.kind) % len(SLANTS)][1] if line.kind in kinds else SLANTS[0][1]
        dx, dy = dx * part * 0.36, dy * CELL * 0.36
        marks.append((line, (x + dx, y + dy), (x - dx, y - dy)))
    columns = [i for i in range(1, len(keys) + 1) if i == 1 or i % EVERY == 0]
    numbers = [(i, Rect(CELL * (i - 0.5), CELL * 1.2, 3 * LETTER, CELL)) for i in columns]
    signs = ", ".join(f"{SLANTS[i % len(SLANTS)][0]} {kind}" for i, kind in enumerate(kinds))
    how = "an edge stands in the row of its source and the column of its target; red: its states move together"
    lines = [legend.title(diagram), *legend.remarks(diagram), f"marks: {signs}", how]
    return Table(heads, cells, marks, numbers, lines)


def table_dot(diagram: Diagram, table: Table, dots: int | None = None) -> str:
    """Return a table as DOT with the position of everything, for a bitmap with ``dots`` an inch."""
    import graphviz

    out = graphviz.Digraph("network")
    out.attr(pad="0.2", **({"dpi": str(dots)} if dots else {}))
    out.attr("node", fontname=FONT, fontsize=str(SIZE), fontcolor=INK, color="#bbbbbb", margin="0", penwidth="0.4")
    n = len(table.heads)
    for i in range(0, n, 2 * EVERY):
        # A gray band behind every other ten rows leads the eye.
        rows = min(EVERY, n - i)
        band = Rect(CELL * n / 2, -CELL * (i + (rows - 1) / 2), CELL * n, CELL * rows)
        out.node(f" band {i}", shape="box", label="", style="filled", fillcolor="#f2f2f2", penwidth="0", **_at(band))
    for i, (key, rect) in enumerate(table.heads.items(), 1):
        box = diagram.boxes[key]
        out.node(key, shape="box", style="filled", fillcolor=fill(box), label=f"{i} {box.name}", **_at(rect))
        out.node(f" cell {i}", shape="box", style="filled", fillcolor=fill(box), label="", **_at(table.cells[key]))
    for number, rect in table.numbers:
        out.node(f" column {number}", shape="plaintext", label=str(number), fontcolor=GRAY, **_at(rect))
    for i, row in enumerate(table.lines):
        text = graphviz.escape(row) + "\\l"
        wide = len(row) * 8.5
        rect = Rect(next(iter(table.heads.values())).left + wide / 2, -CELL * (n + 1) - 17 * i, wide, 16)
        size = {"fontsize": "16" if i == 0 else "12"}
        out.node(f" line {i}", shape="plaintext", label=text, **size, **_at(rect))
    for line, (x0, y0), (x1, y1) in table.marks:
        points = " ".join(f"{x0 + (x1 - x0) * t / 3:.2f},{y0 + (y1 - y0) * t / 3:.2f}" for t in range(4))
        style = {"dir": "none", "color": color(line), "penwidth": "2", "pos": points}
        if line.married:
            style["style"] = line_style(line)["style"]
        out.edge(line.tail, line.head, **style)
    return str(out.source)


def _at(rect: Rect) -> dict[str, str]:
    size = {"width": f"{rect.width / POINTS:.4f}", "height": f"{rect.height / POINTS:.4f}", "fixedsize": "shape"}
    return {"pos": f"{rect.x:.2f},{rect.y:.2f}", **size}
