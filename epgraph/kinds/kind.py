"""Base class of edge kinds: options, shape rule, forward map, adjoint, weight gradient, number of operations.

An edge e = (i, j, w) adds ⟨s^j, A_e s^i⟩ to Φ. A kind is a frozen pydantic model: its fields are the
options that the user writes in YAML, and its methods are the mathematics of A_e.

To add a kind, write one file beside this one and add its class to ``KINDS`` (``kinds/__init__.py``).
Import torch inside the methods that need it: then checking and drawing load no torch. The
tests in ``tests/kinds/test_edges.py`` compare the new kind's adjoint and gradient with autograd.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from epgraph.arguments import shown, unboxed
from epgraph.errors import Diagnostic, EpgraphError, nearest

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
    from torch import Tensor
else:
    ModelMetaclass = type(BaseModel)

Shape = tuple[int, ...]
"""Shape of one example, without the batch: ``(channels, height, width)`` or ``(units,)``."""

End = Literal["linear", "convex", "convex where the other end is ≥ 0", "neither"]
"""Φ as a function of the state at one end of an edge, all other states fixed. It decides whether an update can raise F
(``graph/guarantees.py``)."""

Positive = Annotated[int, Field(ge=1, le=1_000_000)]
NonNegative = Annotated[int, Field(ge=0, le=1_000_000)]


class ShapeError(Exception):
    """An edge cannot join these two shapes."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def shape_text(shape: Shape) -> str:
    """Write a shape as ``64×16×16``."""
    return "×".join(str(n) for n in shape)


class _Made(ModelMetaclass):
    """Metaclass that turns pydantic's errors about options into an ``EpgraphError``.

    It acts on a call from Python only. A kind in a file is built by pydantic, and its errors carry positions.
    """

    def __call__(self, /, *arguments: object, **options: object) -> Any:
        name, fields = self.__name__, list(getattr(self, "model_fields", {}))
        if arguments:
            raise EpgraphError(f"{name} takes its options by name, found {shown(arguments[0])}", rule="wrong-type")
        try:
            return super().__call__(**{key: _plain(value) for key, value in options.items()})
        except ValidationError as error:
            raise EpgraphError(_mistake(name, fields, detail) for detail in error.errors(include_url=False)) from None


def _plain(value: object) -> object:
    """Convert NumPy's numbers in an option to Python's."""
    return tuple(map(unboxed, value)) if isinstance(value, tuple) else unboxed(value)


def _mistake(name: str, fields: list[str], error: ErrorDetails) -> Diagnostic:
    option = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "missing":
        return Diagnostic(f"{name} needs the option '{option}'", f"e.g. {name}({option}=…)", rule="missing-key")
    if error["type"] == "extra_forbidden":
        return Diagnostic(f"{name} has no option '{option}'", nearest(option, fields), rule="unknown-key")
    message, hint = error["msg"][:1].lower() + error["msg"][1:], str(error.get("ctx", {}).get("hint", ""))
    if not option:
        return Diagnostic(f"{name}: {message}", hint, rule="conflicting-keys")
    return Diagnostic(f"{name}, option '{option}': {message}, found {shown(error['input'])}", hint, rule="wrong-type")


