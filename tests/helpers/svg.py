"""What overlaps in the SVG of a diagram, measured from its paths and from the widths of letters in DejaVu Sans."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib
from PIL import ImageFont

SVG = "{http://www.w3.org/2000/svg}"
STEPS = 24
"""Straight pieces of a Bézier curve."""
TOLERANCE = 0.5
"""Points by which two things may share an area: the rounding of Graphviz."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom; y grows downwards, as in SVG."""
Line = list[tuple[float, float]]


@dataclass
class Group:
    """A node or an edge: its title, and its parts."""

    title: str
    edge: bool
    texts: list[tuple[str, Box]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    @property
    def ends(self) -> set[str]:
        return set(self.title.split("->")) if self.edge else {self.title}

    @property
    def outline(self) -> Box | None:
        """The rectangle around a box; none for an edge, or for what only has text or surrounds others."""
        if self.edge or self.title.startswith(" ") or not self.lines:
            return None
        return around(point for line in self.lines for point in line)


@cache
def _font(bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), 200)


def _text_box(element: ET.Element) -> tuple[str, Box]:
    text = element.text or ""
    size = float(element.get("font-size", "14"))
    left, top, right, bottom = (
        v * size / 200 for v in _font(element.get("font-weight") == "bold").getbbox(text, anchor="ls")
    )
    x, y = float(element.get("x", "0")), float(element.get("y", "0"))
    shift = {"middle": (left + right) / 2, "end": right}.get(element.get("text-anchor", "start"), 0)
    return text, (x + left - shift, y + top, x + right - shift, y + bottom)


def _points(text: str) -> Line:
    values = [float(v) for v in re.findall(r"-?[\d.]+(?:e-?\d+)?", text)]
    return list(zip(values[::2], values[1::2], strict=True))


def _path(data: str) -> Line:
    """Flatten a path of the commands M, C and L, all absolute, as Graphviz writes them."""
    found: Line = []
    for command, rest in re.findall(r"([MCLZz])([^MCLZz]*)", data):
        points = _points(rest)
        if command in "ML":
            found += points
            continue
        for i in range(0, len(points), 3):
            a, (b, c, d) = found[-1], points[i : i + 3]
            for step in range(1, STEPS + 1):
                t = step / STEPS
                u = 1 - t
                w = (u**3, 3 * u * u * t, 3 * u * t * t, t**3)
                found.append(tuple(sum(k * p[axis] for k, p in zip(w, (a, b, c, d), strict=True)) for axis in (0, 1)))  # type: ignore[arg-type]
    return found


def groups(svg: str) -> list[Group]:
    found = []
    for element in ET.fromstring(svg).iter(f"{SVG}g"):
        if element.get("class") not in ("node", "edge"):
            continue
        group = Group(element.findtext(f"{SVG}title") or "", element.get("class") == "edge")
        for part in element.iter():
            # The ground behind a label hides the line of its own edge.
            ground = group.edge and part.get("fill") == "white" and part.get("stroke") == "none"
            if part.tag == f"{SVG}text":
                group.texts.append(_text_box(part))
            elif part.tag == f"{SVG}path":
                group.lines.append(_path(part.get("d", "")))
            elif part.tag in (f"{SVG}polygon", f"{SVG}polyline") and not ground:
                group.lines.append(_points(part.get("points", "")))
            elif part.tag == f"{SVG}ellipse":
                x, y, rx, ry = (float(part.get(key, "0")) for key in ("cx", "cy", "rx", "ry"))
                group.lines.append([(x - rx, y - ry), (x + rx, y + ry)])
        found.append(group)
    return found


def around(points: Iterator[tuple[float, float]]) -> Box:
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _meet(one: Box, other: Box) -> bool:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across > TOLERANCE and down > TOLERANCE


def _runs_through(line: Line, box: Box) -> bool:
    left, top, right, bottom = box[0] + TOLERANCE, box[1] + TOLERANCE, box[2] - TOLERANCE, box[3] - TOLERANCE
    for (x0, y0), (x1, y1) in pairwise(line):
        if max(x0, x1) <= left or min(x0, x1) >= right or max(y0, y1) <= top or min(y0, y1) >= bottom:
            continue
        # Cut the piece at each side; what is left lies inside.
        enter, leave = 0.0, 1.0
        for low, high, start, step in ((left, right, x0, x1 - x0), (top, bottom, y0, y1 - y0)):
            if step:
                one, other = sorted(((low - start) / step, (high - start) / step))
                enter, leave = max(enter, one), min(leave, other)
        if enter < leave:
            return True
    return False


def overlaps(svg: str) -> list[str]:
    """Return every overlap, in words: of labels with one another, with foreign edges and foreign boxes, and of edges
    with boxes that are not their ends."""
    found = []
    parts = groups(svg)
    for one, other in combinations(parts, 2):
        found += [f"'{a}' on '{b}'" for a, x in one.texts for b, y in other.texts if _meet(x, y)]
        for group, text in ((one, other), (other, one)):
            outline = group.outline
            if outline is not None:
                found += [f"'{a}' of {text.title} on box {group.title}" for a, x in text.texts if _meet(x, outline)]
    for edge in (group for group in parts if group.edge):
        extents = [around(iter(line)) for line in edge.lines]
        for other in parts:
            if other is edge:
                continue
            for line, extent in zip(edge.lines, extents, strict=True):
                near = (extent[0] - 1, extent[1] - 1, extent[2] + 1, extent[3] + 1)
                found += [
                    f"{edge.title} through '{a}'" for a, x in other.texts if _meet(x, near) and _runs_through(line, x)
                ]
                outline = other.outline
                if outline and other.title not in edge.ends and _meet(outline, near) and _runs_through(line, outline):
                    found.append(f"{edge.title} through box {other.title}")
    return found
