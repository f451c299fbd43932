"""Piecewise linear activations: ReLUα, whose level is fixed, drawn or learnt, and the identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epgraph.activations.activation import Activation

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ReLU(Activation):
    """ReLUα: x clipped to [0, α] (§III.B). α is fixed, or drawn once per state, uniformly in [low, high].

    With ``learn`` that is where α starts. F = ½‖s‖² − Φ is minimized over a box whose upper side is α, so by the
    envelope theorem ∂F*/∂α = −Σ (a − α) over the units at α, with a = ∂Φ/∂s: their multipliers.
    """

    name = "relu"

    low: float
    high: float
    learn: bool = False

    @property
    def random(self) -> bool:
        """Whether α is drawn at compile time."""
        return self.low != self.high

    @property
    def stored(self) -> bool:
        """Whether α is drawn or learnt."""
        return self.random or self.learn

    @property
    def learnt(self) -> bool:
        """Whether α is learnt."""
        return self.learn

    @property
    def label(self) -> str:
        """``relu6``, ``relu[1, 10]`` where α is random, ``learnt_relu6`` where it is learnt."""
        name = f"relu[{self.low:g}, {self.high:g}]" if self.random else f"relu{self.low:g}"
        return f"learnt_{name}" if self.learn else name

    @property
    def smooth(self) -> bool:
        """False: there are kinks at 0 and α."""
        return False

    @property
    def projects(self) -> bool:
        """True: on the box [0, α]."""
        return True

    @property
    def alpha_range(self) -> tuple[float, float]:
        """[low, high]."""
        return self.low, self.high

    @property
    def steepest(self) -> float:
        """1, inside the box."""
        return 1.0

    def bounds(self, alpha: float | Tensor) -> tuple[float, float | Tensor]:
        """[0, α]."""
        return 0.0, alpha

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """Clip x to [0, α] in place."""
        return x.clamp_(0.0, alpha) if isinstance(alpha, float) else x.clamp_(min=0.0).clamp_(max=alpha)

    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the pair; the odd part is half the overlap of [p−|q|, p+|q|] with [0, α], signed as q.

        That overlap is the least of 2|q|, p+|q|, α−p+|q| and α, and in each of these the terms are of the size
        of the result.
        """
        import torch

        size = q.abs()
        odd = torch.minimum(p, alpha - p).add_(size).mul_(0.5)
        odd = self.apply_(torch.minimum(odd, size, out=odd), 0.5 * alpha).copysign_(q)
        common = self.apply_(p + q, alpha)
        return common.add_(self.apply_(p - q, alpha)).mul_(0.5), odd

    def derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """1 strictly inside (0, α), else 0."""
        return ((x > 0) & (x < alpha)).to(x.dtype)

    def sloped(self, x: Tensor, t: Tensor, alpha: float | Tensor) -> Tensor:
        """Return t strictly inside (0, α), else 0, in one pass."""
        import torch

        if not isinstance(alpha, float):
            return super().sloped(x, t, alpha)
        masked: Tensor = torch.ops.aten.hardtanh_backward(t, x, 0.0, alpha)
        return masked

    def middle(self, alpha: float | Tensor) -> float | Tensor:
        """½α."""
        return 0.5 * alpha

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """½s² on the box [0, α]."""
        return 0.5 * s * s

    def excess_contrast(self, p: Tensor, q: Tensor, alpha: Tensor) -> Tensor:
        """½[(p+q−α)₊ − (p−q−α)₊] per unit: the contrast that α learns from, from a pair of pre-activations.

        It is half the overlap of [p−|q|, p+|q|] with [α, ∞), signed as q, as in ``pair``.
        """
        import torch

        size = q.abs()
        return torch.minimum((p - alpha + size).mul_(0.5).clamp_(min=0.0), size).copysign_(q)


@dataclass(frozen=True)
class Identity(Activation):
    """σ(x) = x, the published output state."""

    name = "identity"

    @property
    def label(self) -> str:
        """``identity``."""
        return "identity"

    @property
    def projects(self) -> bool:
        """True: on the real line."""
        return True

    @property
    def steepest(self) -> float:
        """1."""
        return 1.0

    @property
    def holomorphic(self) -> bool:
        """True."""
        return True

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """Return x itself."""
        return x

    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return (p, q)."""
        return p, q

    def derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """Return ones."""
        import torch

        return torch.ones_like(x)

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """½s²."""
        return 0.5 * s * s
