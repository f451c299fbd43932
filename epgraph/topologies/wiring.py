"""Helpers of the templates: start a network, join two states, turn a graph into states and edges."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import networkx as nx

from epgraph.builder import Network
from epgraph.builder.network import End
from epgraph.kinds import Shape
from epgraph.topologies.template import RECIPE


def begin(name: str, input: Shape, *, classes: int, targets: Shape | None = None) -> Network:
    """Return a network without states that trains with the common recipe."""
    output = {"classes": classes} if targets is None else {"shape": targets}
    return Network(name, input=input, output=output, activation="relu1", **RECIPE)


def join(net: Network, source: End, target: End, pixels: bool, stride: int = 1, **settings: Any) -> None:
    """Join two states: by a convolution that divides sides by ``stride``, or densely without pixels."""
    if not pixels:
        net.edge(source, target, dense={}, **settings)
        return
    # A kernel of side 2·stride − 1 overlaps its neighbors; at stride 1 it is the usual 3×3.
    kernel = 3 if stride <= 2 else 2 * stride - 1
    options = {"kernel": kernel, "padding": (kernel - 1) // 2} | ({"stride": stride} if stride > 1 else {})
    net.edge(source, target, conv=options, **settings)


def state(net: Network, name: str, width: int, pixels: bool) -> End:
    """Add a state of ``width`` channels, or of ``width`` units without pixels."""
    return net.state(name, channels=width) if pixels else net.state(name, shape=[width])


def wire(
    net: Network,
    graph: nx.Graph[int],
    input: Shape,
    width: int,
    *,
    fed: Collection[int],
    read: Collection[int],
    by_order: bool = False,
) -> None:
    """Turn nodes 0, 1, … of a graph into states h1, h2, … of one size, and its edges into edges.

    The input feeds the nodes ``fed``; the nodes ``read`` feed the output. An edge points from the end nearer to the
    input to the farther one, or with ``by_order`` from the lower number to the higher. Edges act both ways: the
    direction only decides how initial weights are scaled.
    """
    pixels = len(input) == 3
    # Smaller images make sweeps cheaper. Below 4×4 pixels most of a 3×3 kernel is outside.
    stride = next((s for s in (4, 2) if pixels and min(input[1:]) >= 4 * s), 1)
    states = [state(net, f"h{node + 1}", width, pixels) for node in sorted(graph)]
    for node in fed:
        join(net, net.input, states[node], pixels, stride)
    distance = {} if by_order else nx.multi_source_dijkstra_path_length(graph, set(fed), weight=None)
    for edge in sorted(tuple(sorted(edge)) for edge in graph.edges):
        source, target = sorted(edge, key=lambda node: (distance.get(node, 0), node))
        join(net, states[source], states[target], pixels)
    for node in read:
        net.edge(states[node], net.output, dense={})
