"""A smooth, holomorphic stand-in for ReLUα."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epgraph.activations.activation import Activation, option, within, within_pair

if TYPE_CHECKING:
    from torch import Tensor

STEEPEST = 80.0
"""Largest kα: e^{kα} has to be finite in float32 and bfloat16."""

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
"""B₂, B₄, …; the series below is used up to ln 2, where the next term is below 10⁻¹⁸."""


@dataclass(frozen=True)
class Softclip(Activation):
    """σ(x) = (1/k) ln[(1 + e^{kx})/(1 + e^{k(x−α)})], on (0, α): the difference of two softplus functions.

    It tends to ReLUα as the sharpness k grows, and is within ln 2/k of it. It is holomorphic for |Im x| < π/k.
    """

    name = "softclip"

    alpha: float = option(6.0, "Level α at which the state is clipped, softly.", (6, 0.7))
    sharpness: float = option(4.0, "Sharpness k of both bends; large k is nearly ReLUα.", (12, 5))

    def __post_init__(self) -> None:
        if self.alpha * self.sharpness > STEEPEST:
            raise ValueError(
                f"alpha · sharpness of softclip is {self.alpha * self.sharpness:g} and may be at most {STEEPEST:g}; "
                f"lower sharpness to {STEEPEST / self.alpha:g}, or use {{relu: {self.alpha:g}}}"
            )

    @property
    def label(self) -> str:
        """``softclip``, with its options where they are not the defaults."""
        if self == Softclip():
            return "softclip"
        return f"softclip(alpha {self.alpha:g}, sharpness {self.sharpness:g})"

    @property
    def holomorphic(self) -> bool:
        """True, for |Im x| < π/k."""
        return True

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """Return (1/k) ln[1 + (e^{kα} − 1) λ(k(x−α))] with λ the logistic function.

        The same function: neither end of its range is a difference of large numbers.
        """
        k = self.sharpness
        return x.sub_(self.alpha).mul_(k).sigmoid_().mul(math.expm1(k * self.alpha)).log1p() * (1 / k)

    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the pair; with a = kp, b = k(p−α), v = k|q|, the odd part is ln(1 + R)/2k, signed as q.

        R = [(1+e^{a+v})(1+e^{b−v}) − (1+e^{a−v})(1+e^{b+v})] / (1+e^{a−v})(1+e^{b+v})
          = (e^{2v} − 1)(1 − e^{−kα}) λ(a−v) λ(−b−v), a product.
        """
        import torch

        k = self.sharpness
        plus, minus = self.apply_(p + q, alpha), self.apply_(p - q, alpha)
        v = q.abs().mul_(k)
        small = v.clamp(max=1.0)
        ratio = torch.sigmoid(k * p - small) * torch.sigmoid(k * (self.alpha - p) - small)
        ratio = ratio.mul_(torch.expm1(2 * small)).mul_(-math.expm1(-k * self.alpha))
        odd = ratio.log1p_().mul_(0.5 / k).copysign_(q)
        # For a large q the plain difference is exact enough, and e^{2v} may not be finite.
        odd = torch.where(v < 1, odd, 0.5 * (plus - minus))
        return plus.add_(minus).mul_(0.5), odd

    def derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """λ(kx) − λ(k(x−α)) as a product: (1 − e^{−kα}) λ(kx) λ(k(α−x))."""
        import torch

        k = self.sharpness
        return torch.sigmoid(k * x) * torch.sigmoid(k * (self.alpha - x)) * -math.expm1(-k * self.alpha)

    def middle(self, alpha: float | Tensor) -> float:
        """½α."""
        return 0.5 * self.alpha

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """½s² + [Li₂(e^{−ks}) + Li₂(e^{−k(α−s)})]/k², from σ⁻¹(s) = s + (1/k) ln[(1−e^{−ks})/(1−e^{−k(α−s)})]."""
        import torch

        k = self.sharpness
        ends = torch.stack((s, self.alpha - s)).mul(k)
        return 0.5 * s * s + _dilogarithm(ends).sum(0) * (1 / k**2)

    @property
    def steepest(self) -> float:
        """Just below 1, in the middle of the range."""
        return 1.0

    def bounds(self, alpha: float | Tensor) -> tuple[float, float]:
        """[0, α]."""
        return 0.0, self.alpha

    def inverse(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """Return s + (1/k) ln[(1−e^{−ks})/(1−e^{−k(α−s)})]."""
        import torch

        k = self.sharpness
        s = within(s * (1 / self.alpha), 0) * self.alpha
        low, high = torch.expm1(-k * s), torch.expm1(k * (s - self.alpha))
        return s + (low / high).log() * (1 / k)

    def inverse_pair(self, c: Tensor, o: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the pair; the odd part is |o| + (1/2k) Σ ln[1 + (1−e^{−2k|o|})/(e^{kd}−1)], d = c−|o| and α−c−|o|."""
        import torch

        k = self.sharpness
        u, v = within_pair(c * (1 / self.alpha), o * (1 / self.alpha), 0)
        c, size = u * self.alpha, v * self.alpha
        common = 0.5 * (self.inverse(c + size, alpha) + self.inverse(c - size, alpha))
        grown = -torch.expm1(-2 * k * size)
        ends = torch.stack((c - size, self.alpha - c - size))
        logarithms = (grown / torch.expm1(k * ends)).log1p().sum(0)
        return common, (size + logarithms * (0.5 / k)).copysign(o)


def _dilogarithm(t: Tensor) -> Tensor:
    """Li₂(e^{−t}) for t ≥ 0; what rounding has put below 0 counts as 0.

    With w = −ln(1−z), Li₂(z) = L(w) = w − w²/4 + Σ Bₙ wⁿ⁺¹/(n+1)!, and by reflection Li₂(e^{−t}) is also
    π²/6 + t ln(1−e^{−t}) − L(t): one of the two arguments is at most ln 2.
    """
    import torch

    half = math.log(2)
    # Clamped only to keep the branch that is not taken finite, and well beyond it: at a bound autograd gives 0.
    near, far = t.clamp(0, 1), t.clamp(min=0.5)
    close = t < half
    w = torch.where(close, near, -torch.log1p(-torch.exp(-far)))
    square = w * w
    series = torch.zeros_like(w)
    for n in range(len(_BERNOULLI), 0, -1):
        series = series * square + _BERNOULLI[n - 1] / math.factorial(2 * n + 1)
    value = w - 0.25 * square + w * square * series
    return torch.where(close, math.pi**2 / 6 + torch.special.xlogy(near, -torch.expm1(-near)) - value, value)
