"""Pooling P of windows that do not overlap, its adjoint, and both on pairs of nudged states.

Max pooling is piecewise linear; its adjoint sends each unit back to the arg-max of its window, the first index where
values tie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from epgraph.kinds.kind import Shape
from epgraph.kinds.pixels import Pair, short

if TYPE_CHECKING:
    from torch import Tensor

How = Literal["max", "average"]


class Pooling(NamedTuple):
    """P is the maximum or the mean of every window of ``size``; pixels that fill no window are left out.

    Maps z are (batch, channels, height, width); ``pixels`` is their height and width.
    """

    how: How
    size: Pair

    def pooled(self, pixels: Pair) -> Pair:
        """Height and width after pooling."""
        return pixels[0] // self.size[0], pixels[1] // self.size[1]

    def forward(self, z: Tensor) -> Tensor:
        """P(z)."""
        import torch.nn.functional as F

        if self.how == "max":
            # Ask for the indices, as the adjoint does: the compiler then sees that both pool the same map.
            return F.max_pool2d(z, short(self.size), return_indices=True)[0]
        return F.avg_pool2d(z, short(self.size))

    def forward_pair(self, z: Tensor, target: Shape) -> Tensor:
        """Return the pair of P(z⁺), P(z⁻); each sign has its own arg-max under max pooling."""
        if self.how != "max":
            return self.forward(z)
        import torch

        plus, minus = self._argmax_pair(z)
        c, o = z.chunk(2)
        c_plus, c_minus, o_plus, o_minus = _take(c, plus), _take(c, minus), _take(o, plus), _take(o, minus)
        common = c_plus.add(c_minus).add_(o_plus).sub_(o_minus)
        # Where both signs choose the same pixel, c_plus − c_minus is exactly zero: no cancellation.
        odd = o_plus.add_(o_minus).add_(c_plus.sub_(c_minus))
        flat = torch.cat((common, odd)).mul_(0.5)
        return torch.unflatten(flat, 1, target[1:]).permute(0, 3, 1, 2)

    def adjoint(self, t: Tensor, z: Tensor | None, pixels: Pair) -> Tensor:
        """Return ∂⟨t, P(z)⟩/∂z; average pooling does not look at z."""
        if self.how == "max":
            assert z is not None
            return self._unpool(t, self._argmax(z), pixels)
        return self._spread(t, pixels)

    def adjoint_pair(self, t: Tensor, z: Tensor | None, pixels: Pair) -> Tensor:
        """Return the adjoint of t⁺ = c + o at one arg-max and of t⁻ = c − o at the other, as a pair.

        Where both arg-max agree, which is nearly everywhere, the two parts are mapped separately: no cancellation.
        """
        if self.how != "max":
            return self.adjoint(t, z, pixels)
        assert z is not None
        import torch

        plus, minus = self._argmax_pair(z)
        c, o = t.chunk(2)
        agree = plus == minus
        up, down = (c + o).mul_(0.5), (c - o).mul_(0.5)
        common, odd = (self._unpool(torch.where(agree, part, up), plus, pixels) for part in (c, o))
        elsewhere = self._unpool(down.masked_fill_(agree, 0.0), minus, pixels)
        return torch.cat((common.add_(elsewhere), odd.sub_(elsewhere)))

    def _argmax(self, z: Tensor) -> Tensor:
        import torch.nn.functional as F

        # torch takes the first index of the largest value, which is the convention of the language.
        return F.max_pool2d(z, short(self.size), return_indices=True)[1]

    def _argmax_pair(self, z: Tensor) -> tuple[Tensor, Tensor]:
        c, o = z.chunk(2)
        return self._argmax(c + o), self._argmax(c - o)

    def _unpool(self, t: Tensor, index: Tensor, pixels: Pair) -> Tensor:
        """Put each target unit at its arg-max; windows do not overlap, so no two values share a pixel."""
        import torch.nn.functional as F

        return F.max_unpool2d(t, index, list(self.size), output_size=list(pixels))

    def _spread(self, t: Tensor, pixels: Pair) -> Tensor:
        """Adjoint of average pooling: each target pixel over its window, zeros where no window reaches."""
        import torch.nn.functional as F

        down, across = self.size
        t = t.repeat_interleave(down, dim=2).repeat_interleave(across, dim=3).mul_(1 / (down * across))
        return F.pad(t, (0, pixels[1] % across, 0, pixels[0] % down))


def _take(z: Tensor, index: Tensor) -> Tensor:
    """Values at flat pixel indices, (batch, pixels, channels): pixels before channels suits both memory layouts."""
    pixels, indices = (v.permute(0, 2, 3, 1).flatten(1, 2) for v in (z, index))
    return pixels.gather(1, indices)
