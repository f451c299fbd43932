"""Activations σ, each with its self-energy G (G′ = σ⁻¹) and its action on a pair of nudged states.

A *pair* is the common part c = (s⁺+s⁻)/2 and the odd part o = (s⁺−s⁻)/2 of two oppositely nudged states. The
odd part is what EP learns from; it is carried on its own because forming s⁺−s⁻ from the two states
would cancel nearly all of its digits in low precision (peers.md §3.9). ``pair`` maps the pre-activations
p ± q to the pair (σ(p+q)+σ(p−q))/2, (σ(p+q)−σ(p−q))/2 without ever subtracting nearly equal numbers.

To add an activation: one class here and its name in ``NAMED``.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from epgraph.errors import nearest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Activation(ABC):
    """A monotone activation σ. ``alpha`` below is the clipping level of ReLUα and ignored elsewhere."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The name as written in YAML, for diagrams and reports."""

    @property
    def smooth(self) -> bool:
        """Whether σ has no kink, so that the centred gradient has a clean O(β²) error."""
        return True

    @property
    def holomorphic(self) -> bool:
        """Whether ``apply_`` continues σ holomorphically to complex x near the real axis."""
        return False

    @abstractmethod
    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """σ(x), written into x; complex where σ is holomorphic."""

    @abstractmethod
    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return common and odd part of σ(p+q), σ(p−q); see the module's docstring."""

    @abstractmethod
    def slope(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """σ′(x); zero at a kink, so that the units with a slope are those that are active, strictly inside."""

    @abstractmethod
    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """G(s) per unit, with G′ = σ⁻¹; finite on the range of σ."""


@dataclass(frozen=True)
class ReLU(Activation):
    """ReLUα: x clipped to [0, α] (§III.B). α is fixed, or drawn once per state, uniformly in [low, high]."""

    low: float
    high: float

    @property
    def random(self) -> bool:
        """Whether α is drawn at compile time."""
        return self.low != self.high

    @property
    def label(self) -> str:
        """``relu6``, or ``relu[1, 10]`` where α is random."""
        return f"relu[{self.low:g}, {self.high:g}]" if self.random else f"relu{self.low:g}"

    @property
    def smooth(self) -> bool:
        """False: there are kinks at 0 and α."""
        return False

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

    def slope(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """1 strictly inside (0, α), else 0."""
        return ((x > 0) & (x < alpha)).to(x.dtype)

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """½s² on the box [0, α]."""
        return 0.5 * s * s


@dataclass(frozen=True)
class Identity(Activation):
    """σ(x) = x, the published output state."""

    @property
    def label(self) -> str:
        """``identity``."""
        return "identity"

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

    def slope(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """Return ones."""
        import torch

        return torch.ones_like(x)

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """½s²."""
        return 0.5 * s * s


@dataclass(frozen=True)
class Tanh(Activation):
    """σ(x) = tanh x, on (−1, 1)."""

    @property
    def label(self) -> str:
        """``tanh``."""
        return "tanh"

    @property
    def holomorphic(self) -> bool:
        """True: the nearest poles are at ±iπ/2."""
        return True

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """Tanh in place."""
        return x.tanh_()

    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the pair by the addition theorem: with t = tanh p and r = tanh q, odd = r(1−t²)/(1−t²r²)."""
        return _tanh_pair(p, q)

    def slope(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """Return sech² x, which keeps its digits in saturated units."""
        return _sech2(x)

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """½[(1+s)ln(1+s) + (1−s)ln(1−s)]."""
        import torch

        entropy: Tensor = torch.special.xlog1py(1 + s, s) + torch.special.xlog1py(1 - s, -s)
        return 0.5 * entropy


@dataclass(frozen=True)
class Logistic(Activation):
    """σ(x) = 1/(1 + e^{−x}), on (0, 1)."""

    @property
    def label(self) -> str:
        """``logistic``."""
        return "logistic"

    @property
    def holomorphic(self) -> bool:
        """True: the nearest poles are at ±iπ."""
        return True

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """Logistic function in place."""
        return x.sigmoid_()

    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the pair through σ(x) = ½(1 + tanh(x/2))."""
        common, odd = _tanh_pair(0.5 * p, 0.5 * q)
        return common.mul_(0.5).add_(0.5), odd.mul_(0.5)

    def slope(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """¼ sech²(x/2)."""
        return 0.25 * _sech2(0.5 * x)

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """Return s ln s + (1−s) ln(1−s)."""
        import torch

        entropy: Tensor = torch.special.xlogy(s, s) + torch.special.xlog1py(1 - s, -s)
        return entropy


def _tanh_pair(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    plus, minus = torch.tanh(p + q), torch.tanh(p - q)
    t, r = torch.tanh(p), torch.tanh(q)
    slope = _sech2(p)
    odd = r * slope / (slope + (t * (1 - r) * (1 + r) * t))
    # For a large q the two values differ by as much as they are, and the plain difference is exact enough
    # (while the quotient tends to 0/0).
    odd = torch.where(q.abs() < 0.5, odd, 0.5 * (plus - minus))
    return plus.add_(minus).mul_(0.5), odd


def _sech2(x: Tensor) -> Tensor:
    # From cosh, not as 1 − tanh²: that loses its digits in saturated units.
    return x.clamp(-40, 40).cosh().pow_(-2)


NAMED: dict[str, Activation] = {
    "identity": Identity(),
    "tanh": Tanh(),
    "logistic": Logistic(),
    "hard_sigmoid": ReLU(1.0, 1.0),
}
"""Activations that go by a bare name; ``relu6``, ``relu1``, ``relu2.5``, … are read as ReLUα."""

_RELU = re.compile(r"relu([0-9]+(?:\.[0-9]+)?)")
FORMS = ("relu6", "relu1", *NAMED)

ACTIVATION_SCHEMA = {
    "description": "Activation σ: relu6, relu1 (= hard_sigmoid), relu<α>, identity, tanh, logistic; or "
    "{relu: α}, or {relu: [low, high]} to draw α once per state at random.",
    "examples": ["relu6", "tanh", {"relu": [1, 10]}],
    "anyOf": [
        {"type": "string", "enum": list(FORMS)},
        {"type": "string", "pattern": f"^{_RELU.pattern}$"},
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["relu"],
            "properties": {
                "relu": {
                    "anyOf": [
                        {"type": "number", "exclusiveMinimum": 0},
                        {
                            "type": "array",
                            "items": {"type": "number", "exclusiveMinimum": 0},
                            "minItems": 2,
                            "maxItems": 2,
                        },
                    ]
                }
            },
        },
    ],
}
"""JSON Schema of what ``parse_activation`` accepts."""


def parse_activation(value: object) -> Activation:
    """Read an activation from YAML: a name, ``{relu: α}`` or ``{relu: [low, high]}``.

    Raises
    ------
    ValueError
        With what was expected, where the value is none of these.
    """
    if isinstance(value, Activation):
        return value
    if isinstance(value, str):
        if value in NAMED:
            return NAMED[value]
        match = _RELU.fullmatch(value)
        if match:
            return _relu(float(match[1]), float(match[1]))
        if value == "relu":
            raise ValueError("'relu' needs its clipping level α; write relu6, or {relu: α}")
        raise ValueError(f"unknown activation '{value[:64]}'; {nearest(value, FORMS)}")
    if isinstance(value, dict) and set(value) == {"relu"}:
        alpha = value["relu"]
        bounds = alpha if isinstance(alpha, list | tuple) else [alpha, alpha]
        numbers = [float(b) for b in bounds if isinstance(b, int | float) and not isinstance(b, bool)]
        if len(numbers) == len(bounds) == 2:
            return _relu(*numbers)
        raise ValueError("relu takes a number α or a list [low, high]; e.g. {relu: 6} or {relu: [1, 10]}")
    raise ValueError("expected the name of an activation; e.g. relu6, tanh or {relu: [1, 10]}")


def _relu(low: float, high: float) -> ReLU:
    if not (0 < low <= high < math.inf):
        raise ValueError(f"relu needs 0 < low ≤ high, found [{low:g}, {high:g}]; e.g. {{relu: [1, 10]}}")
    return ReLU(low, high)


def activation_to_yaml(activation: Activation) -> object:
    """Write an activation so that ``parse_activation`` reads it back."""
    if isinstance(activation, ReLU) and activation.random:
        return {"relu": [activation.low, activation.high]}
    return f"relu{activation.low!r}" if isinstance(activation, ReLU) else activation.label
