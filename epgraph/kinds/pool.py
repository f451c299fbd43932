"""Pooling without weights: transitions between stages."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from epgraph.kinds.kind import EdgeKind, End, Shape, ShapeError, check_image, shape_text
from epgraph.kinds.pixels import Pair, PositivePixels, both, times_text, yaml_text
from epgraph.kinds.pooling import How, Pooling

if TYPE_CHECKING:
    from torch import Tensor


class Pool(EdgeKind):
    """Average or max pooling P of windows that do not overlap, channel by channel: Φ gains ⟨s^j, P(s^i)⟩."""

    name: ClassVar[str] = "pool"

    kind: How = Field(description="'average' or 'max' of every window.", examples=["average"])
    size: PositivePixels = Field(
        default=2, description="Side of the window and its step, or [rows, columns].", examples=[2, [1, 2]]
    )

    @property
    def pooling(self) -> Pooling:
        """The pooling that the options describe."""
        return Pooling(self.kind, both(self.size))

    @property
    def is_linear(self) -> bool:
        """Whether the edge is linear in its source: an average is."""
        return self.kind == "average"

    @property
    def source_end(self) -> End:
        """As of a pooled convolution."""
        return "linear" if self.is_linear else "convex where the other end is ≥ 0"

    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """(C, ⌊H/size⌋, ⌊W/size⌋)."""
        check_image(source)
        pixels = self.pooling.pooled((source[1], source[2]))
        if min(pixels) < 1:
            raise ShapeError(
                f"has a window of {times_text(both(self.size))}, which does not fit into {shape_text(source)}",
                f"use size: {yaml_text((min(source[1], both(self.size)[0]), min(source[2], both(self.size)[1])))}",
            )
        return (source[0], *pixels)

    def suggest(self, source: Shape, target: Shape) -> str:
        """Name the window that maps ``source`` to ``target``."""
        if len(target) != 3:
            return "use 'dense: {}' to reach a state that is not an image"
        if source[0] != target[0]:
            keeps = f"pooling keeps the channels: give both states {source[0]}"
            if self.pooling.pooled((source[1], source[2])) != target[1:]:
                return keeps
            pooled = f"kernel: 1, pool: {self.kind}"
            strided = f"kernel: {yaml_text(both(self.size))}, stride: {yaml_text(both(self.size))}"
            return f"{keeps}, or use 'conv: {{{pooled if both(self.size) == (2, 2) else strided}}}'"
        size = (source[1] // target[1], source[2] // target[2])
        if min(size) >= 1 and Pooling(self.kind, size).pooled((source[1], source[2])) == target[1:]:
            return f"size: {yaml_text(size)} would fit"
        return "pool goes from the larger state to the smaller; change the shape of one of the two states"

    def dropped(self, source: Shape) -> str:
        """Rows and columns that fill no window."""
        for axis, n, size in zip(("rows", "columns"), source[1:], both(self.size), strict=True):
            if n % size:
                remainder = n % size
                what = axis.removesuffix("s") if remainder == 1 else f"{remainder} {axis}"
                return f"its windows of {size} leave out the last {what} of {n}"
        return ""

    def weight_shape(self, source: Shape, target: Shape) -> None:
        """Return None: there is nothing to learn."""

    def macs(self, source: Shape, target: Shape) -> int:
        """One per unit of the source that is in a window."""
        return prod(target) * prod(both(self.size))

    def label(self) -> str:
        """E.g. ``average pool 2×2``."""
        return f"{self.kind} pool {times_text(both(self.size))}"

    def forward(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """P(s), a new tensor even where a window is one pixel."""
        return self.pooling.forward(s)

    def adjoint(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """P⁻¹(t): each value is spread over its window, or put at its arg-max."""
        return self.pooling.adjoint(t, s, _pixels(source))

    def forward_pair(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Return the pair of P(s⁺), P(s⁻)."""
        return self.pooling.forward_pair(s, target)

    def adjoint_pair(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """Return the pair of the two adjoints, each at its own arg-max."""
        return self.pooling.adjoint_pair(t, s, _pixels(source))

    def weight_gradient(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """There is no weight; nothing calls this."""
        raise NotImplementedError("a pooling edge has no weight")


def _pixels(shape: Shape) -> Pair:
    return shape[1], shape[2]
