"""Transposed convolution, from a small state to a larger one: decoders and other top-down wirings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from epgraph.kinds.convolution import (
    STRIDES,
    Geometry,
    check_groups,
    convolve,
    gradient,
    idle_dilation,
    idle_stride,
    number_of,
    transposed,
)
from epgraph.kinds.kind import EdgeKind, Shape, ShapeError, check_image, shape_text
from epgraph.kinds.pixels import (
    Groups,
    NonNegativePixels,
    Pair,
    PositivePixels,
    both,
    channels_text,
    label_text,
    options_text,
    times_text,
    yaml_text,
)

if TYPE_CHECKING:
    from torch import Tensor


class ConvTranspose(EdgeKind):
    """Transposed convolution ('upsampling'): A_e is the adjoint of a convolution, and the adjoint is that convolution.

    The convolution runs from the target to the source, and w has torch's layout for transposed ones, which is OIHW of
    that convolution: Φ gains ⟨w ⋆ s^j, s^i⟩.
    """

    name: ClassVar[str] = "conv_transpose"

    kernel: PositivePixels = Field(
        description="Side of the square kernel, or its [rows, columns].", examples=[4, [1, 4]]
    )
    stride: PositivePixels = Field(
        default=1, description="Pixels of the target a pixel of the source, or [rows, columns].", examples=[2, [1, 2]]
    )
    padding: NonNegativePixels = Field(
        default=0, description="Pixels cut off the result on each side, or [rows, columns].", examples=[1]
    )
    output_padding: NonNegativePixels = Field(
        default=0,
        description="Rows and columns added at the far side of the result, fewer than the stride: several sizes are "
        "mapped to one by a strided convolution, and this says which of them is meant.",
        examples=[0, 1, [0, 1]],
    )
    dilation: PositivePixels = Field(
        default=1, description="Distance of the kernel's taps in pixels, or [rows, columns].", examples=[1, 2]
    )
    groups: Groups = Field(
        default=1,
        description="Groups of channels apart from each other, or 'depthwise', as for conv.",
        examples=[1, 4, "depthwise"],
    )

    @model_validator(mode="after")
    def _less_than_a_step(self) -> ConvTranspose:
        if any(n >= stride for n, stride in zip(both(self.output_padding), both(self.stride), strict=True)):
            raise PydanticCustomError(
                "output_padding",
                "'output_padding' must be smaller than the stride, found {found} at stride {stride}",
                {
                    "found": yaml_text(both(self.output_padding)),
                    "stride": yaml_text(both(self.stride)),
                    "hint": "a larger kernel, less padding or a larger stride makes a larger target",
                },
            )
        return self

    @property
    def geometry(self) -> Geometry:
        """Geometry of the convolution from the target to the source."""
        return Geometry(both(self.kernel), both(self.stride), both(self.padding), both(self.dilation))

    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """(channels, H', W'), H' = (H − 1)·stride − 2·padding + dilation·(kernel − 1) + 1 + output_padding."""
        check_image(source)
        check_groups(self.groups, source[0], channels)
        size = self._pixels(source, self.geometry, both(self.output_padding))
        if min(size) < 1:
            raise ShapeError(
                f"has padding {self._text(self.padding)}, which cuts off all that a kernel of "
                f"{self._text(self.kernel)} makes from {shape_text(source)}",
                "use less padding or a larger kernel",
            )
        channels = source[0] if self.groups == "depthwise" else channels
        return None if channels is None else (channels, *size)

    def idle(self, source: Shape, target: Shape) -> Mapping[str, str]:
        """The stride where the source has one pixel, and the dilation of a kernel of one pixel."""
        # output_padding must be smaller than the stride, so a stride beside it has an effect.
        stride = {} if any(both(self.output_padding)) else idle_stride(self.geometry, source[1:])
        return {**stride, **idle_dilation(self.geometry)}

    def source_shape(self, target: Shape, channels: int | None) -> Shape | None:
        """Return the source's shape, which options and target determine."""
        channels = target[0] if self.groups == "depthwise" and channels is None else channels
        if len(target) != 3 or channels is None:
            return None
        pixels = self.geometry.before_pooling(target[1:])
        if min(pixels) < 1 or self._pixels((channels, *pixels), self.geometry, both(self.output_padding)) != target[1:]:
            return None
        return (channels, *pixels)

    def suggest(self, source: Shape, target: Shape) -> str:
        """Name the nearest output padding, stride and padding that map ``source`` to ``target``."""
        if len(target) != 3:
            return "use 'dense: {}' to reach a state that is not an image"
        if target[1] < source[1] and target[2] < source[2]:
            return "use 'conv: {…}' towards the smaller state; an edge acts both ways"
        near = [self.geometry, *(self.geometry._replace(stride=both(n)) for n in STRIDES)]
        for cut in (False, True):
            for g in near:
                options = self._fitted(source, target, g, cut=cut)
                if options:
                    return f"{options} would fit"
        return "no stride and padding fits; change the shape of one of the two states"

    def _fitted(self, source: Shape, target: Shape, g: Geometry, *, cut: bool) -> str:
        """Write the options that give the target at the stride of ``g``; empty where there are none.

        ``cut``: the padding may change too.
        """
        plain = self._pixels(source, g._replace(padding=(0, 0)), (0, 0))
        sides = []
        for size, n, padding, stride in zip(plain, target[1:], g.padding, g.stride, strict=True):
            padding = max(0, -((n - size) // 2)) if cut else padding
            sides.append((padding, n - size + 2 * padding))
            if not 0 <= sides[-1][1] < stride:
                return ""
        (up, below), (left, right) = sides
        changed = {
            "stride": (g.stride, both(self.stride)),
            "padding": ((up, left), both(self.padding)),
            "output_padding": ((below, right), both(self.output_padding)),
        }
        return options_text({key: new for key, (new, old) in changed.items() if new != old})

    @staticmethod
    def _pixels(source: Shape, g: Geometry, extra: Pair) -> Pair:
        rows, columns = (
            (n - 1) * stride - 2 * padding + extent + more
            for n, stride, padding, extent, more in zip(source[1:], g.stride, g.padding, g.extent, extra, strict=True)
        )
        return rows, columns

    @staticmethod
    def _text(option: int | tuple[int, ...]) -> str:
        return str(option) if isinstance(option, int) else times_text(both(option))

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        """(source channels, target channels of a group, rows, columns of the kernel), as in torch."""
        return (source[0], target[0] // number_of(self.groups, source[0]), *self.geometry.kernel)

    def weight_blocks(self, source: Shape, target: Shape) -> tuple[int, ...]:
        """One block a group."""
        groups = number_of(self.groups, source[0])
        return (source[0] // groups,) * groups

    def fan_in(self, source: Shape, target: Shape) -> int:
        """Source units that feed a target unit, on average: taps one stride apart reach different units."""
        down, across = both(self.stride)
        channels = source[0] // number_of(self.groups, source[0])
        return max(1, round(channels * self.geometry.taps / (down * across)))

    def macs(self, source: Shape, target: Shape) -> int:
        """One kernel per pixel of the source."""
        _, channels, *_ = self.weight_shape(source, target)
        return source[0] * channels * self.geometry.taps * source[1] * source[2]

    def label(self) -> str:
        """E.g. ``conv_transpose 4×4 ·2``."""
        first = f"conv_transpose {times_text(both(self.kernel))}{label_text('·', both(self.stride))}"
        first += label_text("dilated ", both(self.dilation))
        return ", ".join(part for part in (first, channels_text(self.groups)) if part)

    def forward(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """w̃ ⋆ s."""
        assert weight is not None
        return transposed(s, weight, self.geometry, number_of(self.groups, target[0]), target[1:])

    def adjoint(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """w ⋆ t."""
        assert weight is not None
        return convolve(t, weight, self.geometry, number_of(self.groups, source[0]))

    def weight_gradient(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """Correlation of t with s."""
        return gradient(t, s, self.geometry, number_of(self.groups, source[0]))
