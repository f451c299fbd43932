"""Sigmoids: the families of tanh and of the logistic function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from epgraph.activations.activation import (
    Activation,
    holomorphic_sech2,
    option,
    scale_,
    scaled,
    sech2,
    within,
    within_pair,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Tanh(Activation):
    """σ(x) = h tanh(mx/h), on (−h, h), with slope m at 0; tanh x as it is."""

    name = "tanh"

    slope: float = option(1.0, "Slope m of σ at 0.", (2, 0.5))
    height: float = option(1.0, "Largest value h of σ.", (3, 1))

    @property
    def label(self) -> str:
        """``tanh``, with slope and height where they are not 1."""
        return "tanh" if self == Tanh() else f"tanh(slope {self.slope:g}, height {self.height:g})"

    @property
    def holomorphic(self) -> bool:
        """True: its poles are πh/2m off the real axis."""
        return True

    @property
    def rate(self) -> float:
        """m/h."""
        return self.slope / self.height

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """Tanh in place."""
        return scaled(scale_(x, self.rate).tanh_(), self.height)

    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the pair by the addition theorem of tanh."""
        common, odd = _tanh_pair(scaled(p, self.rate), scaled(q, self.rate))
        return scale_(common, self.height), scale_(odd, self.height)

    def derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """m sech²(mx/h)."""
        return scale_(sech2(scaled(x, self.rate)), self.slope)

    def holomorphic_derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """m sech²(mx/h) of complex x."""
        return self.slope * holomorphic_sech2(self.rate * x)

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """½[(1+u)ln(1+u) + (1−u)ln(1−u)] · h²/m with u = s/h."""
        import torch

        u = scaled(s, 1 / self.height)
        entropy: Tensor = torch.special.xlog1py(1 + u, u) + torch.special.xlog1py(1 - u, -u)
        return 0.5 * self.height / self.rate * entropy

    @property
    def steepest(self) -> float:
        """The slope m at 0."""
        return self.slope

    def bounds(self, alpha: float | Tensor) -> tuple[float, float]:
        """[−h, h]."""
        return -self.height, self.height

    def inverse(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """(h/m) artanh(s/h)."""
        return scaled(within(scaled(s, 1 / self.height), -1).atanh(), 1 / self.rate)

    def inverse_pair(self, c: Tensor, o: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the pair by the addition theorem: the odd part is ½ artanh(2o/(1−c²+o²))."""
        u, v = within_pair(scaled(c, 1 / self.height), scaled(o, 1 / self.height), -1)
        common = 0.5 * ((u + v).atanh() + (u - v).atanh())
        odd = (2 * v / ((1 - u) * (1 + u) + v * v)).atanh().mul(0.5).copysign(o)
        return scaled(common, 1 / self.rate), scaled(odd, 1 / self.rate)


@dataclass(frozen=True)
class Logistic(Activation):
    """σ(x) = h/(1 + e^{−4m(x−c)/h}), on (0, h), with slope m at the center c; 1/(1 + e^{−x}) as it is."""

    name = "logistic"

    slope: float = option(0.25, "Slope m of σ at its center.", (1, 0.25))
    height: float = option(1.0, "Largest value h of σ.", (1, 2))
    center: float = option(0.0, "Pre-activation c at the middle of the range.", (0.5, -1), signed=True)

    @property
    def label(self) -> str:
        """``logistic``, with its options where they are not those of 1/(1 + e^{−x})."""
        if self == Logistic():
            return "logistic"
        return f"logistic(slope {self.slope:g}, height {self.height:g}, center {self.center:g})"

    @property
    def holomorphic(self) -> bool:
        """True: its poles are πh/4m off the real axis."""
        return True

    @property
    def rate(self) -> float:
        """4m/h."""
        return 4 * self.slope / self.height

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """Logistic function in place."""
        return scaled(scale_(self._centered_(x), self.rate).sigmoid_(), self.height)

    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the pair through σ(x) = ½(1 + tanh(x/2))."""
        p = p - self.center if self.center else p
        common, odd = _tanh_pair(0.5 * self.rate * p, 0.5 * self.rate * q)
        return scale_(common.mul_(0.5).add_(0.5), self.height), scale_(odd.mul_(0.5), self.height)

    def derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """m sech²(2m(x−c)/h)."""
        return scale_(sech2(0.5 * self.rate * (x - self.center)), self.slope)

    def holomorphic_derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """m sech²(2m(x−c)/h) of complex x."""
        return self.slope * holomorphic_sech2(0.5 * self.rate * (x - self.center))

    def middle(self, alpha: float | Tensor) -> float:
        """The center c."""
        return self.center

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """Return cs + [u ln u + (1−u) ln(1−u)] · h²/4m with u = s/h."""
        import torch

        u = scaled(s, 1 / self.height)
        entropy: Tensor = torch.special.xlogy(u, u) + torch.special.xlog1py(1 - u, -u)
        own = scaled(entropy, self.height / self.rate)
        return own + self.center * s if self.center else own

    @property
    def steepest(self) -> float:
        """The slope m at the center."""
        return self.slope

    def bounds(self, alpha: float | Tensor) -> tuple[float, float]:
        """[0, h]."""
        return 0.0, self.height

    def inverse(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """Return c + (h/4m) ln(u/(1−u)) with u = s/h."""
        found = scaled(within(scaled(s, 1 / self.height), 0).logit(), 1 / self.rate)
        return found + self.center if self.center else found

    def inverse_pair(self, c: Tensor, o: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the pair; the odd part is ½ ln[1 + 2|v|/((u−|v|)(1−u−|v|))] for the pair u, v of s/h."""
        u, v = within_pair(scaled(c, 1 / self.height), scaled(o, 1 / self.height), 0)
        common = scaled(0.5 * ((u + v).logit() + (u - v).logit()), 1 / self.rate)
        odd = (2 * v / ((u - v) * (1 - u - v))).log1p().mul(0.5).copysign(o)
        return common + self.center if self.center else common, scaled(odd, 1 / self.rate)

    def _centered_(self, x: Tensor) -> Tensor:
        return x.sub_(self.center) if self.center else x


def _tanh_pair(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Common and odd part of tanh(p+q), tanh(p−q): t − tr·odd and r/(1 + t² sech² q/sech² p); no quotient cancels."""
    t, r = p.tanh(), q.tanh()
    u, v = p.abs().mul_(-2), q.abs().mul_(-2)
    # From the difference of the exponents, since either sech² may underflow.
    ratio = (v - u).exp_().mul_((u.exp_() + 1).div_(v.exp_() + 1).square_())
    odd = r / (t.square() * ratio).add_(1)
    return t - (r * odd).mul_(t), odd