class EdgeKind(BaseModel, ABC, metaclass=_Made):
    """Base of all edge kinds; see the module's docstring for how to add one.

    Options are passed by name, ``Conv(kernel=3)``. An unknown option or a wrong value raises ``EpgraphError``.

    Shapes in the methods below: the source state s is ``(batch, *source)``, the target state t is
    ``(batch, *target)``. A *pair* is the common part (s⁺+s⁻)/2 stacked on the odd part (s⁺−s⁻)/2 of
    two oppositely nudged states, ``(2·batch, *shape)``. Every method returns a new tensor that the
    caller may write into.

    The compiler traces the methods with torch.fx proxies. Use torch operations, take sizes from the shapes that are
    passed in (never from ``s.shape``), and do not branch on values.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    name: ClassVar[str]
    """The key under which the kind is written in YAML."""
    linear: ClassVar[bool] = True
    """Whether A_e is linear in the source state (a max-pooling edge overrides this)."""
    unary: ClassVar[bool] = False
    """Whether the kind acts on one state, ``at``, and not between two (see ``Unary``)."""

    @property
    def is_linear(self) -> bool:
        """Whether A_e, with these options, is linear in the source state; of a unary kind, whether ∂Φ/∂s is."""
        return self.linear

    @property
    def source_end(self) -> End:
        """Φ as a function of the source state; override this for a nonlinear kind that is convex."""
        return "linear" if self.is_linear else "neither"

    @property
    def target_end(self) -> End:
        """Φ as a function of the target state: ⟨s^j, A_e s^i⟩ is linear in s^j."""
        return "linear"

    @abstractmethod
    def target_shape(self, source: Shape, channels: int | None) -> Shape | None:
        """Shape of A_e s for a source of shape ``source``, or None where any shape is possible (dense).

        ``channels`` is the target's number of channels, or None where it is not known.
        Raises ShapeError where the kind cannot use the source.
        """

    def source_shape(self, target: Shape, channels: int | None) -> Shape | None:
        """Return the only source shape that gives ``target``, or None where there are several."""
        return None

    def check(self, source: Shape, target: Shape) -> None:
        """Raise ShapeError unless this edge maps ``source`` to ``target``."""
        result = self.target_shape(source, target[0])
        if result is not None and result != target:
            raise ShapeError(
                f"gives {shape_text(result)} from {shape_text(source)}, but the target is {shape_text(target)}",
                self.suggest(source, target),
            )

    def suggest(self, source: Shape, target: Shape) -> str:
        """Return options that would map ``source`` to ``target``, as a hint; empty without any."""
        return ""

    def dropped(self, source: Shape) -> str:
        """Name the part of the source that no target unit sees, such as rows beyond the last stride; else empty."""
        return ""

    def idle(self, source: Shape, target: Shape) -> Mapping[str, str]:
        """Options without effect between these shapes, each with the reason: the dilation of a kernel of one pixel."""
        return {}

    @abstractmethod
    def weight_shape(self, source: Shape, target: Shape) -> Shape | None:
        """Shape of the weight in torch's layout (OIHW, or (out, in)), or None without weights."""

    def fan_in(self, source: Shape, target: Shape) -> int:
        """Number of source units that feed one target unit; it sets the scale of the initial weights."""
        shape = self.weight_shape(source, target)
        if shape is None:
            return 0
        product = 1
        for n in shape[1:]:
            product *= n
        return product

    def weight_bound(self, gain: float, source: Shape, target: Shape) -> float:
        """Bound of the initial weights, which are uniform: ±gain/√fan_in where A_e is linear in the weight."""
        return float(gain / max(1, self.fan_in(source, target)) ** 0.5)

    def weight_blocks(self, source: Shape, target: Shape) -> tuple[int, ...]:
        """Rows of each matrix in the weight, which stand one below the other; one matrix by default.

        Groups share no channels, so an isometric weight is isometric in each block.
        """
        shape = self.weight_shape(source, target)
        return () if shape is None else shape[:1]

    @property
    def degree(self) -> int:
        """Degree d of A_e in the weight: twice the weight gives 2ᵈ times A_e."""
        return 1

    @abstractmethod
    def macs(self, source: Shape, target: Shape) -> int:
        """Multiply-accumulates of one application of A_e (or of its adjoint) to one example."""

    def label(self) -> str:
        """Write the options in a few characters, for diagrams."""
        return self.name

    @abstractmethod
    def forward(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """A_e s, of shape ``(batch, *target)``."""

    @abstractmethod
    def adjoint(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """Return ∂⟨t, A_e(s)⟩/∂s of shape ``(batch, *source)``: A_eᵀ t where the edge is linear.

        ``s`` is the current source state; a linear edge does not look at it.
        """

    def adjoint_untied(
        self, weight: Tensor | None, feedback: Tensor, t: Tensor, s: Tensor | None, source: Shape
    ) -> Tensor:
        """As ``adjoint``, through the weight ``feedback``. The source's arg-max still uses ``weight``."""
        return self.adjoint(feedback, t, s, source)

    @abstractmethod
    def weight_gradient(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """Return ∂⟨t, A_e(s)⟩/∂w summed over the batch, of the weight's shape; ``source`` is the shape of one s."""

    def forward_pair(self, weight: Tensor | None, s: Tensor, target: Shape) -> Tensor:
        """Return the pair of A_e s⁺ and A_e s⁻ from the pair of s; A_e acts on each part where it is linear."""
        return self.forward(weight, s, target)

    def adjoint_pair(self, weight: Tensor | None, t: Tensor, s: Tensor | None, source: Shape) -> Tensor:
        """Return the pair of the two adjoints from the pairs of t and s."""
        return self.adjoint(weight, t, s, source)

    def adjoint_untied_pair(
        self, weight: Tensor | None, feedback: Tensor, t: Tensor, s: Tensor | None, source: Shape
    ) -> Tensor:
        """Return the pair of the two untied adjoints from the pairs of t and s."""
        return self.adjoint_pair(feedback, t, s, source)

    def weight_contrast(self, weight: Tensor, s: Tensor, t: Tensor, source: Shape) -> Tensor:
        """Return ½[∂Φ/∂w(s⁺, t⁺) − ∂Φ/∂w(s⁻, t⁻)] summed over the batch, from the pairs of s and t.

        Φ is bilinear, so with s± = c ± o the contrast is c_s ⊗ o_t + o_s ⊗ c_t: one weight-gradient call with
        the halves of t swapped, and no difference of nearly equal products (docs/references.md, note 7).
        """
        return self.weight_gradient(weight, s, swap_halves(t), source)


def check_image(source: Shape) -> None:
    """Raise ShapeError for a source without pixels."""
    if len(source) != 3:
        raise ShapeError(
            f"needs a source of channels×height×width, but the source is {shape_text(source)}",
            "write its shape as [channels, height, width], or use 'dense: {}'",
        )


def swap_halves(pair: Tensor) -> Tensor:
    """Exchange the common and the odd part of a pair."""
    import torch

    common, odd = pair.chunk(2)
    return torch.cat((odd, common))
