"""A diagram as a picture: the first of several layouts in which nothing overlaps, else a table of the edges."""

from __future__ import annotations

from epgraph.drawing.choose import Chosen
from epgraph.drawing.geometry import Picture, Rect
from epgraph.drawing.layout import draw, measure, place
from epgraph.drawing.legibility import worst
from epgraph.drawing.markup import caption
from epgraph.drawing.model import Diagram
from epgraph.drawing.source import POINTS, Labels, placed_source
from epgraph.drawing.table import edge_table, table_dot
from epgraph.drawing.tikz import table_tikz, tikz_source

TRIES: tuple[tuple[Labels, float], ...] = (
    ("full", 1.0),
    ("full", 1.5),
    ("full", 2.2),
    ("numbers", 1.0),
    ("numbers", 1.6),
    ("none", 1.0),
    ("none", 2.0),
)
"""What stands on the lines, and a multiple of the usual distances; the first without a fault is drawn."""

HARD_TRIES: tuple[tuple[Labels, float], ...] = (("full", 1.5), ("none", 1.5))
"""Those of a network whose layout takes long."""

# Sums of the columns that the lines cross. The time of a layout grows faster than they do, and it cannot be stopped.
EASY = 400
"""Up to here all of ``TRIES`` take a second."""
LABELED = 1000
"""Up to here one layout with labels takes a second."""
LAID_OUT = 1500
"""Up to here one layout without labels takes a second; minutes are possible above."""

MOST_SIDE, MOST_DOTS = 30_000, 12_000_000
"""Longest side and area of a bitmap, in dots."""

MOST_TANGLED = 150
"""Lines up to which a diagram that is not easy is laid out, and up to which a table explains their numbers."""


def drawn(diagram: Diagram, chosen: Chosen, format: str) -> tuple[bytes, str]:
    """Return a picture in ``svg``, ``png``, ``pdf`` or ``tex``, and a sentence if it is a table of edges."""
    found = legible(diagram, chosen)
    if found is None:
        table = edge_table(diagram)
        why = f"{len(diagram.boxes)} boxes with {len(diagram.lines):,} edges are too many for a diagram"
        note = f"{why}; every edge is drawn as a mark in a table of the states"
        if format == "tex":
            return table_tikz(diagram, table).encode(), note
        return draw(table_dot(diagram, table, _dots(table.bounds()) if format == "png" else None), format), note
    picture, labels = found
    if format == "tex":
        return tikz_source(diagram, picture, labels).encode(), ""
    text = caption(diagram, labeled=labels != "none", numbered=labels == "numbers")
    below = chosen.direction == "LR" or chosen.levels is not None
    dots = _dots(picture.bounds()) if format == "png" else None
    return draw(placed_source(diagram, picture, labels, below, measure([text])[0], dots), format), ""


def _dots(bounds: Rect) -> int:
    """Dots per inch of a bitmap: fewer for a large picture, which would take seconds and exceed what viewers open."""
    wide, high = bounds.width / POINTS, bounds.height / POINTS + 3
    return max(int(min(96, MOST_SIDE / max(wide, high), (MOST_DOTS / (wide * high)) ** 0.5)), 1)


def legible(diagram: Diagram, chosen: Chosen) -> tuple[Picture, Labels] | None:
    """Return the first layout without a fault, else the first with blemishes alone, else None.

    A blemish alone is no reason to draw less of the labels.
    """
    second = None
    for labels, spread in _tries(diagram):
        if second is not None and labels != second[1]:
            break
        picture = place(diagram, chosen.direction, labels, spread, chosen.levels)
        fault = worst(diagram, picture)
        if fault is None:
            return picture, labels
        if fault.blemish and second is None:
            second = picture, labels
    return second


def is_slow(diagram: Diagram) -> bool:
    """Whether drawing may take longer than a second."""
    return len(diagram.lines) > EASY or (diagram.span > EASY and bool(_tries(diagram)))


def _tries(diagram: Diagram) -> tuple[tuple[Labels, float], ...]:
    many = len(diagram.lines) > MOST_TANGLED
    if diagram.span <= EASY:
        return (TRIES[0], *HARD_TRIES) if many else TRIES
    if many or diagram.span > LAID_OUT:
        return ()
    return HARD_TRIES if diagram.span <= LABELED else HARD_TRIES[1:]
