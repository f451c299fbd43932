"""A skip connection without weights between two states of one shape."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from epgraph.kinds.kind import EdgeKind, Shape

if TYPE_CHECKING:
    from torch import Tensor


class Identity(EdgeKind):
    """Φ gains scale·⟨s^j, s^i⟩; the direct identity connection of the paper (§III.A)."""

    name: ClassVar[str] = "identity"

    scale: float = Field(default=1.0, description="Fixed factor of the connection.", examples=[1.0, 0.5])

    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """Return the source's own shape."""
        return source

    def source_shape(self, target: Shape, channels: int | None) -> Shape | None:
        """Return the target's own shape."""
        return target

    def suggest(self, source: Shape, target: Shape) -> str:
        """Name the 1×1 convolution that would join the two, where there is one."""
        if len(source) == len(target) == 3:
            for stride in range(1, 65):
                if all((n - 1) // stride + 1 == m for n, m in zip(source[1:], target[1:], strict=True)):
                    return f"use 'skip: {{stride: {stride}}}' (a 1×1 convolution) between different shapes"
        return "identity joins equal shapes only"

    def weight_shape(self, source: Shape, target: Shape) -> None:
        """Return None: the connection is fixed."""

    def macs(self, source: Shape, target: Shape) -> int:
        """One per unit."""
        return prod(source)

    def label(self) -> str:
        """E.g. ``identity ×0.5``."""
        return "identity" + (f" ×{self.scale:g}" if self.scale != 1 else "")

    def forward(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Return scale · s, a new tensor even where scale is 1."""
        return s * self.scale

    def adjoint(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """Return scale · t."""
        return t * self.scale

    def weight_gradient(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """There is no weight; nothing calls this."""
        raise NotImplementedError("an identity edge has no weight")
