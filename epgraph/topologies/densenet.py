"""Blocks in which every state is joined to all later ones."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from epgraph.builder import Network
from epgraph.builder.network import End
from epgraph.topologies.template import Classes, Count, InputShape, Template, Width, halvings
from epgraph.topologies.wiring import begin, join, state


@Template
def densenet(
    *,
    blocks: Annotated[
        Count, Field(description="Blocks; each is half as large as the one before, where pixels allow.")
    ] = 2,
    layers: Annotated[Count, Field(description="States of a block.")] = 3,
    width: Width = 16,
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """DenseNet-like: every state of a block is joined to all later ones, and all of a block to the next.

    For many short ways at a given depth.
    """
    net = begin(f"DenseNet {blocks}×{layers}", input, classes=classes)
    pixels = len(input) == 3
    smaller = min(blocks, halvings(input)) if pixels else 0
    before: list[End] = [net.input]
    for i in range(blocks):
        here: list[End] = []
        for j in range(layers):
            new = state(net, f"b{i + 1}_{j + 1}", width, pixels)
            # The first state of a block reads all of the block before; the later ones read this block.
            for source in here or before:
                join(net, source, new, pixels, 2 if not here and i < smaller else 1)
            here.append(new)
        before = here
    for last in before:
        net.edge(last, net.output, dense={})
    return net
