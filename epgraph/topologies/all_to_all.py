"""Every state joined to every other."""

from __future__ import annotations

from typing import Annotated

import networkx as nx
from pydantic import Field

from epgraph.builder import Network
from epgraph.topologies.template import Classes, Count, InputShape, Template, Width
from epgraph.topologies.wiring import begin, wire


@Template
def all_to_all(
    *,
    states: Annotated[Count, Field(description="States.")] = 5,
    width: Width = 8,
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """All to all: every state is joined to every other, to the input and to the output.

    Hopfield's network, with states in place of units.
    """
    net = begin(f"all-to-all of {states}", input, classes=classes)
    wire(net, nx.complete_graph(states), input, width, fed=range(states), read=range(states))
    return net
