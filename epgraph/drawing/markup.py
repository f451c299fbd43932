"""Texts of a diagram as Graphviz's HTML-like labels."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from html import escape

from epgraph.drawing import legend
from epgraph.drawing.model import Box, Diagram, Line, count, used_kinds
from epgraph.drawing.style import ALARM, GRAY, OTHER, STROKES, TINTS, Stroke, tint
from epgraph.errors import visible
from epgraph.lowering import Plan

# Columns that take nearly all of the room to the right of a row: Graphviz shares it out by columns.
_REST = '<TD COLSPAN="99"></TD>'

NO_LABELS = "edges are too many for labels"


def box_label(box: Box) -> str:
    """Write the name of a state, its shape, and what else there is to say of it."""
    rows = [f"<B>{_text(box.name)}</B>", *map(_text, box.rows[:1]), *(_small(_text(row)) for row in box.rows[1:])]
    return _rows(rows, spacing=1)


def line_label(line: Line, spacing: int = 2) -> str:
    """Write kind, options and number of weights of an edge."""
    rows = [_text(part) for part in line.parts]
    if line.title:
        rows.insert(0, f"<B>{_text(line.title)}</B>")
    rows += [_colored(GRAY, _text(row)) for row in line.weights.split("\n") if row]
    if line.conflict:
        rows.append(_colored(ALARM, "<B>same class</B>"))
    return _rows(rows, spacing)


def number_label(number: int, line: Line) -> str:
    """Write the number of an edge that a table explains."""
    text = f"<B>{number}</B>"
    return _rows([_colored(ALARM, text) if line.conflict else text], 1)


def opaque(label: str) -> str:
    """Return a label on white, which hides the line that it belongs to."""
    return label.replace("<<TABLE ", '<<TABLE BGCOLOR="white" ', 1)


def frame_text(label: str) -> str:
    """Write the name of a block or a stage."""
    return f"<{_colored(GRAY, f'<B>{_text(label)}</B>')}>"


def caption(diagram: Diagram, *, labeled: bool = True, numbered: bool = False) -> str:
    """Write title, size, schedule, and a legend of what occurs."""
    plan, graph = diagram.plan, diagram.plan.graph
    title = "<BR/>".join(_text(line) for line in textwrap.wrap(legend.title(diagram), 48))
    words = f"{graph.parameters():,} parameters"
    if labeled and not numbered:
        words += f" ({_colored(GRAY, 'in gray')}: weights of an edge)"
    rows = [
        f'<FONT POINT-SIZE="16"><B>{title}</B></FONT>',
        f"{words} · {count(plan.macs_per_sweep())} MACs per {legend.unit(graph)}",
        _order(plan),
    ]
    kinds = [(kind, STROKES.get(kind, OTHER)) for kind in used_kinds(diagram)]
    if not labeled:
        lines = ", ".join(f"{_text(kind)} {stroke.label}" for kind, stroke in kinds)
        rows.append(f"{NO_LABELS}: {lines}")
    rows.append(_samples(kinds))
    rows += [_colored(GRAY, legend.arrows(diagram)), _colored(GRAY, legend.SIZES)]
    if diagram.view.times:
        rows.append(_colored(GRAY, legend.TIMES))
    if diagram.married is not None:
        rows.append(_colored(GRAY, legend.moral(diagram.married)))
    if numbered:
        rows.append(_table(diagram))
    return _rows(rows, spacing=4, cell='TD ALIGN="LEFT"')


def _samples(kinds: list[tuple[str, Stroke]]) -> str:
    """A short line of every kind that occurs, with its name."""
    cells = []
    for kind, stroke in kinds:
        style = stroke.style if stroke.style in ("dashed", "dotted") else "solid"
        wide = 2 if stroke.lines == 1 else 1
        line = (
            f'<TR><TD SIDES="B" BORDER="{wide}" STYLE="{style}" COLOR="{stroke.color}" '
            'WIDTH="30" HEIGHT="4" FIXEDSIZE="TRUE"></TD></TR>'
        )
        table = f'<TABLE BORDER="0" CELLBORDER="0" CELLPADDING="0" CELLSPACING="0">{line * stroke.lines}</TABLE>'
        cells.append(f"<TD>{table}</TD><TD>&#160;{_text(kind)}&#160;&#160;&#160;</TD>")
    rows = ["".join(cells[i : i + 5]) for i in range(0, len(cells), 5)]
    body = "".join(f"<TR>{row}{_REST}</TR>" for row in rows)
    return f'<TABLE ALIGN="LEFT" BORDER="0" CELLBORDER="0" CELLPADDING="0" CELLSPACING="0">{body}</TABLE>'


def edge_words(diagram: Diagram) -> list[str]:
    """Write every numbered edge in words: its number, ends, kind and weights."""
    return [f"{number}  {_edge(diagram, line)}" for number, line in _numbered(diagram)]


def _numbered(diagram: Diagram) -> Iterator[tuple[int, Line]]:
    yield from enumerate((line for line in diagram.lines if not line.married), 1)


def _edge(diagram: Diagram, line: Line) -> str:
    ends = [diagram.boxes[key].name for key in dict.fromkeys((line.tail, line.head))]
    words = [*line.parts, *filter(None, line.weights.split("\n")), *(["same class"] if line.conflict else [])]
    title = f"{line.title}: " if line.title else ""
    return f"{' → '.join(ends[::-1] if line.flipped else ends)}  {title}{', '.join(words)}"


def _table(diagram: Diagram) -> str:
    """Every numbered edge in words, in three columns."""
    entries = []
    for number, line in _numbered(diagram):
        words = _text(_edge(diagram, line))
        entries.append(
            f'<TD ALIGN="RIGHT">{_small(f"<B>{number}</B>")}&#160;</TD>'
            f'<TD ALIGN="LEFT">{_small(_colored(ALARM, words) if line.conflict else words)}&#160;&#160;&#160;</TD>'
        )
    high = -(-len(entries) // 3)
    body = "".join(f"<TR>{''.join(entries[i::high])}</TR>" for i in range(high))
    return f'<TABLE ALIGN="LEFT" BORDER="0" CELLBORDER="0" CELLPADDING="0" CELLSPACING="2">{body}</TABLE>'


def _order(plan: Plan) -> str:
    schedule, verdict = plan.schedule, legend.verdict(plan)
    verdict = verdict if schedule.proper else _colored(ALARM, verdict)
    first: dict[str, int] = {}
    for number, states in enumerate(schedule.classes, 1):
        for state in states:
            first.setdefault(state, number)
    classes = sorted(set(first.values()))
    swatches = "".join(
        f'<TD BGCOLOR="{tint(number)}" BORDER="1" WIDTH="24" HEIGHT="18">{number}</TD>'
        for number in (classes if len(classes) <= len(TINTS) else ())
    )
    return (
        '<TABLE ALIGN="LEFT" BORDER="0" CELLPADDING="0" CELLSPACING="0"><TR>'
        f"<TD>{legend.order(plan)}&#160;&#160;</TD>{swatches}<TD>&#160;&#160;{verdict}</TD>{_REST}</TR></TABLE>"
    )


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
