"""Convolution, optionally followed by 2×2 pooling."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from epgraph.kinds.convolution import Convolution, Geometry
from epgraph.kinds.pixels import (
    Groups,
    Padding,
    PositivePixels,
    both,
    channels_text,
    label_text,
    times_text,
    yaml_text,
)


class Conv(Convolution):
    """Convolution with zero padding and optional 2×2 pooling of its result."""

    name: ClassVar[str] = "conv"

    kernel: PositivePixels = Field(
        description="Side of the square kernel, or its [rows, columns].", examples=[3, [1, 5]]
    )
    stride: PositivePixels = Field(
        default=1, description="Step of the kernel in pixels, or [rows, columns].", examples=[1, 2, [2, 1]]
    )
    padding: Padding = Field(
        default=0,
        description="Zeros added on each side, or [rows, columns]; 'same' adds as many as keep the size, at stride 1.",
        examples=[1, [0, 2], "same"],
    )
    dilation: PositivePixels = Field(
        default=1, description="Distance of the kernel's taps in pixels, or [rows, columns].", examples=[1, 2, [1, 3]]
    )
    groups: Groups = Field(
        default=1,
        description="Groups of channels that are convolved apart from each other; the number divides the channels of "
        "both states. 'depthwise' gives every channel of the source one kernel and one channel of the target.",
        examples=[1, 4, "depthwise"],
    )
    pool: Literal["max", "average"] | None = Field(
        default=None, description="2×2 pooling with stride 2 after the convolution.", examples=["max"]
    )

    @model_validator(mode="after")
    def _same_keeps_the_size(self) -> Conv:
        if self.padding != "same":
            return self
        extent = Geometry(both(self.kernel), dilation=both(self.dilation)).extent
        half = yaml_text((extent[0] // 2, extent[1] // 2))
        if both(self.stride) != (1, 1):
            raise PydanticCustomError(
                "same_stride",
                "'padding: same' keeps the size at stride 1 alone, found stride: {stride}",
                {"stride": yaml_text(both(self.stride)), "hint": f"use padding: {half}"},
            )
        if not all(n % 2 for n in extent):
            raise PydanticCustomError(
                "same_kernel",
                "'padding: same' needs an odd kernel, found {found}",
                {
                    "found": f"{times_text(both(self.kernel))}"
                    + (f", dilated to {times_text(extent)}" if both(self.dilation) != (1, 1) else ""),
                    "hint": f"use kernel: {yaml_text((both(self.kernel)[0] | 1, both(self.kernel)[1] | 1))}, "
                    f"or padding: {half}",
                },
            )
        return self

    @property
    def geometry(self) -> Geometry:
        """The options, with rows and columns separate."""
        geometry = Geometry(both(self.kernel), both(self.stride), dilation=both(self.dilation), pool=self.pool)
        tall, wide = geometry.extent
        return geometry._replace(padding=(tall // 2, wide // 2) if self.padding == "same" else both(self.padding))

    @property
    def grouped(self) -> int | Literal["depthwise"]:
        """Number of groups as written."""
        return self.groups

    def _changed(self, near: Geometry) -> list[str]:
        changed = super()._changed(near)
        # 'same' stands for another padding, or is refused, once another option changes.
        return changed if self.padding != "same" or "padding" in changed else [*changed, "padding"]

    def label(self) -> str:
        """E.g. ``conv 3×3 /2, max pool`` or ``conv 1×5 dilated 2, depthwise``."""
        parts = [
            f"conv {times_text(both(self.kernel))}{label_text('/', both(self.stride))}"
            + label_text("dilated ", both(self.dilation)),
            channels_text(self.groups),
            f"{self.pool} pool" if self.pool else "",
        ]
        return ", ".join(part for part in parts if part)
