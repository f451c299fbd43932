"""Figures of matplotlib: drawn once, for the page, and as files for papers."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from epgraph.drawing.comparison import COLORS, STYLES
from epgraph.errors import visible
from epgraph.reporting.blocks import Picture
from epgraph.reporting.themed import themed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LETTERS = 48
"""Letters of a name within a figure."""

_FIXED: Any = {"svg.hashsalt": "epgraph"}


def picture(name: str, caption: str, description: str, draw: Callable[[], Figure], *, files: bool) -> Picture:
    """Make a picture of a figure that ``draw`` returns; ``files``: for papers as well."""
    import matplotlib as mpl

    with mpl.rc_context(_FIXED), warnings.catch_warnings():
        # Of letters that the font has not, and of axes without a positive value: the figure shows both.
        warnings.simplefilter("ignore", UserWarning)
        figure = draw()
        content = {}
        if files:
            content["png"] = _saved(figure, "png", dpi=150)
            # The layout stays what it is, and is half of the time of a drawing.
            figure.set_layout_engine("none")
            content["svg"] = _saved(figure, "svg")
        with mpl.rc_context({"svg.fonttype": "none"}):
            inline = themed(_saved(figure, "svg", transparent=True), f"{name}-")
    return Picture(name, caption, description, inline, content)


def _saved(figure: Figure, suffix: str, **options: Any) -> bytes:
    content = io.BytesIO()
    metadata = {"Date": None} if suffix == "svg" else {}
    figure.savefig(content, format=suffix, metadata=metadata, **options)
    return content.getvalue()


def line_style(number: int) -> dict[str, str]:
    """Return color and line style of a series by its number, told apart by the color-blind too."""
    return {"color": COLORS[number % len(COLORS)], "linestyle": STYLES[number // len(COLORS) % len(STYLES)]}


def short(text: str) -> str:
    """Return a name as it can stand in a figure of matplotlib."""
    # A dollar would begin a formula, and what begins with "_" is left out of legends.
    text = cut(text).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def cut(text: str) -> str:
    """Return a name on one line, and of a long one its beginning."""
    text = visible(text)
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


def stem(*parts: str | int) -> str:
    """Return the name of a file from words and numbers."""
    return "-".join(re.sub(r"[^a-z0-9]+", "-", str(part).lower()).strip("-") for part in parts)
