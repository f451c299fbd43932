"""Rows of a diagram in the form of a U: an encoder runs down on the left, a decoder up on the right."""

from __future__ import annotations

from epgraph.drawing.model import Diagram


def is_u(diagram: Diagram) -> bool:
    """Whether images shrink and grow again along one path, and at least two edges lead straight across."""
    order = sorted(diagram.boxes.values(), key=lambda box: diagram.column[box.key])
    if len({diagram.column[box.key] for box in order}) < len(order) or len(order) < 6:
        return False
    sides = [box.side for box in order if box.role not in ("input", "output")]
    turn = sides.index(min(sides)) if sides else 0
    falls, rises = sides[: turn + 1], sides[turn:]
    if sorted(falls, reverse=True) != falls or sorted(rises) != rises or len(set(falls)) < 2 or len(set(rises)) < 2:
        return False
    found = levels(diagram)
    left = {box.key for box in order[: len(order) // 2]}
    across = [x for x in diagram.lines if found[x.tail] == found[x.head] and (x.tail in left) is not (x.head in left)]
    return len(across) >= 2


def levels(diagram: Diagram) -> dict[str, int]:
    """Return the row of every box, from the top: those of an edge between images of one size share a row."""
    column = diagram.column
    order = sorted(diagram.boxes, key=lambda key: column[key])
    places = sorted(set(column.values()))
    down = _turn(diagram, order, places)
    row = {key: places.index(column[key]) for key in order if column[key] <= down}
    bottom = max(row.values())
    partners: dict[str, list[int]] = {}
    for line in diagram.lines:
        for one, other in ((line.tail, line.head), (line.head, line.tail)):
            if other in row and one not in row and diagram.boxes[one].stage == diagram.boxes[other].stage:
                partners.setdefault(one, []).append(row[other])
    below = bottom + 1
    for place in (place for place in places if place > down):
        boxes = [key for key in order if column[key] == place]
        wished = [r for key in boxes for r in partners.get(key, ()) if r < below]
        below = max(wished) if wished else below - 1
        row |= dict.fromkeys(boxes, below)
    top = min(row.values())
    return {key: row[key] - top for key in diagram.boxes}


def _turn(diagram: Diagram, order: list[str], places: list[int]) -> int:
    """Column of the last box on the way down."""
    hidden = [key for key in order if diagram.boxes[key].role not in ("input", "output")] or order
    smallest = min(diagram.boxes[key].side for key in hidden)
    at = [diagram.column[key] for key in hidden if diagram.boxes[key].side == smallest]
    if smallest == max(diagram.boxes[key].side for key in hidden):
        return places[(len(places) - 1) // 2]
    return at[(len(at) - 1) // 2]
