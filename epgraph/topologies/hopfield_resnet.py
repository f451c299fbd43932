"""The Hopfield-ResNet of the paper, of any depth."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from epgraph.builder import Network
from epgraph.topologies.template import Classes, InputShape, ParameterError, Template, Width, halvings, image
from epgraph.topologies.wiring import begin

STAGES = (1, 2, 4, 4)
"""Channels of the published stages, in multiples of the width."""

PUBLISHED: dict[str, Any] = {
    "dynamics": {"schedule": "even_odd", "free_steps": 120, "nudged_steps": 50},
    "learning": {"estimator": "centered", "beta": 0.1},
    "training": {"epochs": 300, "batch_size": 128, "learning_rate": 0.03, "weight_decay": 2.5e-4},
}


@Template
def hopfield_resnet(
    *,
    depth: Annotated[
        int,
        Field(ge=4, le=3001, description="Weights: three a block and the head; 13 is published, 3k + 1 are possible."),
    ] = 7,
    width: Annotated[
        Width, Field(description="Channels of the first stage; the later ones have 2, 4 and 4 times as many.")
    ] = 16,
    recipe: Annotated[
        Literal["common", "published"], Field(description="How it trains: as all templates do, or as in the paper.")
    ] = "common",
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """Hopfield-ResNet: blocks of two 3×3 convolutions, and a 1×1 skip over both.

    The network of the paper (Fig. 1), of any depth: deep, and it trains where a chain stalls. The first block of a
    stage halves the image.
    """
    image(input, "hopfield_resnet")
    if depth % 3 != 1:
        raise ParameterError(
            "depth",
            f"a Hopfield-ResNet has 3k + 1 weights, found depth {depth}",
            f"{(depth + 1) // 3 * 3 + 1} would fit",
        )
    blocks = depth // 3
    stages = max(1, min(blocks, len(STAGES), halvings(input)))
    if recipe == "published":
        last_width = width * STAGES[stages - 1]
        # The published head draws its bias with the fan-in of a 3×3 convolution.
        output = {"classes": classes, "bias": {"fan_in": 9 * last_width}}
        net = Network(f"Hopfield-ResNet{depth}", input=input, output=output, activation="relu6", gain=0.6, **PUBLISHED)
    else:
        net = begin(f"Hopfield-ResNet{depth}", input, classes=classes)
    last = net.input
    for i in range(blocks):
        stage = i * stages // blocks
        first = i == 0 or stage != (i - 1) * stages // blocks
        stride = 2 if first and halvings(input) else 1
        # graph_aware scales the edges of the input by the signal that they carry, whatever their gain.
        gain = None if i == 0 and recipe != "published" else 0.7
        last = block(net, last, f"h{i + 1}", width * STAGES[stage], stride=stride, gain=gain)
    net.edge(last, net.output, dense={}, gain=0.8)
    return net


def block(net: Network, source: Any, name: str, channels: int, stride: int, gain: float | None) -> Any:
    """Add one residual block, and return its second state. In Python a block is a function."""
    a = net.state(f"{name}a", channels=channels)
    b = net.state(f"{name}b", channels=channels)
    step = {"stride": stride} if stride > 1 else {}
    drawn = {} if gain is None else {"gain": gain}
    net.conv(source, a, kernel=3, padding=1)
    net.conv(a, b, kernel=3, padding=1, **step)
    net.skip(source, b, **drawn, **step)
    return b
