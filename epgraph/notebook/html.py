"""Tables and small curves as HTML. All text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from epgraph.html import escape

MOST_ROWS = 60
"""Rows of a table; of more, the first and the last ones are shown."""

WIDTH, HEIGHT = 180, 36
"""Size of a small curve in pixels."""


def page(title: str, *parts: str) -> dict[str, str]:
    """Return a title in bold and parts of HTML below it, as a notebook takes them."""
    return {"text/html": f"<div><p><b>{escape(title)}</b></p>{''.join(parts)}</div>"}


def line(text: str) -> str:
    """Return a paragraph of text."""
    return f"<p>{escape(text)}</p>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table. Beyond ``MOST_ROWS`` a row in the middle says how many are left out."""
    cells = ["".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row) for row in rows]
    if len(cells) > MOST_ROWS:
        half = MOST_ROWS // 2
        left_out = f'<td colspan="{len(head)}">… {len(cells) - 2 * half:,} more …</td>'
        cells = [*cells[:half], left_out, *cells[-half:]]
    names = "".join(f'<th style="text-align:left">{escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<table style="margin-bottom:8px"><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>'


def curve(label: str, values: Sequence[float | None], *, log: bool = False) -> str:
    """Return a small curve with its label, and its last value; nothing where there are fewer than two values.

    A value that is no finite number (or none above 0 on a logarithmic axis) is left out.
    """
    usable = [value is not None and math.isfinite(value) and (value > 0 or not log) for value in values]
    points = [(i, float(v or 0.0)) for i, (v, good) in enumerate(zip(values, usable, strict=True)) if good]
    if len(points) < 2:
        return ""
    heights = [math.log10(v) if log else v for _, v in points]
    low, high = min(heights), max(heights)
    across, up = (WIDTH - 4) / (len(values) - 1), (HEIGHT - 4) / ((high - low) or 1.0)
    path = " ".join(
        f"{2 + i * across:.1f},{HEIGHT - 2 - (h - low) * up:.1f}" for (i, _), h in zip(points, heights, strict=True)
    )
    picture = (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(label)}">'
        f'<polyline points="{path}" fill="none" stroke="#0072b2" stroke-width="1.5"/></svg>'
    )
    scale = ", log scale" if log else ""
    return f"<tr><td>{escape(label)}{scale}</td><td>{picture}</td><td>{points[-1][1]:.4g}</td></tr>"


def curves(*rows: str) -> str:
    """Return a table of ``curve``; nothing without one."""
    return f"<table><tbody>{''.join(rows)}</tbody></table>" if any(rows) else ""
