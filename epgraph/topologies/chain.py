"""A chain of states."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from epgraph.builder import Network
from epgraph.builder.network import End
from epgraph.topologies.template import Classes, Count, InputShape, Template, Width, halvings, spread
from epgraph.topologies.wiring import begin, join, state


@Template
def chain(
    *,
    depth: Annotated[Count, Field(description="States between input and output.")] = 4,
    width: Width = 16,
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """A chain: every state is joined to the next one alone.

    The plainest deep network, to compare others with. Images are halved at evenly spread places.
    """
    net = begin(f"chain of {depth}", input, classes=classes)
    pixels = len(input) == 3
    smaller = spread(halvings(input), depth) if pixels else set()
    last: End = net.input
    for i in range(depth):
        here = state(net, f"h{i + 1}", width, pixels)
        join(net, last, here, pixels, 2 if i in smaller else 1)
        last = here
    net.edge(last, net.output, dense={})
    return net
