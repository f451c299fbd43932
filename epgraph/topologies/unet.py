"""An encoder and a decoder with skips between them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from epgraph.builder import Network
from epgraph.kinds import shape_text
from epgraph.language.model import ShapeField
from epgraph.topologies.template import Classes, Count, InputShape, ParameterError, Template, Width, halvings, image
from epgraph.topologies.wiring import begin, join


@Template
def unet(
    *,
    depth: Annotated[Count, Field(description="Times that the image is halved.")] = 2,
    width: Annotated[Width, Field(description="Channels at full size; they double with every halving.")] = 8,
    targets: Annotated[
        ShapeField | None, Field(description="Shape of targets that are no labels, e.g. [1, 8, 8]; left out, classes.")
    ] = None,
    input: InputShape = (1, 8, 8),
    classes: Classes = 10,
) -> Network:
    """U-Net: an encoder that halves the image, a decoder back to full size, and skips between equal sizes.

    For top-down feedback, and for targets that are images.
    """
    image(input, "unet")
    most = halvings(input)
    if depth > most:
        raise ParameterError(
            "depth",
            f"an image of {shape_text(input[1:])} cannot be halved {depth} times",
            f"depth may be at most {most}",
        )
    net = begin(f"U-Net of depth {depth}", input, classes=classes, targets=targets)
    encoder = [net.state(f"e{i + 1}", channels=width * 2**i) for i in range(depth)]
    middle = net.state("middle", channels=width * 2**depth)
    decoder = [net.state(f"d{i + 1}", channels=width * 2**i) for i in reversed(range(depth))][::-1]
    join(net, net.input, encoder[0], True)
    for large, small in zip(encoder, [*encoder[1:], middle], strict=True):
        join(net, large, small, True, 2)
    sizes = [[-(-side // 2**i) for side in input[1:]] for i in range(depth + 1)]
    for i, (large, small) in reversed(list(enumerate(zip(decoder, [*decoder[1:], middle], strict=True)))):
        # An odd side 2k − 1 and the even side 2k have the same half, k.
        short = [whole - (2 * half - 1) for whole, half in zip(sizes[i], sizes[i + 1], strict=True)]
        options = {"kernel": 3, "stride": 2, "padding": 1}
        net.edge(small, large, conv_transpose=options | ({"output_padding": _pair(short)} if any(short) else {}))
    for one, other in zip(encoder, decoder, strict=True):
        net.skip(one, other)
    if targets is not None and targets[1:] == input[1:]:
        net.skip(decoder[0], net.output)
    else:
        net.dense(decoder[0], net.output)
    return net


def _pair(sides: list[int]) -> int | list[int]:
    return sides[0] if sides[0] == sides[1] else sides
