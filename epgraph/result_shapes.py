"""Shapes of what the methods of a kind, activation or cost return, tried on small states.

torch would broadcast a tensor of another shape, and compute something else without a word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from epgraph.activations import Activation
from epgraph.costs import Cost
from epgraph.kinds import EdgeKind, Shape, ShapeError, shape_text

if TYPE_CHECKING:
    from torch import Tensor

MOST_UNITS = 2_000
"""Units of a state above which ``smaller`` looks for a smaller one."""

MOST_OF_ONE = 300
"""The same for a kind that acts on one state, whose matrix of second derivatives is looked at."""


def shape_problems(kind: EdgeKind, source: Shape, target: Shape) -> list[str]:
    """Return which methods of a kind give other shapes than it says, tried on small states that it joins so."""
    return list(shape_rules(Sample(kind, *smaller(kind, source, target), [])))


def activation_shapes(activation: Activation) -> list[str]:
    """Return which methods of an activation give another shape than that of their argument."""
    import torch

    x = torch.full((2, 3), 0.5, dtype=torch.float64)
    found = {"apply_": activation.apply_(x.clone(), 1.0), "self_energy": activation.self_energy(x.clone(), 1.0)}
    found |= dict(zip(("pair, 1st part,", "pair, 2nd part,"), activation.pair(x.clone(), x.clone(), 1.0), strict=True))
    return [problem for name, made in found.items() for problem in differs_in_shape(name, made, (2, 3))]


def cost_shapes(cost: Cost, shape: Shape) -> list[str]:
    """Return which methods of a cost give other shapes than they should; ``shape`` is that of the output."""
    import torch

    s, y = (torch.full((2, *shape), value, dtype=torch.float64) for value in (0.5, 1.0))
    value = tuple(cost.value(s.clone(), y).shape)
    problems = [] if value == (2,) else [f"value gives the shape {value} on two examples, and should give (2,)"]
    found = {"gradient": cost.gradient(s.clone(), y)}
    pair = cost.gradient_pair(s.clone(), s.clone(), y)
    found |= dict(zip(("gradient_pair, 1st part,", "gradient_pair, 2nd part,"), pair, strict=True))
    return problems + [p for name, made in found.items() for p in differs_in_shape(name, made, (2, *shape))]


def smaller(kind: EdgeKind, source: Shape, target: Shape) -> tuple[Shape, Shape]:
    """Return shapes that a kind joins as it joins these, but with few units where there are many."""
    most = MOST_OF_ONE if getattr(kind, "unary", False) else MOST_UNITS
    if max(math.prod(source), math.prod(target)) <= most:
        return source, target
    few = tuple(min(n, 3) if i == 0 else n if n <= 16 else 8 + n % 8 for i, n in enumerate(source))
    for reduced in (few, (few[0], *source[1:]) if len(source) == 3 else few):
        try:
            made = kind.target_shape(reduced, min(target[0], 4))
        except ShapeError:
            continue
        return reduced, tuple(min(n, 4) for n in target) if made is None else made
    return source, target


@dataclass(frozen=True)
class Sample:
    """A kind between two shapes, with random numbers for its weight and states."""

    kind: EdgeKind
    source: Shape
    target: Shape
    remarks: list[str]

    def __str__(self) -> str:
        return f"{shape_text(self.source)} → {shape_text(self.target)}"

    @property
    def unary(self) -> bool:
        """Whether the kind acts on one state, and ``forward`` is the derivative of its ``potential``."""
        return bool(getattr(self.kind, "unary", False))

    @cached_property
    def weight_shape(self) -> Shape | None:
        """Shape of the weight."""
        return self.kind.weight_shape(self.source, self.target)

    def draw(self, seed: int = 0, batch: int = 2) -> tuple[Tensor | None, Tensor, Tensor]:
        """Draw weight, source state s and target state t, which are one for a kind that acts on one."""
        import torch

        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=torch.float64, generator=generator)

        weight = None if self.weight_shape is None else drawn(*self.weight_shape)
        s, t = drawn(batch, *self.source), drawn(batch, *self.target)
        return weight, s, s.clone() if self.unary else t

    def methods(self, pair: bool) -> dict[str, Callable[..., Any]]:
        """Methods of weight (where there is one), s and t, by name."""
        k, source, target = self.kind, self.source, self.target
        forward, adjoint = (k.forward_pair, k.adjoint_pair) if pair else (k.forward, k.adjoint)
        found: dict[str, Callable[..., Any]] = {forward.__name__: lambda w, s, t: forward(w, s, target)}
        if not self.unary:
            found[adjoint.__name__] = lambda w, s, t: adjoint(w, t, s, source)
        if self.weight_shape is not None:
            gradient = k.weight_contrast if pair else k.weight_gradient
            found[gradient.__name__] = lambda w, s, t: gradient(w, s, t, source)
        return found


def shape_rules(sample: Sample) -> Iterator[str]:
    """Say where the rules of a kind contradict its shapes, or its methods give others."""
    kind, source, target = sample.kind, sample.source, sample.target
    ruled = kind.target_shape(source, target[0])
    if ruled not in (None, target):
        yield f"target_shape gives {shape_text(ruled)}"
    back = kind.source_shape(target, source[0])
    if back not in (None, source):
        yield f"source_shape gives {shape_text(back)}, which is not the source"
    shape = sample.weight_shape
    if shape is not None and not (isinstance(shape, tuple) and all(isinstance(n, int) and n > 0 for n in shape)):
        yield f"weight_shape gives {shape!r}: expected whole numbers above 0, or None"
        return
    if shape is not None and kind.fan_in(source, target) < 1:
        yield f"fan_in gives {kind.fan_in(source, target)}: expected 1 or more for an edge with weights"
    weight, s, t = sample.draw()
    expected = dict(zip(("forward", "adjoint", "weight_gradient"), (t, s, weight), strict=True))
    expected |= dict(zip(("forward_pair", "adjoint_pair", "weight_contrast"), (t, s, weight), strict=True))
    for name, method in (sample.methods(pair=False) | sample.methods(pair=True)).items():
        found, wanted = method(*copies(weight, s, t)), expected[name]
        assert wanted is not None
        yield from differs_in_shape(name, found, tuple(wanted.shape))


def differs_in_shape(name: str, found: Any, expected: Shape) -> Iterator[str]:
    """Say so where a method gives another shape than it should."""
    shape = tuple(found.shape)
    if shape != expected:
        yield f"{name} gives the shape {shape_text(shape) or '()'}, and should give {shape_text(expected)}"


def copy(value: Tensor | None) -> Tensor | None:
    """Copy a tensor; None, the weight of a kind without weights, stays None."""
    return None if value is None else value.clone()


def copies(*values: Tensor | None) -> tuple[Any, ...]:
    """Copy what a method may write into."""
    return tuple(map(copy, values))
