"""How boxes and lines look: tints of classes, strokes of kinds, sizes and widths."""

from __future__ import annotations

import math
from dataclasses import dataclass

from epgraph.drawing.model import Box, Line

# DejaVu Sans and Verdana have equal widths, so labels fit their boxes even if the viewer of an SVG lacks the font
# of the layout.
FONT = "DejaVu Sans,Verdana,sans-serif"
INK = "#1a1a1a"
GRAY = "#555555"
FRAME = "#9a9a9a"
ALARM = "#b3261e"
MIXED = "#eeeeee"

# Tints of the color-blind-safe palette of Okabe and Ito. The first three, enough for most networks, differ in
# lightness too. Every box also names its class.
TINTS = ("#d3e9f8", "#f3c26b", "#6fbfa3", "#f6eea0", "#e3b4d0", "#8dbbe0", "#f0b48f", "#c9c9c9")


@dataclass(frozen=True)
class Stroke:
    """Line style of the edges of a kind. Kinds differ in more than color."""

    style: str
    color: str
    lines: int = 1

    @property
    def label(self) -> str:
        """The line style in one or two words."""
        lines = ("", "double", "triple")[self.lines - 1]
        return lines if lines and self.style == "solid" else f"{lines} {self.style}".strip()


STROKES = {
    "conv": Stroke("solid", "#3c3c3c"),
    "dense": Stroke("solid", "#000000", lines=2),
    "skip": Stroke("dashed", "#0072b2"),
    "identity": Stroke("dotted", "#00735c"),
    "conv_transpose": Stroke("solid", "#8a4b08", lines=3),
    "pool": Stroke("dotted", "#3c3c3c", lines=2),
    "lateral": Stroke("dashed", "#7a5c00", lines=2),
    "self": Stroke("solid", "#a0522d"),
    "memory": Stroke("dashed", "#7a3b8f"),
}
OTHER = Stroke("bold", "#7a3b8f")
"""Line style of kinds that are not in ``STROKES``; their labels name them."""
MARRIED = Stroke("dashed", "#8a8a8a")
"""Line style of pairs that no edge joins."""

WIDTHS = {1: (1.1, 3.2), 2: (0.8, 1.5), 3: (0.6, 1.2)}
"""Number of parallel lines → least and largest width of each, in points. They stay apart."""
WEIGHTS = (2, 7)
"""Powers of ten of the numbers of weights that have the least and the largest width."""

BASE = (0.85, 0.9)
"""Width and height of the box of a state without an image, in inches."""
GROWTH = (0.05, 0.09)
"""What each doubling of the side of an image adds to them."""
MOST_DOUBLINGS = 8
"""Images of 2⁸ pixels a side and more have boxes of one size."""


def stroke(line: Line) -> Stroke:
    """Return the line style of a line."""
    return MARRIED if line.married else STROKES.get(line.kind, OTHER)


def color(line: Line) -> str:
    """Return the color of a line: that of its kind, or red between states that move together."""
    return ALARM if line.conflict else stroke(line).color


def width(line: Line) -> float:
    """Width of a line in points: it grows with the logarithm of the number of weights, within bounds."""
    if line.married:
        return 1.0
    least, most = WIDTHS[stroke(line).lines]
    low, high = WEIGHTS
    share = (math.log10(max(line.parameters, 1)) - low) / (high - low)
    return round(least + (most - least) * min(max(share, 0.0), 1.0), 2)


def size(box: Box) -> tuple[float, float]:
    """Least width and height of a box in inches: they grow with the log of the side of the image, within bounds."""
    doublings = min(math.log2(box.side), MOST_DOUBLINGS)
    across, down = (round(base + growth * doublings, 3) for base, growth in zip(BASE, GROWTH, strict=True))
    return across, down


def tint(number: int) -> str:
    """Return the color of a class."""
    return TINTS[(number - 1) % len(TINTS)]


def fill(box: Box) -> str:
    """Color of a box: that of its first class; white where it does not move, gray for states of several classes."""
    if box.role == "block" and len(box.classes) > 1:
        return MIXED
    return tint(box.classes[0]) if box.classes else "white"
