"""A ring of states."""

from __future__ import annotations

from typing import Annotated

import networkx as nx
from pydantic import Field

from epgraph.builder import Network
from epgraph.topologies.template import Classes, InputShape, Several, Template, Width
from epgraph.topologies.wiring import begin, wire


@Template
def ring(
    *,
    states: Annotated[Several, Field(description="States of the ring.")] = 6,
    width: Width = 16,
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """A ring: every state is joined to two neighbors.

    For a signal that comes round two ways. The input feeds the first state, and the one opposite is read.
    """
    net = begin(f"ring of {states}", input, classes=classes)
    wire(net, nx.cycle_graph(states), input, width, fed=[0], read=[states // 2])
    return net
