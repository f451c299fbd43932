"""DOT → picture in bounded time: the full layout, else a simpler one, else a note."""

from __future__ import annotations

import shutil
import subprocess
import sys

from epgraph.drawing.fonts import bundled_fonts
from epgraph.errors import EpgraphError

TIMEOUT_SECONDS = 5.0
"""Longest time for one layout. Graphviz takes minutes to route a few hundred edges, and cannot be interrupted."""

MAX_INSTANT_LINES = 100
"""Lines of DOT (about one per state and edge) up to which the full layout is fast enough to run without a timeout."""

_SIMPLE = {
    "splines": "line",
    "overlap": "prism",
    "outputorder": "edgesfirst",
    "label": "simplified: too large for the layered layout",
}
"""Attributes of the simpler layout: sfdp places thousands of states in seconds, and draws straight edges."""

_CHILD = """
import sys, pygraphviz
format, program = sys.argv[1:3]
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())
if program != "dot":
    graph.graph_attr.update(item.split("=", 1) for item in sys.argv[3:])
    for edge in graph.edges():
        edge.attr["label"] = edge.attr["xlabel"] = ""
        edge.attr["arrowsize"] = "0.5"
sys.stdout.buffer.write(graph.draw(format=format, prog=program))
"""


def layout(source: str, format: str, size: int) -> tuple[bytes, str]:
    """Lay a graph out.

    Parameters
    ----------
    source
        The graph in DOT.
    format
        ``svg``, ``png`` or ``pdf``.
    size
        Approximate number of states and edges.

    Returns
    -------
    tuple
        The picture, and a sentence if it is not the full layout; else empty.

    Raises
    ------
    EpgraphError
        If the program ``dot`` is installed and cannot draw this format.
    """
    if size <= MAX_INSTANT_LINES:
        return _full(source, format), ""
    with bundled_fonts():
        for program, note in (("dot", ""), ("sfdp", "with straight edges and without labels of edges")):
            options = [f"{key}={value}" for key, value in _SIMPLE.items()]
            command = [sys.executable, "-c", _CHILD, format, program, *options]
            try:
                process = subprocess.run(
                    command, input=source.encode(), capture_output=True, timeout=TIMEOUT_SECONDS, check=True
                )
            except (subprocess.SubprocessError, OSError):
                continue
            late = f"the full layout took more than {TIMEOUT_SECONDS:g} s; the network is drawn {note}"
            return process.stdout, late if note else ""
    text = f"{size:,} states and edges are too many to draw; 'epgraph check' lists them"
    return _full(f'graph {{ note [shape=plaintext, fontname="DejaVu Sans", label="{text}"] }}', format), text


def _full(source: str, format: str) -> bytes:
    if shutil.which("dot"):
        import graphviz

        try:
            return bytes(graphviz.Source(source).pipe(format=format))
        except graphviz.CalledProcessError as error:
            # E.g. a Graphviz that was built without cairo has no PDF output.
            reason = error.stderr.decode(errors="replace").strip() if error.stderr else str(error)
            raise EpgraphError(f"the program 'dot' cannot draw {format}: {reason}", "write a .dot file") from None
    import pygraphviz

    with bundled_fonts():
        return bytes(pygraphviz.AGraph(string=source).draw(format=format, prog="dot"))
