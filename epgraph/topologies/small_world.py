"""The small world of Watts and Strogatz."""

from __future__ import annotations

from typing import Annotated

import networkx as nx
from pydantic import Field

from epgraph.builder import Network
from epgraph.topologies.template import Classes, InputShape, ParameterError, Seed, Several, Share, Template, Width
from epgraph.topologies.wiring import begin, wire


@Template
def small_world(
    *,
    states: Annotated[Several, Field(description="States of the ring.")] = 10,
    neighbors: Annotated[
        int, Field(ge=2, le=1000, description="Nearest states to which each is joined, an even number.")
    ] = 4,
    rewired: Annotated[Share, Field(description="Probability that an edge leads to a random state instead.")] = 0.2,
    seed: Seed = 0,
    width: Width = 8,
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """A small world: a ring of near neighbors in which some edges lead far (Watts and Strogatz, 1998).

    For short ways at few edges. The input feeds the first state, and the one opposite is read.
    """
    if neighbors % 2 or neighbors >= states:
        raise ParameterError(
            "neighbors",
            f"{neighbors} of {states} states cannot be the nearest on both sides",
            f"an even number below {states}, e.g. neighbors: 2",
        )
    try:
        graph = nx.connected_watts_strogatz_graph(states, neighbors, rewired, tries=20, seed=seed)
    except nx.NetworkXError:
        raise ParameterError(
            "rewired", "in 20 draws the states were never all connected", "use more neighbors, or rewire less"
        ) from None
    net = begin(f"small world of {states}", input, classes=classes)
    wire(net, graph, input, width, fed=[0], read=[states // 2])
    return net
