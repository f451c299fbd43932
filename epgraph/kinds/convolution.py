"""Base of the convolutional edge kinds: the map P(w ⋆ s), its adjoint and its weight gradient (Eq. 7, 8)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from math import gcd
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from epgraph.kinds.kind import EdgeKind, End, Shape, ShapeError, check_image, shape_text, swap_halves
from epgraph.kinds.pixels import Pair, both, options_text, short, times_text
from epgraph.kinds.pooling import How, Pooling
from epgraph.kinds.products import matrix_product

if TYPE_CHECKING:
    from torch import Tensor

POOL = 2
"""Side and stride of the window that is pooled after a convolution."""

STRIDES, FAR_STRIDES, DILATIONS = range(1, 9), range(1, 65), range(2, 9)
"""Values that hints try: strides, strides of an edge written in the wrong direction, and dilations."""


class Geometry(NamedTuple):
    """Geometry of a convolution with zero padding and optional 2×2 pooling; pairs are rows and columns."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    pool: How | None = None

    @property
    def extent(self) -> Pair:
        """Pixels from the first tap of the kernel to the last: dilation · (kernel − 1) + 1."""
        (tall, wide), (down, across) = self.kernel, self.dilation
        return down * (tall - 1) + 1, across * (wide - 1) + 1

    @property
    def taps(self) -> int:
        """Weights of one kernel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def pooling(self) -> Pooling | None:
        """The pooling that follows."""
        return Pooling(self.pool, (POOL, POOL)) if self.pool else None

    def before_pooling(self, pixels: Shape) -> Pair:
        """Height and width after the convolution, from those before it."""
        rows, columns = (
            (n + 2 * padding - extent) // stride + 1
            for n, padding, extent, stride in zip(pixels, self.padding, self.extent, self.stride, strict=True)
        )
        return rows, columns

    def pixels(self, pixels: Shape) -> Pair:
        """Height and width after convolution and pooling, from those before."""
        size = self.before_pooling(pixels)
        return self.pooling.pooled(size) if self.pooling else size

    def maps(self, source: Shape, target: Shape) -> bool:
        """Whether the pixels of ``source`` become those of ``target``."""
        return self.pixels(source[1:]) == target[1:]

    def padded(self, source: Shape, target: Shape) -> Geometry | None:
        """Return this geometry with the smallest padding that maps the pixels, or None without one.

        The padding is smaller than the kernel's extent.
        """
        sides = []
        for n, m, extent, stride in zip(source[1:], target[1:], self.extent, self.stride, strict=True):
            # The map before pooling has at least `least` and at most `most` pixels: one more would fill another window.
            least, most = (POOL * m, POOL * m + POOL - 1) if self.pool else (m, m)
            low = max(0, -(-(stride * (least - 1) + extent - n) // 2))
            high = min(extent - 1, (stride * most - 1 + extent - n) // 2)
            if low > high:
                return None
            sides.append((low, high))
        (low, high), (left, right) = sides
        shared = max(low, left)
        one = shared <= min(high, right)
        return self._replace(padding=(shared, shared) if one else (low, left))

    def further(self, groups: int) -> dict[str, Any]:
        """Dilation and groups as arguments of torch, left out where they are 1.

        A compiler pass matches a call by its arguments, and no pass handles these two.
        """
        dilated = {"dilation": short(self.dilation)} if self.dilation != (1, 1) else {}
        return dilated | ({"groups": groups} if groups != 1 else {})


def convolve(s: Tensor, weight: Tensor, geometry: Geometry, groups: int) -> Tensor:
    """w ⋆ s, without pooling."""
    import torch.nn.functional as F

    stride, padding = short(geometry.stride), short(geometry.padding)
    return F.conv2d(s, weight, stride=stride, padding=padding, **geometry.further(groups))


def transposed(t: Tensor, weight: Tensor, geometry: Geometry, groups: int, pixels: Shape) -> Tensor:
    """Adjoint of ``convolve``, w̃ ⋆ t; ``pixels`` is the height and width of the result."""
    import torch.nn.functional as F

    # No kernel position reaches the last rows and columns. output_padding adds them as zeros.
    unreached = [
        (n + 2 * padding - extent) % stride
        for n, padding, extent, stride in zip(pixels, geometry.padding, geometry.extent, geometry.stride, strict=True)
    ]
    stride, padding = short(geometry.stride), short(geometry.padding)
    further = geometry.further(groups)
    return F.conv_transpose2d(t, weight, stride=stride, padding=padding, output_padding=unreached, **further)


def gradient(s: Tensor, t: Tensor, geometry: Geometry, groups: int) -> Tensor:
    """∂⟨t, w ⋆ s⟩/∂w."""
    kernel, stride, padding = short(geometry.kernel), short(geometry.stride), short(geometry.padding)
    return correlate(s, t, kernel, stride, padding, **geometry.further(groups))


def idle_stride(geometry: Geometry, positions: tuple[int, ...]) -> dict[str, str]:
    """Why the stride has no effect, from the kernel's positions at stride 1; empty where it has an effect."""
    stepped = [n for n, stride in zip(positions, geometry.stride, strict=True) if stride > 1]
    return {"stride": "the kernel has one position only"} if stepped and max(stepped) == 1 else {}


