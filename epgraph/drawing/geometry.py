"""Rectangles and Bézier curves of a laid-out diagram, in points; y grows upwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Point = tuple[float, float]
STEPS = 12
"""Straight pieces in which a Bézier curve is measured."""


@dataclass(frozen=True)
class Rect:
    """A rectangle by its center, width and height."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Smallest x."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Largest x."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """Smallest y."""
        return self.y - self.height / 2

    @property
    def top(self) -> float:
        """Largest y."""
        return self.y + self.height / 2

    def grown(self, by: float) -> Rect:
        """Return it with a margin on every side."""
        return Rect(self.x, self.y, self.width + 2 * by, self.height + 2 * by)

    def meets(self, other: Rect) -> bool:
        """Whether both share an area."""
        return (
            abs(self.x - other.x) * 2 < self.width + other.width
            and abs(self.y - other.y) * 2 < self.height + other.height
        )

    def crossed(self, one: Point, other: Point) -> bool:
        """Whether a straight line from one point to another has a piece inside (Liang and Barsky's clipping)."""
        (x, y), (dx, dy) = one, (other[0] - one[0], other[1] - one[1])
        enter, leave = 0.0, 1.0
        for p, q in ((-dx, x - self.left), (dx, self.right - x), (-dy, y - self.bottom), (dy, self.top - y)):
            if p == 0:
                if q <= 0:
                    return False
            elif p < 0:
                enter = max(enter, q / p)
            else:
                leave = min(leave, q / p)
        return enter < leave


@dataclass(frozen=True)
class Curve:
    """A chain of cubic Bézier curves: 3k + 1 control points, and the tips of arrowheads at its ends."""

    points: tuple[Point, ...]
    start: Point | None = None
    end: Point | None = None

    def flat(self) -> list[Point]:
        """Points along it, close enough together to take straight lines between them."""
        found = [] if self.start is None else [self.start]
        found.append(self.points[0])
        for i in range(0, len(self.points) - 1, 3):
            a, b, c, d = self.points[i : i + 4]
            for step in range(1, STEPS + 1):
                t = step / STEPS
                u = 1 - t
                k, m, n, o = u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t
                x = k * a[0] + m * b[0] + n * c[0] + o * d[0]
                found.append((x, k * a[1] + m * b[1] + n * c[1] + o * d[1]))
        return found if self.end is None else [*found, self.end]


@dataclass
class Picture:
    """Where everything is.

    Attributes
    ----------
    boxes
        By key.
    routes
        Curves of each line, by its index.
    labels
        Rectangles of labels, by the index of the line.
    frames, titles
        Rectangles of frames and of their names, by path.
    """

    boxes: dict[str, Rect]
    routes: dict[int, list[Curve]]
    labels: dict[int, Rect]
    frames: dict[tuple[str, ...], Rect] = field(default_factory=dict)
    titles: dict[tuple[str, ...], Rect] = field(default_factory=dict)

    def rects(self) -> Iterator[Rect]:
        """Everything with an area."""
        yield from self.boxes.values()
        yield from self.labels.values()
        yield from self.frames.values()
        yield from self.titles.values()

    def bounds(self) -> Rect:
        """Return the rectangle around everything."""
        points = [p for curves in self.routes.values() for curve in curves for p in curve.flat()]
        points += [corner for r in self.rects() for corner in ((r.left, r.bottom), (r.right, r.top))]
        return around(points)


def around(points: Sequence[Point]) -> Rect:
    """Return the rectangle around points."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return Rect((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys))


def joined(curves: Sequence[Curve]) -> Curve:
    """Return curves as one, with straight lines between them."""
    points = list(curves[0].points)
    for curve in curves[1:]:
        (x0, y0), (x1, y1) = points[-1], curve.points[0]
        points += [((2 * x0 + x1) / 3, (2 * y0 + y1) / 3), ((x0 + 2 * x1) / 3, (y0 + 2 * y1) / 3), *curve.points]
    return Curve(tuple(points), curves[0].start, curves[-1].end)


def crosses(curve: Sequence[Point], rect: Rect) -> bool:
    """Whether a flattened curve has a piece inside a rectangle."""
    left, right, bottom, top = rect.left, rect.right, rect.bottom, rect.top
    for one, other in pairwise(curve):
        (x0, y0), (x1, y1) = one, other
        # Most pieces lie wholly to one side.
        if (x0 <= left and x1 <= left) or (x0 >= right and x1 >= right):
            continue
        if (y0 <= bottom and y1 <= bottom) or (y0 >= top and y1 >= top):
            continue
        if rect.crossed(one, other):
            return True
    return False
