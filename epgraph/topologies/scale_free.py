"""The scale-free graph of Barabási and Albert."""

from __future__ import annotations

from typing import Annotated

import networkx as nx
from pydantic import Field

from epgraph.builder import Network
from epgraph.topologies.template import Classes, Count, InputShape, ParameterError, Seed, Several, Template, Width
from epgraph.topologies.wiring import begin, wire


@Template
def scale_free(
    *,
    states: Annotated[Several, Field(description="States.")] = 12,
    links: Annotated[
        Count, Field(description="Edges from every new state to older ones, likelier to those with many.")
    ] = 2,
    seed: Seed = 0,
    width: Width = 8,
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """A scale-free graph: a few hubs, and many states with few edges (Barabási and Albert, 1999).

    For what hubs do to the nudge. The input feeds the youngest state, and the largest hub is read.
    """
    if links >= states:
        raise ParameterError(
            "links",
            f"a new state cannot have {links} edges to fewer than {states} older ones",
            f"links may be at most {states - 1}",
        )
    graph = nx.barabasi_albert_graph(states, links, seed=seed)
    hub = max(range(states - 1), key=lambda node: (graph.degree[node], -node))
    net = begin(f"scale-free graph of {states}", input, classes=classes)
    wire(net, graph, input, width, fed=[states - 1], read=[hub])
    return net
