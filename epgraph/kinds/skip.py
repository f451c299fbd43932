"""The skip connection of the Hopfield-ResNet block: a 1×1 convolution (Fig. 1)."""

from __future__ import annotations

from itertools import product
from typing import ClassVar

from pydantic import Field

from epgraph.kinds.convolution import FAR_STRIDES, STRIDES, Convolution, Geometry
from epgraph.kinds.kind import Shape
from epgraph.kinds.pixels import PositivePixels, both, label_text, yaml_text


class Skip(Convolution):
    """1×1 convolution of any stride; for a skip without weights between equal shapes use ``identity``."""

    name: ClassVar[str] = "skip"

    stride: PositivePixels = Field(
        default=1, description="Step in pixels, or [rows, columns]; 2 halves the size.", examples=[2, [2, 1]]
    )

    @property
    def geometry(self) -> Geometry:
        """A kernel of one pixel, no padding, no pooling."""
        return Geometry((1, 1), both(self.stride))

    def suggest(self, source: Shape, target: Shape) -> str:
        """Name the stride that maps ``source`` to ``target``."""
        if len(target) != 3:
            return "use 'dense: {}' to reach a state that is not an image"
        for stride in (*((n, n) for n in FAR_STRIDES), *product(STRIDES, STRIDES)):
            if self.geometry._replace(stride=stride).maps(source, target):
                return f"stride: {yaml_text(stride)} would fit"
        return self.suggest_swap(source, target) or "no stride fits; change the shape of one of the two states"

    def label(self) -> str:
        """E.g. ``skip 1×1 /2``."""
        return "skip 1×1" + label_text("/", both(self.stride))
