"""Interaction of a state with a memory: the modern Hopfield network (Ramsauer et al. 2021) as a term of Φ."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from epgraph.kinds.kind import End, Positive, Shape, ShapeError, shape_text
from epgraph.kinds.unary import Unary

if TYPE_CHECKING:
    from torch import Tensor


class Memory(Unary):
    """Φ gains (1/b) log Σ_μ exp(b M_μ·s): the state moves towards a softmax mixture of the patterns, the rows of M.

    For a linear state without other edges the update is s ← Mᵀ softmax(b M s): Ramsauer's update, one attention head.
    A log-sum-exp is convex, so no update raises F.
    """

    name: ClassVar[str] = "memory"
    linear: ClassVar[bool] = False

    patterns: Positive = Field(description="Number of patterns that are stored.", examples=[64])
    sharpness: Annotated[float, Field(gt=0, le=1e6)] = Field(
        default=1.0, description="Inverse temperature b: the larger, the fewer patterns share a state.", examples=[4.0]
    )
    per_pixel: bool = Field(
        default=False,
        description="Whether patterns are of the channels of a pixel, and not of all units.",
        examples=[True],
    )

    @property
    def source_end(self) -> End:
        """A log-sum-exp of linear functions is convex."""
        return "convex"

    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """Return the state's own shape; ``per_pixel`` needs an image."""
        if self.per_pixel and len(source) != 3:
            raise ShapeError(
                f"per pixel needs channels×height×width, but the state is {shape_text(source)}",
                "leave 'per_pixel' out",
            )
        return source

    def idle(self, source: Shape, target: Shape) -> Mapping[str, str]:
        """The sharpness with one pattern, and ``per_pixel`` with one pixel."""
        one = {"sharpness": "there is one pattern only"} if self.patterns == 1 else {}
        alone = self.per_pixel and prod(source[1:]) == 1
        return {**one, "per_pixel": "the state has one pixel only"} if alone else one

    def weight_shape(self, source: Shape, target: Shape) -> Shape:
        """(patterns, units), or (patterns, channels)."""
        return (self.patterns, source[0] if self.per_pixel else prod(source))

    def macs(self, source: Shape, target: Shape) -> int:
        """Two per weight, to the patterns and back; with ``per_pixel``, for every pixel."""
        return 2 * self.patterns * prod(source)

    def label(self) -> str:
        """E.g. ``memory 64, sharpness 4, per pixel``."""
        sharpness = f", sharpness {self.sharpness:g}" if self.sharpness != 1 else ""
        return f"memory {self.patterns}{sharpness}" + ", per pixel" * self.per_pixel

    def potential(self, weight: Tensor, s: Tensor, shape: Shape) -> Tensor:
        """(1/b) log Σ exp(b M s) of each example, (batch,)."""
        import torch

        each = torch.logsumexp(self._similarity(weight, self._rows(s)), 1)
        return each.view(-1, self._pixels(shape)).sum(1) / self.sharpness

    def forward(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Mᵀ softmax(b M s)."""
        import torch

        assert weight is not None
        return self._mixed(weight, torch.softmax(self._similarity(weight, self._rows(s)), 1), target)

    def forward_pair(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Return the pair of Mᵀ softmax(b M s±)."""
        assert weight is not None
        return self._mixed(weight, softmax_pair(self._similarity(weight, self._rows(s))), target)

    def weight_gradient(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """Softmax(b M s) tᵀ, summed over the batch."""
        import torch

        return torch.softmax(self._similarity(weight, self._rows(s)), 1).T @ self._rows(t)

    def weight_contrast(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """½[p⁺ (t⁺)ᵀ − p⁻ (t⁻)ᵀ] = p_c t_oᵀ + p_o t_cᵀ with the pair p of softmax(b M s±), without cancellation."""
        import torch

        common, odd = softmax_pair(self._similarity(weight, self._rows(s))).chunk(2)
        t_common, t_odd = self._rows(t).chunk(2)
        return torch.cat((common, odd)).T @ torch.cat((t_odd, t_common))

    def _pixels(self, shape: Shape) -> int:
        return prod(shape[1:]) if self.per_pixel else 1

    def _rows(self, s: Tensor) -> Tensor:
        """Vectors to compare with the patterns, (rows, units or channels): one per example, or one per pixel."""
        return s.flatten(2).transpose(1, 2).flatten(0, 1) if self.per_pixel else s.flatten(1)

    def _similarity(self, weight: Tensor, rows: Tensor) -> Tensor:
        return (rows @ weight.T) * self.sharpness

    def _mixed(self, weight: Tensor, weights: Tensor, shape: Shape) -> Tensor:
        """Mᵀ p in the shape of the state, for softmax weights p."""
        mixture = weights @ weight
        if not self.per_pixel:
            return mixture.view(-1, *shape)
        return mixture.view(-1, self._pixels(shape), shape[0]).transpose(1, 2).reshape(-1, *shape)


def softmax_pair(pair: Tensor) -> Tensor:
    """Common and odd part of softmax(c ± o) over dimension 1, stacked, from the pair of c and o.

    With log p± = c ± o − L±, L the log-sum-exp, half the difference of the logarithms is h = o − ½(L⁺ − L⁻), and
    p⁺ − p⁻ = 2 √(p⁺p⁻) sinh h. Where o is small, L⁺ − L⁻ is computed as log Σ p⁻ e^{2o}, without cancellation.
    Elsewhere the plain difference is accurate.
    """
    import torch
    from torch.overrides import handle_torch_function, has_torch_function

    if has_torch_function((pair,)):
        # Recorded by torch.fx as one call.
        result: Tensor = handle_torch_function(softmax_pair, (pair,), pair)
        return result
    c, o = pair.chunk(2)
    plus, minus = (torch.logsumexp(x, 1, keepdim=True) for x in (c + o, c - o))
    log_plus, log_minus = c + o - plus, c - o - minus
    small = o.abs().amax(1, keepdim=True) <= 1
    expansion = (log_minus.exp() * torch.expm1(2 * o.clamp(-1, 1))).sum(1, keepdim=True)
    half = o - 0.5 * torch.where(small, torch.log1p(expansion), plus - minus)
    # The larger probability is at most 1, so no exponential overflows.
    largest = torch.where(half < 0, log_minus, log_plus).exp()
    odd = -0.5 * half.sign() * largest * torch.expm1(-2 * half.abs())
    return torch.cat((0.5 * (log_plus.exp() + log_minus.exp()), odd))
