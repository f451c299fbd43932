"""Whether a laid-out diagram can be read: nothing lies on a label, and lines run around boxes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from epgraph.drawing.geometry import Picture, Point, Rect, around, crosses
from epgraph.drawing.model import Diagram

MARGIN = 1.0
"""Points that stay free around every label and box."""


@dataclass(frozen=True)
class Fault:
    """Two things that overlap; a ``blemish`` can be told apart all the same."""

    what: str
    blemish: bool = False


def worst(diagram: Diagram, picture: Picture) -> Fault | None:
    """Return a fault that is no blemish if there is one, else a blemish, else None."""
    blemish = None
    for fault in faults(diagram, picture):
        if not fault.blemish:
            return fault
        blemish = fault
    return blemish


def faults(diagram: Diagram, picture: Picture) -> Iterator[Fault]:
    """Yield what overlaps. A quick look at rectangles comes before every measurement of a curve."""
    named = {f"label {i}": rect for i, rect in picture.labels.items()}
    named |= {f"title {'.'.join(path)}": rect for path, rect in picture.titles.items()}
    named |= {f"box {key}": rect for key, rect in picture.boxes.items()}
    near = _Near([(name, {name}, rect) for name, rect in named.items()])
    for name, rect in named.items():
        yield from (
            Fault(f"{name} on {other}") for other, _, area in near.at(rect) if name < other and rect.meets(area)
        )
    for path, frame in picture.frames.items():
        for key, box in picture.boxes.items():
            if diagram.boxes[key].frames[: len(path)] != path and frame.meets(box):
                yield Fault(f"frame {'.'.join(path)} on box {key}")
    solid = [(name, {name}, rect.grown(MARGIN)) for name, rect in named.items()]
    near = _Near([*solid, *((f"head at {key}", {f"box {key}"}, rect) for key, rect in _heads(diagram, picture))])
    for i, curves in picture.routes.items():
        line = diagram.lines[i]
        own = {f"label {i}", f"box {line.tail}", f"box {line.head}"}
        for curve in curves:
            flat = curve.flat()
            extent = around(flat).grown(0.1)  # a straight line has no area, and would meet nothing
            for name, of, rect in near.at(extent):
                if not of & own and rect.meets(extent) and crosses(flat, rect):
                    yield Fault(f"line {i} through {name}", name.startswith("head "))


class _Near:
    """Named rectangles, found by where they are along the longer side of the picture."""

    def __init__(self, items: list[tuple[str, set[str], Rect]]) -> None:
        extent = around([(rect.x, rect.y) for _, _, rect in items])
        self._down = extent.height > extent.width
        self._items = sorted(items, key=lambda item: self._low(item[2]))
        self._lows = [self._low(rect) for _, _, rect in self._items]
        self._longest = max(rect.height if self._down else rect.width for _, _, rect in items)

    def _low(self, rect: Rect) -> float:
        return rect.bottom if self._down else rect.left

    def at(self, rect: Rect) -> list[tuple[str, set[str], Rect]]:
        """Return all that may meet a rectangle."""
        high = rect.top if self._down else rect.right
        first = bisect_left(self._lows, self._low(rect) - self._longest)
        return self._items[first : bisect_right(self._lows, high)]


def _heads(diagram: Diagram, picture: Picture) -> Iterator[tuple[str, Rect]]:
    """Arrowheads, with the box that each points to: lines with one end may share it."""
    for i, curves in picture.routes.items():
        ends = ((diagram.lines[i].tail, curves[0].start, curves[0].points[0]),)
        for key, tip, neck in (*ends, (diagram.lines[i].head, curves[-1].end, curves[-1].points[-1])):
            if tip is not None:
                yield key, around((tip, neck)).grown(1.5)


def place_titles(picture: Picture, sizes: dict[tuple[str, ...], Point]) -> None:
    """Put the name of every frame where no line crosses it: along one of its sides, outside or inside."""
    flat = [curve.flat() for curves in picture.routes.values() for curve in curves]
    taken = [*picture.boxes.values(), *picture.labels.values()]
    for path, frame in picture.frames.items():
        width, height = sizes[path]
        candidates = []
        for y in (frame.top + height / 2, frame.bottom - height / 2, frame.top - height / 2, frame.bottom + height / 2):
            steps = max(int((frame.width - width) / 6), 0)
            candidates += [Rect(frame.left + width / 2 + 6 * i, y, width, height) for i in range(steps + 1)]
            candidates.append(Rect(frame.right - width / 2, y, width, height))
        for x in (frame.left - width / 2, frame.right + width / 2):
            steps = max(int((frame.height - height) / 6), 0)
            candidates += [Rect(x, frame.top - height / 2 - 6 * i, width, height) for i in range(steps + 1)]

        def free(rect: Rect) -> bool:
            near = rect.grown(MARGIN + 0.5)
            return not any(near.meets(other) for other in taken) and not any(crosses(curve, near) for curve in flat)

        picture.titles[path] = next((rect for rect in candidates if free(rect)), candidates[0])
        taken.append(picture.titles[path])
