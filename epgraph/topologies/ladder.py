"""Two rails and rungs between them."""

from __future__ import annotations

from typing import Annotated

import networkx as nx
from pydantic import Field

from epgraph.builder import Network
from epgraph.topologies.template import Classes, Count, InputShape, Template, Width, halvings, spread
from epgraph.topologies.wiring import begin, join, state


@Template
def ladder(
    *,
    rungs: Annotated[Count, Field(description="Rungs, which is states of a rail.")] = 3,
    width: Width = 16,
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """A ladder: two chains side by side, joined at every step.

    For lateral exchange. The input feeds the first chain, and the ends of both are read.
    """
    net = begin(f"ladder of {rungs}", input, classes=classes)
    pixels = len(input) == 3
    smaller = spread(halvings(input), rungs) if pixels else set()
    states = [state(net, f"{rail}{i + 1}", width, pixels) for rail in "ab" for i in range(rungs)]
    join(net, net.input, states[0], pixels, 2 if 0 in smaller else 1)
    for one, two in sorted(nx.ladder_graph(rungs).edges):
        rung = two - one == rungs
        join(net, states[one], states[two], pixels, 2 if not rung and two % rungs in smaller else 1)
    for last in (rungs - 1, 2 * rungs - 1):
        net.edge(states[last], net.output, dense={})
    return net
