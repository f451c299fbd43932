"""A chain with a skip around every map, for the predictive energy."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from epgraph.builder import Network
from epgraph.builder.network import End
from epgraph.topologies.template import RECIPE, Classes, Count, InputShape, Template, Width, halvings, spread
from epgraph.topologies.wiring import join, state

FORWARD: dict[str, Any] = {
    "energy": "predictive",
    "init": RECIPE["init"],
    # Errors of all states add up on the way to the output, so β falls with depth (docs/learning.md).
    "dynamics": {"solver": "error_sweeps"},
    "learning": {"beta": 0.002},
    "training": {**RECIPE["training"], "learning_rate": 0.02, "clip_norm": 1.0},
}
"""The common recipe for an energy whose free equilibrium is one forward pass."""


@Template
def residual_chain(
    *,
    depth: Annotated[Count, Field(description="States between input and output.")] = 16,
    width: Width = 16,
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """A residual chain on the predictive energy: every state is joined to the next one by a map and a skip.

    For great depth: one forward pass reaches the end. Skips are identities, or 1×1 convolutions where the image is
    halved.
    """
    output = {"classes": classes}
    net = Network(f"residual chain of {depth}", input=input, output=output, activation="relu6", **FORWARD)
    pixels = len(input) == 3
    smaller = spread(halvings(input), depth) if pixels else set()
    last: End = net.input
    for i in range(depth):
        here = state(net, f"h{i + 1}", width, pixels)
        stride = 2 if i in smaller else 1
        join(net, last, here, pixels, stride)
        if i:
            net.edge(last, here, **({"skip": {"stride": stride}} if stride > 1 else {"identity": {}}))
        last = here
    net.edge(last, net.output, dense={})
    return net
