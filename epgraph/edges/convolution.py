"""What the convolutional edge kinds share: the map P(w ⋆ s), its adjoint and its gradient (Eq. 7, 8)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from epgraph.edges.kind import EdgeKind, End, Shape, ShapeError, shape_text, swap_halves

if TYPE_CHECKING:
    from torch import Tensor

POOL = 2
"""Side and stride of the pooling window."""


class Geometry(NamedTuple):
    """Geometry of a square convolution with zero padding and optional 2×2 pooling."""

    kernel: int
    stride: int
    padding: int
    pool: Literal["max", "average"] | None

    def before_pooling(self, n: int) -> int:
        """Pixels along one side after the convolution, from ``n`` before it."""
        return (n + 2 * self.padding - self.kernel) // self.stride + 1

    def size(self, n: int) -> int:
        """Pixels along one side after convolution and pooling, from ``n`` before."""
        return self.before_pooling(n) // (POOL if self.pool else 1)

    def maps(self, source: Shape, target: Shape) -> bool:
        """Whether the pixels of ``source`` become those of ``target``."""
        return tuple(self.size(n) for n in source[1:]) == target[1:]


class Convolution(EdgeKind):
    """Square convolution w ⋆ s, with zero padding and an optional 2×2 pooling P: Φ gains ⟨s^j, P(w ⋆ s^i)⟩.

    Max pooling makes the edge piecewise linear in its source; its adjoint sends each target unit back to the
    arg-max that the current source gives, the first index where values tie.
    """

    @property
    @abstractmethod
    def geometry(self) -> Geometry:
        """Kernel, stride, padding and pooling."""

    @property
    def is_linear(self) -> bool:
        """Whether the edge is linear in its source: always, but for max pooling."""
        return self.geometry.pool != "max"

    @property
    def source_end(self) -> End:
        """Linear; under max pooling Φ is a sum of maxima of linear functions, each times a unit of the target.

        Where that unit is negative the term is concave, so that it is convex where the target is nowhere negative.
        """
        return "linear" if self.is_linear else "convex where the other end is ≥ 0"

    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """(channels, H', W') with H' = ⌊(H + 2·padding − kernel)/stride⌋ + 1, halved by pooling."""
        if len(source) != 3:
            raise ShapeError(
                f"needs a source of channels×height×width, but the source is {shape_text(source)}",
                "write its shape as [channels, height, width], or use 'dense: {}'",
            )
        size = tuple(self.geometry.size(n) for n in source[1:])
        if min(size) < 1:
            raise ShapeError(
                f"has a kernel of {self.geometry.kernel} with padding {self.geometry.padding}, "
                f"which does not fit into {shape_text(source)}",
                "use a smaller kernel, more padding or no pooling",
            )
        return None if channels is None else (channels, *size)

    def source_shape(self, target: Shape, channels: int | None) -> Shape | None:
        """Return the only source size that gives ``target``: known where nothing is strided or pooled."""
        if len(target) != 3 or channels is None or self.geometry.stride != 1 or self.geometry.pool is not None:
            return None
        size = tuple(n - 1 + self.geometry.kernel - 2 * self.geometry.padding for n in target[1:])
        return (channels, *size) if min(size) >= 1 else None

    def suggest(self, source: Shape, target: Shape) -> str:
        """Name the nearest stride, padding or pooling that maps ``source`` to ``target``."""
        if len(target) != 3:
            return "use 'dense: {}' to reach a state that is not an image"
        g = self.geometry
        near: list[tuple[str, dict[str, Any]]] = [("stride", {"stride": n}) for n in range(1, 9)]
        near += [("padding", {"padding": n}) for n in range(g.kernel)]
        near += [("pool", {"pool": p}) for p in ("max", None)]
        for key, change in near:
            if g._replace(**change).maps(source, target):
                value = change[key]
                return f"{key}: {'null' if value is None else value} would fit"
        for stride in range(1, 9):
            for padding in range(g.kernel):
                if g._replace(stride=stride, padding=padding).maps(source, target):
                    return f"stride: {stride} with padding: {padding} would fit"
        return self.suggest_swap(source, target) or (
            "no stride and padding fits; change the shape of one of the two states"
        )

    def suggest_swap(self, source: Shape, target: Shape) -> str:
        """Return the hint for an edge that was written from the smaller state to the larger; empty if it was not."""
        for stride in range(1, 65):
            if self.geometry._replace(stride=stride).maps(target, source):
                return f"write it from the larger state, with stride: {stride}; an edge acts both ways"
        return ""

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        """OIHW: (target channels, source channels, kernel, kernel)."""
        return (target[0], source[0], self.geometry.kernel, self.geometry.kernel)

    def macs(self, source: Shape, target: Shape) -> int:
        """One kernel per pixel before pooling."""
        pixels = self.geometry.before_pooling(source[1]) * self.geometry.before_pooling(source[2])
        return target[0] * source[0] * self.geometry.kernel**2 * pixels

    def forward(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """P(w ⋆ s)."""
        import torch.nn.functional as F

        z = self._conv(weight, s)
        if self.geometry.pool == "max":
            # With the indices, which the adjoint needs: the compiler then sees that both pool the same map.
            return F.max_pool2d(z, POOL, return_indices=True)[0]
        return F.avg_pool2d(z, POOL) if self.geometry.pool == "average" else z

    def adjoint(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """w̃ ⋆ P⁻¹(t) (Eq. 8): unpooling at the arg-max of w ⋆ s, then the transposed convolution."""
        assert weight is not None
        return self.adjoint_untied(weight, weight, t, s, source)

    def adjoint_untied(
        self, weight: Tensor | None, feedback: Tensor, t: Tensor, s: Tensor | None, source: Shape
    ) -> Tensor:
        """Return the same with the transposed convolution by ``feedback``."""
        if self.geometry.pool == "max":
            assert s is not None
            t = self._unpool(t, _argmax(self._conv(weight, s)), source)
        elif self.geometry.pool == "average":
            t = self._spread(t, source)
        return self._transposed(feedback, t, source)

    def weight_gradient(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """Correlation of s with P⁻¹(t)."""
        if self.geometry.pool == "max":
            t = self._unpool(t, _argmax(self._conv(weight, s)), source)
        elif self.geometry.pool == "average":
            t = self._spread(t, source)
        return correlate(s, t, self.geometry.kernel, self.geometry.stride, self.geometry.padding)

    def forward_pair(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Return the pair of P(w ⋆ s⁺), P(w ⋆ s⁻); each sign has its own arg-max under max pooling."""
        if self.geometry.pool != "max":
            return self.forward(weight, s, target)
        import torch

        z = self._conv(weight, s)
        plus, minus = _argmax_pair(z)
        c, o = z.chunk(2)
        c_plus, c_minus, o_plus, o_minus = _take(c, plus), _take(c, minus), _take(o, plus), _take(o, minus)
        common = c_plus.add(c_minus).add_(o_plus).sub_(o_minus)
        # Where both signs choose the same pixel c_plus − c_minus is exactly zero, and nothing cancels.
        odd = o_plus.add_(o_minus).add_(c_plus.sub_(c_minus))
        flat = torch.cat((common, odd)).mul_(0.5)
        return torch.unflatten(flat, 1, target[1:]).permute(0, 3, 1, 2)

    def adjoint_pair(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """Return the pair of the two adjoints, each unpooled at its own arg-max."""
        assert weight is not None
        return self.adjoint_untied_pair(weight, weight, t, s, source)

    def adjoint_untied_pair(
        self, weight: Tensor | None, feedback: Tensor, t: Tensor, s: Tensor | None, source: Shape
    ) -> Tensor:
        """Return the same with the transposed convolution by ``feedback``."""
        if self.geometry.pool != "max":
            return self.adjoint_untied(weight, feedback, t, s, source)
        assert s is not None
        return self._transposed(feedback, self._unpool_pair(t, self._conv(weight, s), source), source)

    def weight_contrast(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """As in the base class, with t unpooled at each sign's own arg-max first."""
        if self.geometry.pool != "max":
            return super().weight_contrast(weight, s, t, source)
        t = self._unpool_pair(t, self._conv(weight, s), source)
        # Common meets odd whichever of the two is turned round, and s is the smaller.
        return correlate(swap_halves(s), t, self.geometry.kernel, self.geometry.stride, self.geometry.padding)

    def _conv(self, weight: Tensor | None, s: Tensor) -> Tensor:
        import torch.nn.functional as F

        assert weight is not None
        return F.conv2d(s, weight, stride=self.geometry.stride, padding=self.geometry.padding)

    def _transposed(self, weight: Tensor, t: Tensor, source: Shape) -> Tensor:
        import torch.nn.functional as F

        # Rows at the far edge that no kernel position reaches get a zero: output_padding restores them.
        missing = [(n + 2 * self.geometry.padding - self.geometry.kernel) % self.geometry.stride for n in source[1:]]
        return F.conv_transpose2d(
            t, weight, stride=self.geometry.stride, padding=self.geometry.padding, output_padding=missing
        )

    def _spread(self, t: Tensor, source: Shape) -> Tensor:
        """Adjoint of average pooling: each target pixel over its window, zeros where no window reaches."""
        import torch.nn.functional as F

        rows, columns = (self.geometry.before_pooling(n) for n in source[1:])
        t = t.repeat_interleave(POOL, dim=2).repeat_interleave(POOL, dim=3).mul_(1 / POOL**2)
        return F.pad(t, (0, columns % POOL, 0, rows % POOL))

    def _unpool(self, t: Tensor, index: Tensor, source: Shape) -> Tensor:
        """Put each target unit at its arg-max; windows do not overlap, so no two values meet."""
        import torch.nn.functional as F

        return F.max_unpool2d(t, index, [POOL, POOL], output_size=[self.geometry.before_pooling(n) for n in source[1:]])

    def _unpool_pair(self, t: Tensor, z: Tensor, source: Shape) -> Tensor:
        """Unpool t⁺ = c + o at one arg-max and t⁻ = c − o at the other.

        Where both agree, which is nearly everywhere, the parts stay apart and nothing is subtracted.
        """
        import torch

        plus, minus = _argmax_pair(z)
        c, o = t.chunk(2)
        agree = plus == minus
        up, down = (c + o).mul_(0.5), (c - o).mul_(0.5)
        common, odd = (self._unpool(torch.where(agree, part, up), plus, source) for part in (c, o))
        elsewhere = self._unpool(down.masked_fill_(agree, 0.0), minus, source)
        return torch.cat((common.add_(elsewhere), odd.sub_(elsewhere)))


def correlate(s: Tensor, t: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """∂⟨t, w ⋆ s⟩/∂w, (target channels, source channels, kernel, kernel): one matrix product a tap of the kernel.

    Not torch's own weight gradient: with channels last that corrupts the heap for a 1×1 kernel with stride 2 on 3
    channels (oneDNN in torch 2.14.1), and it is slower than this on all edges of Hopfield-ResNet13.
    """
    import torch
    import torch.nn.functional as F
    from torch.overrides import handle_torch_function, has_torch_function

    if has_torch_function((s, t)):
        # Recorded by torch.fx as one call.
        made: Tensor = handle_torch_function(correlate, (s, t), s, t, kernel, stride, padding)
        return made
    rows, columns = t.shape[2:]
    flat = t.permute(1, 0, 2, 3).reshape(t.shape[1], -1) if t.is_contiguous() else t.permute(0, 2, 3, 1).flatten(0, 2).T
    s = F.pad(s, (padding,) * 4)
    gradient = s.new_empty(kernel, kernel, t.shape[1], s.shape[1])
    for i in range(kernel):
        for j in range(kernel):
            seen = s[:, :, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
            torch.mm(flat, seen.permute(0, 2, 3, 1).reshape(-1, s.shape[1]), out=gradient[i, j])
    return gradient.permute(2, 3, 0, 1)


def _argmax(z: Tensor) -> Tensor:
    import torch.nn.functional as F

    # torch takes the first index of the largest value, which is the convention of the language.
    return F.max_pool2d(z, POOL, return_indices=True)[1]


def _argmax_pair(z: Tensor) -> tuple[Tensor, Tensor]:
    c, o = z.chunk(2)
    return _argmax(c + o), _argmax(c - o)


def _take(z: Tensor, index: Tensor) -> Tensor:
    """Values at flat pixel indices, (batch, pixels, channels): pixels before channels suits both memory layouts."""
    pixels, wanted = (v.permute(0, 2, 3, 1).flatten(1, 2) for v in (z, index))
    return pixels.gather(1, wanted)
