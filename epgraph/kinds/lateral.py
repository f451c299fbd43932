"""Lateral interaction inside one shape: between two states of equal size, as within a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from epgraph.kinds.conv import Conv
from epgraph.kinds.convolution import FAR_STRIDES, Geometry
from epgraph.kinds.dense import Dense
from epgraph.kinds.kind import EdgeKind, Shape, ShapeError, shape_text
from epgraph.kinds.pixels import PositivePixels, both, times_text, yaml_text

if TYPE_CHECKING:
    from torch import Tensor


class Lateral(EdgeKind):
    """Edge between two states of one shape: a convolution that keeps the shape, or a square matrix without a kernel."""

    name: ClassVar[str] = "lateral"

    kernel: PositivePixels | None = Field(
        default=None,
        description="Side of the square kernel, or its [rows, columns]: odd, and padded so that the size stays. Left "
        "out, all units of one state meet all units of the other.",
        examples=[3, [1, 5]],
    )

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        if kernel is not None and not all(n % 2 for n in both(kernel)):
            tall, wide = both(kernel)
            raise PydanticCustomError(
                "even_kernel",
                "'kernel' of lateral must be odd, found {found}",
                {"found": yaml_text((tall, wide)), "hint": f"use kernel: {yaml_text((tall | 1, wide | 1))}"},
            )
        return kernel

    @property
    def map(self) -> Conv | Dense:
        """The kind that this one delegates to."""
        return Dense() if self.kernel is None else Conv(kernel=self.kernel, padding="same")

    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """Return the source's own shape."""
        if self.kernel is not None and len(source) != 3:
            raise ShapeError(
                f"needs states of channels×height×width for its kernel, but the source is {shape_text(source)}",
                "leave out the kernel: 'lateral: {}'",
            )
        return source

    def source_shape(self, target: Shape, channels: int | None) -> Shape | None:
        """Return the target's own shape."""
        return target

    def suggest(self, source: Shape, target: Shape) -> str:
        """Name the convolution that would join the two, where there is one."""
        kernel = (3, 3) if self.kernel is None else both(self.kernel)
        half = (kernel[0] // 2, kernel[1] // 2)
        for stride in FAR_STRIDES if len(source) == len(target) == 3 else ():
            if Geometry(kernel, both(stride), half).maps(source, target):
                options = f"kernel: {yaml_text(kernel)}, padding: {yaml_text(half)}"
                options += f", stride: {stride}" if stride > 1 else ""
                return f"use 'conv: {{{options}}}' between different shapes"
        return "lateral joins equal shapes only; use 'dense: {}' between different ones"

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        """OIHW, or (target units, source units)."""
        return self.map.weight_shape(source, target)

    def fan_in(self, source: Shape, target: Shape) -> int:
        """Number of weights of a target unit."""
        return self.map.fan_in(source, target)

    def macs(self, source: Shape, target: Shape) -> int:
        """As of the convolution, or of the matrix."""
        return self.map.macs(source, target)

    def label(self) -> str:
        """E.g. ``lateral 3×3``."""
        return "lateral" if self.kernel is None else f"lateral {times_text(both(self.kernel))}"

    def forward(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """w ⋆ s, or w s."""
        return self.map.forward(weight, s, target)

    def adjoint(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """w̃ ⋆ t, or wᵀ t."""
        return self.map.adjoint(weight, t, s, source)

    def weight_gradient(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """Correlation of s with t, or t sᵀ."""
        return self.map.weight_gradient(weight, s, t, source)