def idle_dilation(geometry: Geometry) -> dict[str, str]:
    """Why the dilation has no effect; empty where it has one."""
    spread = [n for n, dilation in zip(geometry.kernel, geometry.dilation, strict=True) if dilation > 1]
    return {"dilation": "the kernel has one pixel"} if spread and max(spread) == 1 else {}


class Convolution(EdgeKind):
    """Convolution w ⋆ s, with zero padding and an optional 2×2 pooling P: Φ gains ⟨s^j, P(w ⋆ s^i)⟩.

    Max pooling makes the edge piecewise linear in its source; its adjoint sends each target unit back to the
    arg-max that the current source gives, the first index where values tie.
    """

    @property
    @abstractmethod
    def geometry(self) -> Geometry:
        """Kernel, stride, padding, dilation and pooling."""

    @property
    def grouped(self) -> int | Literal["depthwise"]:
        """Number of groups of channels, each convolved by itself, or ``depthwise``: one group a channel."""
        return 1

    @property
    def is_linear(self) -> bool:
        """Whether the edge is linear in its source: it is, except with max pooling."""
        return self.geometry.pool != "max"

    @property
    def source_end(self) -> End:
        """Linear without max pooling.

        With it, Φ is a sum of maxima of linear functions, each times a unit of the target. A term is concave where
        its unit is negative. So Φ is convex where no unit of the target is negative.
        """
        return "linear" if self.is_linear else "convex where the other end is ≥ 0"

    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """(channels, H', W') with H' = ⌊(H + 2·padding − dilation·(kernel − 1) − 1)/stride⌋ + 1, halved by pooling."""
        check_image(source)
        check_groups(self.grouped, source[0], channels)
        size = self.geometry.pixels(source[1:])
        if min(size) < 1:
            raise ShapeError(
                f"has {_kernel_text(self.geometry)}, which does not fit into {shape_text(source)}",
                "use a smaller kernel, more padding or no pooling"
                if self.geometry.dilation == (1, 1)
                else "use a smaller kernel, less dilation, more padding or no pooling",
            )
        channels = source[0] if self.grouped == "depthwise" else channels
        return None if channels is None else (channels, *size)

    def source_shape(self, target: Shape, channels: int | None) -> Shape | None:
        """Return the only source shape that gives ``target``; it is unique without stride and pooling."""
        g = self.geometry
        channels = target[0] if self.grouped == "depthwise" and channels is None else channels
        if len(target) != 3 or channels is None or g.stride != (1, 1) or g.pool is not None:
            return None
        size = tuple(n - 1 + e - 2 * p for n, e, p in zip(target[1:], g.extent, g.padding, strict=True))
        return (channels, *size) if min(size) >= 1 else None

    def suggest(self, source: Shape, target: Shape) -> str:
        """Name the nearest stride, padding, pooling, dilation or kernel that maps ``source`` to ``target``."""
        if len(target) != 3:
            return "use 'dense: {}' to reach a state that is not an image"
        g = self.geometry
        for near in _neighbors(g, source, target):
            if near.maps(source, target):
                return options_text({key: getattr(near, key) for key in self._changed(near)}) + " would fit"
        return self.suggest_swap(source, target) or (
            "no stride and padding fits; change the shape of one of the two states"
        )

    def dropped(self, source: Shape) -> str:
        """Rows and columns that no kernel position, or no pooling window, reaches.

        A kernel of one pixel subsamples on purpose: the pixels that it steps over are not reported.
        """
        g = self.geometry
        positions = g.before_pooling(source[1:])
        for axis, n, before in zip(("rows", "columns"), source[1:], positions, strict=True):
            i = axis == "columns"
            beyond = (n + 2 * g.padding[i] - g.extent[i]) % g.stride[i] - g.padding[i]
            if g.kernel[i] > 1 and g.stride[i] > g.extent[i]:
                return f"its stride of {g.stride[i]} steps over {axis} between kernels of side {g.kernel[i]}"
            if beyond > 0 and g.kernel[i] > 1:
                return f"its stride leaves out the last {_count(beyond, axis)} of {n}"
            if g.pooling and before % g.pooling.size[i]:
                remainder = before % g.pooling.size[i]
                return f"its pooling leaves out the last {_count(remainder, axis)} of {before}"
        return ""

    def idle(self, source: Shape, target: Shape) -> Mapping[str, str]:
        """A stride where the kernel has one position, and the dilation of a kernel of one pixel."""
        g = self.geometry
        positions = g._replace(stride=(1, 1)).before_pooling(source[1:])
        return {**idle_stride(g, positions), **idle_dilation(g)}

    def _changed(self, near: Geometry) -> list[str]:
        """Options to write for another geometry."""
        return [key for key in Geometry._fields if getattr(near, key) != getattr(self.geometry, key)]

    def suggest_swap(self, source: Shape, target: Shape) -> str:
        """Return the hint for an edge written from the smaller state to the larger; empty where it is not."""
        for stride in FAR_STRIDES:
            if self.geometry._replace(stride=(stride, stride)).maps(target, source):
                return f"write it from the larger state, with stride: {stride}; an edge acts both ways"
        return ""

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        """OIHW: (target channels, source channels of a group, rows, columns of the kernel)."""
        return (target[0], source[0] // number_of(self.grouped, source[0]), *self.geometry.kernel)

    def weight_blocks(self, source: Shape, target: Shape) -> tuple[int, ...]:
        """One block a group."""
        groups = number_of(self.grouped, source[0])
        return (target[0] // groups,) * groups

    def macs(self, source: Shape, target: Shape) -> int:
        """One kernel per pixel before pooling."""
        rows, columns = self.geometry.before_pooling(source[1:])
        return target[0] * (source[0] // number_of(self.grouped, source[0])) * self.geometry.taps * rows * columns

    def forward(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """P(w ⋆ s)."""
        z = self._conv(weight, s, target[0])
        return self.geometry.pooling.forward(z) if self.geometry.pooling else z

    def adjoint(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """w̃ ⋆ P⁻¹(t) (Eq. 8): unpooling at the arg-max of w ⋆ s, then the transposed convolution."""
        assert weight is not None
        return self.adjoint_untied(weight, weight, t, s, source)

    def adjoint_untied(
        self, weight: Tensor | None, feedback: Tensor, t: Tensor, s: Tensor | None, source: Shape
    ) -> Tensor:
        """As ``adjoint``, with the transposed convolution by ``feedback``."""
        return self._transposed(feedback, self._unpooled(weight, t, s, source), source)

    def weight_gradient(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """Correlation of s with P⁻¹(t)."""
        t = self._unpooled(weight, t, s, source)
        return gradient(s, t, self.geometry, number_of(self.grouped, source[0]))

    def forward_pair(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Return the pair of P(w ⋆ s⁺), P(w ⋆ s⁻); each sign has its own arg-max under max pooling."""
        z = self._conv(weight, s, target[0])
        return self.geometry.pooling.forward_pair(z, target) if self.geometry.pooling else z

    def adjoint_pair(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """Return the pair of the two adjoints, each unpooled at its own arg-max."""
        assert weight is not None
        return self.adjoint_untied_pair(weight, weight, t, s, source)

    def adjoint_untied_pair(
        self, weight: Tensor | None, feedback: Tensor, t: Tensor, s: Tensor | None, source: Shape
    ) -> Tensor:
        """As ``adjoint_pair``, with the transposed convolution by ``feedback``."""
        if self.is_linear:
            return self.adjoint_untied(weight, feedback, t, s, source)
        return self._transposed(feedback, self._unpooled_pair(weight, t, s, source), source)

    def weight_contrast(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """As in the base class, after t was unpooled at each sign's own arg-max."""
        if self.is_linear:
            return super().weight_contrast(weight, s, t, source)
        t = self._unpooled_pair(weight, t, s, source)
        # The halves of either factor may be swapped. The smaller factor is s.
        return gradient(swap_halves(s), t, self.geometry, number_of(self.grouped, source[0]))

    def _conv(self, weight: Tensor | None, s: Tensor, channels: int) -> Tensor:
        """w ⋆ s; a depthwise convolution has the same number of ``channels`` at both ends."""
        assert weight is not None
        return convolve(s, weight, self.geometry, number_of(self.grouped, channels))

    def _transposed(self, weight: Tensor, t: Tensor, source: Shape) -> Tensor:
        return transposed(t, weight, self.geometry, number_of(self.grouped, source[0]), source[1:])

    def _unpooled(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """P⁻¹(t)."""
        pooling = self.geometry.pooling
        if pooling is None:
            return t
        return pooling.adjoint(t, self._chooses(weight, s, source), self.geometry.before_pooling(source[1:]))

    def _unpooled_pair(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        pooling = self.geometry.pooling
        assert pooling is not None
        return pooling.adjoint_pair(t, self._chooses(weight, s, source), self.geometry.before_pooling(source[1:]))

    def _chooses(self, weight: Tensor | None, s: Tensor | None, source: Shape) -> Tensor | None:
        """The map in which max-pooling windows choose; None for a linear edge."""
        if self.is_linear:
            return None
        assert s is not None
        return self._conv(weight, s, source[0])


def _count(number: int, axis: str) -> str:
    return axis.removesuffix("s") if number == 1 else f"{number} {axis}"


def number_of(grouped: int | Literal["depthwise"], channels: int) -> int:
    """Number of groups for a number of channels."""
    return channels if grouped == "depthwise" else grouped


def check_groups(grouped: int | Literal["depthwise"], source: int, target: int | None) -> None:
    """Raise ShapeError unless the groups divide the channels of source and target (None: not known)."""
    if grouped == "depthwise":
        if target is not None and target != source:
            groups = source if target % source == 0 else gcd(source, target)
            raise ShapeError(
                f"is depthwise and keeps the {source} channels of its source, but the target has {target}",
                f"give the target channels: {source}, or use groups: {groups}",
            )
        return
    for end, channels in (("source", source), ("target", target)):
        if channels is not None and channels % grouped:
            near = _nearest(grouped, source if target is None else gcd(source, target))
            raise ShapeError(
                f"has {grouped} groups, which do not divide the {channels} channels of the {end}",
                " or ".join(f"groups: {n}" for n in near) + " would fit",
            )


def _nearest(groups: int, channels: int) -> list[int]:
    """Nearest divisors of ``channels``: the largest one up to ``groups`` and the smallest one above, if any."""
    divisors = [n for n in range(1, int(channels**0.5) + 1) if channels % n == 0]
    divisors += [channels // n for n in reversed(divisors) if n * n != channels]
    below = [n for n in divisors if n <= groups]
    return below[-1:] + [n for n in divisors if n > groups][:1]


def _neighbors(g: Geometry, source: Shape, target: Shape) -> Iterator[Geometry]:
    """Geometries that the user may have intended, the most likely first."""
    yield from (g._replace(stride=both(n)) for n in STRIDES)
    padded = g.padded(source, target)
    if padded:
        yield padded
    yield from (g._replace(pool=pool) for pool in ("max", None))
    for n in STRIDES:
        padded = g._replace(stride=both(n)).padded(source, target)
        if padded:
            yield padded
    yield from (g._replace(stride=(n, m)) for n in STRIDES for m in STRIDES)
    yield from (g._replace(dilation=both(n)) for n in (1, *DILATIONS))
    # The kernel that the sizes need, with the other options as they are.
    (rows, columns), (down, across) = g.before_pooling(source[1:]), g.dilation
    if g.pool is None:
        excess = (rows - target[1]) * g.stride[0], (columns - target[2]) * g.stride[1]
        tall, wide = g.kernel[0] + excess[0] // down, g.kernel[1] + excess[1] // across
        if min(tall, wide) >= 1:
            yield g._replace(kernel=(tall, wide))


def _kernel_text(g: Geometry) -> str:
    kernel, padding = (short(pair) for pair in (g.kernel, g.padding))
    text = f"a kernel of {kernel if isinstance(kernel, int) else times_text(kernel)}"
    if g.dilation != (1, 1):
        text += f", dilated to {times_text(g.extent)} pixels,"
    return f"{text} with padding {padding if isinstance(padding, int) else times_text(padding)}"


def correlate(
    s: Tensor,
    t: Tensor,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int],
    padding: int | tuple[int, int],
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """∂⟨t, w ⋆ s⟩/∂w, (target channels, source channels a group, *kernel).

    On a CPU by oneDNN's weight gradient, elsewhere by one matrix product a tap of the kernel. A 1×1 kernel is one
    product; there oneDNN corrupts the heap (channels last, stride 2, 3 channels, AVX2; torch 2.14.1).
    """
    import torch
    import torch.nn.functional as F
    from torch.overrides import handle_torch_function, has_torch_function

    if has_torch_function((s, t)):
        # Recorded by torch.fx as one call.
        further: tuple[Any, ...] = () if dilation == groups == 1 else (dilation, groups)
        result: Tensor = handle_torch_function(correlate, (s, t), s, t, kernel, stride, padding, *further)
        return result
    pairs = [(n, n) if isinstance(n, int) else n for n in (kernel, stride, padding, dilation)]
    (tall, wide), (down, across), (up, left), (apart, aside) = pairs
    # Where there are few pixels the weights are most of the traffic, and oneDNN is slower (512 channels on 2×2).
    most = 1024 * len(t) * t.shape[2] * t.shape[3]
    precise = s.dtype in (torch.float32, torch.bfloat16)
    onednn = s.device.type == "cpu" and precise and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if onednn and tall * wide > 1 and t.shape[1] * s.shape[1] // groups <= most:
        of_sizes = s.new_empty(1).expand(t.shape[1], s.shape[1] // groups, tall, wide)
        steps, border, spread = (list(pair) for pair in pairs[1:])
        found: Tensor = torch.ops.aten.convolution_backward(
            t, s, of_sizes, None, steps, border, spread, False, [0, 0], groups, [False, True, False]
        )[1]
        return found
    rows, columns = t.shape[2:]
    flat = t.permute(1, 0, 2, 3).reshape(t.shape[1], -1) if t.is_contiguous() else t.permute(0, 2, 3, 1).flatten(0, 2).T
    flat = flat.view(groups, -1, flat.shape[1])
    s = F.pad(s, (left, left, up, up))
    group_channels = s.shape[1] // groups

    def window(i: int, j: int) -> Tensor:
        y, x = apart * i, aside * j
        return s[:, :, y : y + down * (rows - 1) + 1 : down, x : x + across * (columns - 1) + 1 : across]

    # One product reads t once; with many channels that is not worth the memory of all taps.
    few = tall * wide * group_channels <= 64
    if groups == 1 and few:
        windows = torch.stack([window(i, j) for i in range(tall) for j in range(wide)], 1)
        windows = windows.permute(0, 3, 4, 1, 2).reshape(flat.shape[2], -1)
        return matrix_product(flat[0], windows).view(-1, tall, wide, group_channels).permute(0, 3, 1, 2)
    gradient = s.new_empty(tall, wide, t.shape[1], group_channels)
    for i in range(tall):
        for j in range(wide):
            part = window(i, j).permute(0, 2, 3, 1).reshape(-1, groups, group_channels).transpose(0, 1)
            if groups == 1:
                gradient[i, j] = matrix_product(flat[0], part[0])
            else:
                torch.bmm(flat, part, out=gradient[i, j].view(groups, -1, group_channels))
    return gradient.permute(2, 3, 0, 1)
