"""The network as a diagram: states as boxes colored by update class, edges styled by kind."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from epgraph.arguments import choice, flag, whole_number
from epgraph.arguments import path as file_path
from epgraph.arguments import shown as shown_value
from epgraph.drawing.choose import LAYOUTS, Chosen, choose
from epgraph.drawing.formats import suffix
from epgraph.drawing.mermaid import mermaid_source
from epgraph.drawing.model import Diagram, diagram
from epgraph.drawing.picture import drawn, is_slow
from epgraph.drawing.source import dot_source
from epgraph.errors import EpgraphError
from epgraph.files import write_bytes
from epgraph.graph import SCHEDULES, checked
from epgraph.language import Architecture
from epgraph.lowering import depicted

FORMATS = ("svg", "png", "pdf", "dot", "gv", "mmd", "tex")
"""Suffixes that ``render`` writes."""

Depth = int | Literal["all"] | None


def dot(
    architecture: Architecture | str | os.PathLike[str],
    schedule: str | None = None,
    *,
    moral: bool = False,
    layout: str = "auto",
    depth: Depth = None,
) -> str:
    """Return the diagram as DOT source; the same architecture gives the same text, byte for byte.

    Parameters
    ----------
    architecture
        An architecture, or a path or YAML text to load.
    schedule
        Update schedule to show (a key of ``SCHEDULES``); by default the architecture's own.
    moral
        Draw the pairs of states that no edge joins although one reads the other: with the energy ``predictive`` those
        with edges into one state, which complete the moral graph.
    layout
        ``left-right``, ``top-down``, ``u`` (an encoder down, a decoder up), ``stages`` (a frame around the states whose
        images have one size), or ``auto``, which chooses among the first three.
    depth
        Levels of blocks that are opened; deeper ones are one box each, and equal blocks in a row are drawn once, marked
        "× n". ``"all"`` draws every state. None opens as much as stays legible.

    Raises
    ------
    EpgraphError
        If the network has mistakes, an argument is not as described, or the energy has no such pairs for ``moral``.
    """
    shown, chosen = _prepared(architecture, schedule, moral, layout, depth)
    return dot_source(shown, chosen.direction, labeled=chosen.labeled, levels=chosen.levels)


def render(
    architecture: Architecture | str | os.PathLike[str],
    path: str | os.PathLike[str],
    schedule: str | None = None,
    *,
    moral: bool = False,
    layout: str = "auto",
    depth: Depth = None,
    report: Callable[[str], None] = warnings.warn,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Draw the network to a file; its suffix is the format.

    Pictures are ``.svg``, ``.png`` and ``.pdf``; ``.tex`` is a picture in TikZ with the same positions. ``.dot``,
    ``.gv`` and ``.mmd`` (Mermaid) leave the layout to the program that reads them.

    Parameters
    ----------
    path
        File to write; missing directories are created.
    architecture, schedule, moral, layout, depth
        As for ``dot``.
    report
        Called with a sentence if the network is too large or too dense for boxes and lines, and is drawn as a table of
        its edges; by default ``warnings.warn``.
    progress
        Called with what is being done, before work that may take longer than a second.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    EpgraphError
        As for ``dot``, and if the suffix is unknown or the file cannot be written.
    """
    path = file_path("path", path)
    format = suffix(path, FORMATS)
    shown, chosen = _prepared(architecture, schedule, moral, layout, depth)
    if format in ("dot", "gv"):
        text = dot_source(shown, chosen.direction, labeled=chosen.labeled, levels=chosen.levels)
        return write_bytes(path, text.encode())
    if format == "mmd":
        return write_bytes(path, mermaid_source(shown, chosen.direction).encode())
    if progress and is_slow(shown):
        progress(f"laying out {len(shown.boxes)} boxes and {len(shown.lines):,} edges …")
    picture, note = drawn(shown, chosen, format)
    if note:
        report(f"{path}: {note}")
    return write_bytes(path, picture)


def _prepared(
    architecture: Architecture | str | os.PathLike[str], schedule: str | None, moral: bool, layout: str, depth: Depth
) -> tuple[Diagram, Chosen]:
    graph = checked(architecture, None if schedule is None else choice("schedule", schedule, SCHEDULES))
    layout = choice("layout", layout, LAYOUTS)
    if isinstance(depth, str) and depth != "all":
        raise EpgraphError(f"depth expects a whole number or 'all', found {shown_value(depth)}", "e.g. 1")
    if depth is not None and depth != "all":
        depth = whole_number("depth", depth, 0)
    plan = depicted(graph, schedule or graph.architecture.dynamics.schedule)
    return choose(diagram(graph, plan, moral=flag("moral", moral), depth=depth), layout)
