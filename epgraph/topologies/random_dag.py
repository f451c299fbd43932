"""A chain with random skips."""

from __future__ import annotations

from typing import Annotated

import networkx as nx
from pydantic import Field

from epgraph.builder import Network
from epgraph.topologies.template import Classes, InputShape, Seed, Several, Share, Template, Width
from epgraph.topologies.wiring import begin, wire


@Template
def random_dag(
    *,
    states: Annotated[Several, Field(description="States.")] = 8,
    density: Annotated[
        Share, Field(description="Probability of a skip between two states that are no neighbors.")
    ] = 0.3,
    seed: Seed = 0,
    width: Width = 8,
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """A random DAG: a chain, and skips of given density from earlier states to later ones.

    For what skips do, with no rule in them.
    """
    graph = nx.path_graph(states)
    skips = nx.gnp_random_graph(states, density, seed=seed)
    graph.add_edges_from(edge for edge in skips.edges if abs(edge[0] - edge[1]) > 1)
    net = begin(f"random DAG of {states}", input, classes=classes)
    wire(net, graph, input, width, fed=[0], read=[states - 1], by_order=True)
    return net
