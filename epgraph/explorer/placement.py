"""Where the states stand: Graphviz places a network of ordinary size, and layers of states a large one."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import networkx as nx

from epgraph.energies.directed import arrows
from epgraph.graph import NetworkGraph

MOST_PLACED, MOST_PLACED_EDGES = 300, 1_500
"""States and edges up to which Graphviz places a network; it needs too long for more."""

MOST_RANKED = 30
"""States up to which a network with cycles is drawn in ranks too; a large one has no direction to show."""

TIMEOUT_SECONDS = 2.0
"""Longest time for Graphviz, which cannot be interrupted otherwise; then the layers are drawn."""

WIDTH, HEIGHT = 130.0, 64.0
"""Room of a state with the space around it."""

LONGEST_ROW = 8 * WIDTH
"""Width from which on a picture is broken into rows."""

ASPECT = 1.7
"""Width of a picture in rows, relative to its height."""

MOST_STRETCHED = 2.5
"""Largest factor by which heights grow in a picture that is far wider than it is high."""

Positions = dict[str, tuple[float, float]]

_CHILD = """
import sys, pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())
graph.layout(prog=sys.argv[1])
for node in graph.nodes():
    x, _, y = node.attr["pos"].partition(",")
    print(node, x, y)
"""


def place(graph: NetworkGraph, program: Callable[[str, str], str | None] | None = None) -> Positions:
    """Return the middle of each state, in pixels; y grows downwards.

    A network without cycles stands in layers from left to right, each state after those with an edge into it. A long
    one is broken into rows, like a text.

    Parameters
    ----------
    program
        Returns what Graphviz says of a graph in DOT, laid out by the program that is named, as lines ``name x y``;
        None where it takes too long. Left out, Graphviz itself.
    """
    directed = nx.DiGraph(arrows(graph))
    forward = nx.is_directed_acyclic_graph(directed)
    found: Positions | None = None
    if len(graph.states) <= MOST_PLACED and len(graph.edges) <= MOST_PLACED_EDGES:
        name = "dot" if forward or len(graph.states) <= MOST_RANKED else "sfdp"
        found = _read((program or _graphviz)(name, _dot(directed, name)), graph)
    if found is None:
        found = _layered(graph, directed, forward)
    return _stretched(_rows(found)) if forward else found


def _dot(directed: nx.DiGraph[str], program: str) -> str:
    """The graph with boxes of one size and without labels: no text is measured, and no line is routed."""
    size = f'shape=box fixedsize=true label="" width={WIDTH * 0.75 / 72:.2f} height={HEIGHT * 0.7 / 72:.2f}'
    options = "rankdir=LR splines=false nodesep=0.3 ranksep=0.5" if program == "dot" else "overlap=prism splines=false"
    # In quotes: "node" and "edge" are words of the language.
    nodes = "".join(f'"{name}";' for name in directed)
    edges = "".join(f'"{one}" -> "{other}";' for one, other in directed.edges)
    return f"digraph {{ {options}; node [{size}]; {nodes} {edges} }}"


def _graphviz(program: str, source: str) -> str | None:
    try:
        process = subprocess.run(
            [sys.executable, "-c", _CHILD, program],
            input=source.encode(),
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return process.stdout.decode()


def _read(lines: str | None, graph: NetworkGraph) -> Positions | None:
    """Read ``name x y``; None unless every state has its place."""
    rows = [line.split() for line in (lines or "").splitlines()]
    places = {row[0]: (float(row[1]), -float(row[2])) for row in rows if len(row) == 3}
    return {name: places[name] for name in graph.states} if places.keys() == graph.states.keys() else None


def _layered(graph: NetworkGraph, directed: nx.DiGraph[str], forward: bool) -> Positions:
    """Layers from left to right: by the longest way from the input, or where there are cycles by the shortest.

    Within a layer states stand near those of the layer before that an edge joins them to.
    """
    if forward:
        layers = [list(layer) for layer in nx.topological_generations(directed)]
    else:
        both = directed.to_undirected()
        layers = [list(layer) for layer in nx.bfs_layers(both, [graph.input.name])]
        left = directed.nodes - {name for layer in layers for name in layer}
        layers += [sorted(left, key=list(graph.states).index)] if left else []
    positions: Positions = {}
    x = 0.0
    for layer in layers:
        wanted = {name: _mean([positions[n][1] for n in _joined(directed, name) if n in positions]) for name in layer}
        order = {name: i for i, name in enumerate(layer)}
        layer.sort(key=lambda name: (wanted[name], order[name]))
        # A layer of hundreds is a block of several columns.
        columns = max(1, round(math.sqrt(len(layer) * HEIGHT / WIDTH / 3)))
        rows = math.ceil(len(layer) / columns)
        for i, name in enumerate(layer):
            column, row = divmod(i, rows)
            positions[name] = (x + column * WIDTH, (row - (min(rows, len(layer)) - 1) / 2) * HEIGHT)
        x += columns * WIDTH + WIDTH * 0.4
    return positions


def _joined(directed: nx.DiGraph[str], name: str) -> list[str]:
    return [*directed.predecessors(name), *directed.successors(name)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _stretched(positions: Positions) -> Positions:
    """Use more of the height where a picture is far wider than it is high: edges are then further apart."""
    xs, ys = zip(*positions.values(), strict=True)
    high = max(ys) - min(ys)
    factor = min(MOST_STRETCHED, (max(xs) - min(xs)) / (ASPECT * high)) if high else 1.0
    return {name: (x, y * max(factor, 1.0)) for name, (x, y) in positions.items()}


def _rows(positions: Positions) -> Positions:
    """Break what is much wider than it is high into rows of whole columns, each from left to right."""
    columns, ys = sorted({x for x, _ in positions.values()}), [y for _, y in positions.values()]
    width, height = columns[-1] - columns[0] + WIDTH, max(ys) - min(ys) + 1.5 * HEIGHT
    rows = round(math.sqrt(width / (ASPECT * height)))
    if rows < 2 or width <= LONGEST_ROW:
        return positions
    in_row = math.ceil(len(columns) / rows)
    row_of = {x: i // in_row for i, x in enumerate(columns)}
    broken = {}
    for name, (x, y) in positions.items():
        row = row_of[x]
        broken[name] = (x - columns[row * in_row], y + row * height)
    return broken
