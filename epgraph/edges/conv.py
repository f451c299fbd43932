"""Convolution, optionally followed by 2×2 pooling."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from epgraph.edges.convolution import Convolution, Geometry
from epgraph.edges.kind import NonNegative, Positive


class Conv(Convolution):
    """Square convolution with zero padding and optional 2×2 pooling of its result."""

    name: ClassVar[str] = "conv"

    kernel: Positive = Field(description="Side of the square kernel.", examples=[3])
    stride: Positive = Field(default=1, description="Step of the kernel, in pixels.", examples=[1, 2])
    padding: NonNegative = Field(default=0, description="Zeros added on each side.", examples=[1])
    pool: Literal["max", "average"] | None = Field(
        default=None, description="2×2 pooling with stride 2 after the convolution.", examples=["max"]
    )

    @property
    def geometry(self) -> Geometry:
        """The options as written."""
        return Geometry(self.kernel, self.stride, self.padding, self.pool)

    def label(self) -> str:
        """E.g. ``conv 3×3 /2, max pool``."""
        stride = f" /{self.stride}" if self.stride > 1 else ""
        return f"conv {self.kernel}×{self.kernel}{stride}" + (f", {self.pool} pool" if self.pool else "")
