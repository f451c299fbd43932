"""What every activation provides: σ, its self-energy G (G′ = σ⁻¹), and its action on a pair of nudged states.

A *pair* is the common part c = (s⁺+s⁻)/2 and the odd part o = (s⁺−s⁻)/2 of two oppositely nudged states. The
odd part is what EP learns from; it is carried on its own because forming s⁺−s⁻ from the two states
would cancel nearly all of its digits in low precision (docs/references.md, note 7). ``pair`` maps the pre-activations
p ± q to the pair (σ(p+q)+σ(p−q))/2, (σ(p+q)−σ(p−q))/2; those here never subtract nearly equal numbers.

To add an activation, write one file beside this one, with a class that has a ``name``; ``epgraph.register_activation``
adds one from outside. ``label``, ``apply_`` and ``self_energy`` are enough; ``epgraph.verify_activation`` says whether
they agree. A frozen dataclass has options: its fields (``option``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor, dtype


class Activation(ABC):
    """A monotone activation σ. ``alpha`` below is the clipping level of ReLUα and ignored elsewhere.

    The compiler records the methods with torch.fx, which calls them with stand-ins for tensors: use torch operations,
    and do not branch on values.

    Attributes
    ----------
    name
        Name in YAML of a class of epgraph. That of a class of the user's is given when it is registered.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def label(self) -> str:
        """The name as written in YAML, for diagrams and reports."""

    @property
    def smooth(self) -> bool:
        """Whether σ has no kink: σ′ is continuous. Then the centered gradient has a clean O(β²) error."""
        return True

    @property
    def holomorphic(self) -> bool:
        """Whether σ continues into the complex plane around the real axis, and ``apply_`` takes complex tensors."""
        return False

    @property
    def projects(self) -> bool:
        """Whether σ is the projection on its range, so that G = ½s² inside; without ``bounds`` σ is the identity.

        F is then ½‖s‖² − Φ on a box, and a step beyond its minimizer is clipped to the box (projected SOR).
        """
        return False

    @property
    def linear(self) -> bool:
        """Whether σ(x) = x: the projection on a range without ends."""
        return self.projects and self.bounds(1.0) is None

    @property
    def alpha_range(self) -> tuple[float, float]:
        """Range that α is drawn from, with equal ends where it is a number; (0, 0) where σ has no level."""
        return 0.0, 0.0

    @property
    def stored(self) -> bool:
        """Whether α is kept with the parameters: drawn at compile time, or learnt."""
        return False

    @property
    def learnt(self) -> bool:
        """Whether α is a parameter that learning moves, which takes ``excess_contrast``."""
        return False

    @property
    def invertible(self) -> bool:
        """Whether the class has ``inverse``, which gradient flow needs where σ is smooth."""
        return type(self).inverse is not Activation.inverse

    @property
    def steepest(self) -> float | None:
        """Largest slope of σ, which says how strongly convex G is; None where it is not known."""
        return None

    def bounds(self, alpha: float | Tensor) -> tuple[float, float | Tensor] | None:
        """Ends of the range of σ, [0, h] or [−h, h], which quantizing needs; None where there are none."""
        return None

    @abstractmethod
    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """σ(x). x may be written into, but not twice where autograd keeps what stood there (as ``tanh_`` does)."""

    def apply_in_(self, precision: dtype, x: Tensor, alpha: float | Tensor) -> Tensor:
        """As ``apply_``, for x of a known precision: a formula is computed in float32 where x is float16.

        float16 ends at 65504 and at 6e-8: in it e^{kα} of ``softclip`` overflows, and σ(0) was 0.
        """
        import torch

        if precision != torch.float16 or self.projects:
            return self.apply_(x, alpha)
        return self.apply_(x.float(), alpha).to(precision)

    def derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """σ′(x); zero at a kink, so that the units with a slope are those that are active, strictly inside.

        This is autograd's, which takes a side at a kink.
        """
        import torch

        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (found,) = torch.autograd.grad(self.apply_(leaf.clone(), alpha).sum(), leaf)
        return found

    def sloped(self, x: Tensor, t: Tensor, alpha: float | Tensor) -> Tensor:
        """σ′(x) ⊙ t."""
        return self.derivative(x, alpha) * t

    def holomorphic_derivative(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        """σ′ continued to complex x; that of real x where its operations take complex numbers as they are."""
        return self.derivative(x, alpha)

    def middle(self, alpha: float | Tensor) -> float | Tensor:
        """Pre-activation at which σ is steepest, or in the middle of where it is."""
        return 0.0

    @abstractmethod
    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """G(s) per unit, with G′ = σ⁻¹; finite on the range of σ."""

    def pair(self, p: Tensor, q: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return common and odd part of σ(p+q), σ(p−q); see the module's docstring.

        This is the plain difference, which is right but keeps few digits of a small q in low precision.
        """
        plus, minus = self.apply_(p + q, alpha), self.apply_(p - q, alpha)
        return (plus + minus) * 0.5, (plus - minus) * 0.5

    def excess_contrast(self, p: Tensor, q: Tensor, alpha: Tensor) -> Tensor:
        """½ ∂/∂α [G*(p+q) − G*(p−q)] per unit, with G*(a) = aσ(a) − G(σ(a)): what a learnt α learns from."""
        raise NotImplementedError

    def inverse(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        """σ⁻¹(s), finite at the ends of the range: they count as the numbers next to them."""
        raise NotImplementedError

    def inverse_pair(self, c: Tensor, o: Tensor, alpha: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return common and odd part of σ⁻¹(c+o), σ⁻¹(c−o). This is the plain difference; see ``pair``."""
        plus, minus = self.inverse(c + o, alpha), self.inverse(c - o, alpha)
        return (plus + minus) * 0.5, (plus - minus) * 0.5


def option(default: float, description: str, examples: tuple[float, ...], *, signed: bool = False) -> Any:
    """Return a field of a dataclass that is an option in YAML.

    Parameters
    ----------
    examples
        Two values or more. The tests of all activations take the first ones of all options together, and so on.
    signed
        Whether it may be 0 or below.
    """
    return field(default=default, metadata={"description": description, "examples": list(examples), "signed": signed})


def within(u: Tensor, low: float) -> Tensor:
    """Keep u inside (low, 1), where low is 0 or −1, by the distance of 1 from the number before it."""
    import torch

    top = torch.nextafter(torch.ones_like(u), torch.zeros_like(u))
    return torch.minimum(torch.maximum(u, low + (1 - top)), top)


def within_pair(c: Tensor, o: Tensor, low: float) -> tuple[Tensor, Tensor]:
    """Keep c ± o inside (low, 1); the second part returned is |o|."""
    import torch

    c = within(c, low)
    most = torch.minimum(c - low, 1 - c) - (1 - within(torch.ones_like(c), low))
    return c, torch.minimum(o.abs(), most.clamp(min=0.0))


def sech2(x: Tensor) -> Tensor:
    """sech² x as 4e/(1 + e)² with e = e^{−2|x|}. 1 − tanh² x loses its digits in saturated units; cosh is slow."""
    decayed = x.abs().mul_(-2).exp_()
    return decayed.mul(4).div_((decayed + 1).square_())


def holomorphic_sech2(z: Tensor) -> Tensor:
    """sech² z of complex z: 4e/(1 + e)² with e = e^{−2z}, or with −z for z, so that |e| ≤ 1."""
    import torch

    decayed = torch.where(z.real < 0, 2 * z, -2 * z).exp()
    return 4 * decayed / (1 + decayed).square()


def scaled(x: Tensor, factor: float) -> Tensor:
    """Return factor · x; x itself, and not an operation more, for a factor of 1."""
    return x if factor == 1 else x * factor


def scale_(x: Tensor, factor: float) -> Tensor:
    """Multiply x in place; nothing is done for a factor of 1."""
    return x if factor == 1 else x.mul_(factor)
