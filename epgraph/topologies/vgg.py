"""Convolutions and max pooling."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from epgraph.builder import Network
from epgraph.topologies.template import Classes, Count, InputShape, ParameterError, Template, Widths, image
from epgraph.topologies.wiring import begin


@Template
def vgg(
    *,
    widths: Annotated[Widths, Field(description="Channels of the stages, each of which ends with 2×2 max pooling.")] = (
        16,
        32,
    ),
    convolutions: Annotated[Count, Field(description="Convolutions of a stage.")] = 1,
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """VGG: stages of 3×3 convolutions, each ending with max pooling.

    For images, without skips. With the widths [128, 256, 512, 512] on 3×32×32 it is the VGG5 of the paper.
    """
    side = min(image(input, "vgg"))
    most = side.bit_length() - 1
    if len(widths) > most:
        raise ParameterError(
            "widths", f"{len(widths)} poolings leave nothing of {side} pixels", f"give at most {most} widths"
        )
    net = begin(f"VGG{len(widths) * convolutions + 1}", input, classes=classes)
    last, number = net.input, 0
    for width in widths:
        for i in range(convolutions):
            number += 1
            here = net.state(f"h{number}", channels=width)
            pool = {"pool": "max"} if i == convolutions - 1 else {}
            net.edge(last, here, conv={"kernel": 3, "padding": 1, **pool})
            last = here
    net.edge(last, net.output, dense={})
    return net
