"""How a diagram is laid out: the direction, and whether edges can have labels."""

from __future__ import annotations

from dataclasses import dataclass

from epgraph.drawing.model import Diagram, in_stages
from epgraph.drawing.rows import is_u, levels
from epgraph.drawing.source import Direction

LAYOUTS = ("auto", "left-right", "top-down", "u", "stages")

# Edges have labels up to this sum of the columns that they cross. Above it labels cannot be matched to edges, and dot
# needs minutes to place them.
MAX_LABELED_COLUMNS = 1500

# From this number of columns on the diagram runs from top to bottom: a page scrolls downwards, not sideways.
MIN_VERTICAL_COLUMNS = 14


@dataclass(frozen=True)
class Chosen:
    """A layout.

    Attributes
    ----------
    labeled
        Whether edges have labels in DOT.
    levels
        Row of every box in a U, else None.
    """

    direction: Direction
    labeled: bool
    levels: dict[str, int] | None = None


def choose(diagram: Diagram, layout: str) -> tuple[Diagram, Chosen]:
    """Return the diagram with the frames of a layout of ``LAYOUTS``, and the layout."""
    labeled = diagram.span <= MAX_LABELED_COLUMNS
    long = max(diagram.column.values()) >= MIN_VERTICAL_COLUMNS
    if layout == "u" or (layout == "auto" and not diagram.frames and is_u(diagram)):
        return diagram, Chosen("TB", labeled, levels(diagram))
    if layout == "stages":
        diagram = in_stages(diagram)
    down = layout == "top-down" or (layout in ("auto", "stages") and long)
    return diagram, Chosen("TB" if down else "LR", labeled)
