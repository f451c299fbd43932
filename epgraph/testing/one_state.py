"""Checks of a kind that acts on one state, held to its ``potential``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from epgraph.kinds import shape_text
from epgraph.result_shapes import Sample, copy
from epgraph.testing.recording import TOLERANCE, differs

if TYPE_CHECKING:
    from torch import Tensor


def _forward_is_the_derivative_of_the_potential(sample: Sample) -> Iterator[str]:
    import torch

    weight, s, _ = sample.draw()
    potential = cast(Any, sample.kind).potential
    with torch.enable_grad():
        points = [s.clone().requires_grad_()] + ([] if weight is None else [weight.clone().requires_grad_()])
        value = potential(points[1].clone() if len(points) > 1 else None, points[0].clone(), sample.source)
        if tuple(value.shape) != s.shape[:1]:
            yield f"potential gives the shape {shape_text(tuple(value.shape))}: expected one number an example"
            return
        expected = torch.autograd.grad(value.sum(), points)
    found = sample.kind.forward(copy(weight), s.clone(), sample.target)
    yield from differs("forward", found, expected[0], "expected ∂φ/∂s")
    if weight is not None:
        found = sample.kind.weight_gradient(weight.clone(), s.clone(), s.clone(), sample.source)
        yield from differs("weight_gradient", found, expected[1], "expected ∂φ/∂w, summed over the batch")


def _pair_is_the_two_states(sample: Sample) -> Iterator[str]:
    import torch

    kind, source = sample.kind, sample.source
    weight, c, _ = sample.draw()
    o = sample.draw(1)[1]
    pair = torch.cat((c, o))
    common, odd = kind.forward_pair(copy(weight), pair.clone(), source).chunk(2)
    gradients = []
    for sign, name in ((1, "c + o"), (-1, "c − o")):
        s = c + sign * o
        plain = kind.forward(copy(weight), s.clone(), source)
        yield from differs("forward_pair", common + sign * odd, plain, f"expected forward of {name}")
        if weight is not None:
            gradients.append(kind.weight_gradient(weight.clone(), s, s.clone(), source))
    if weight is not None:
        found = kind.weight_contrast(weight.clone(), pair.clone(), pair.clone(), source)
        expected = 0.5 * (gradients[0] - gradients[1])
        yield from differs("weight_contrast", found, expected, "expected half the difference of two weight gradients")


def _concavity_is_a_bound(sample: Sample) -> Iterator[str]:
    import torch

    kind = cast(Any, sample.kind)
    weight, s, _ = sample.draw(batch=1)
    bound = float(kind.concavity(copy(weight), sample.source)) if getattr(kind, "damps", False) else 0.0

    def summed(point: Tensor) -> Tensor:
        total: Tensor = kind.potential(copy(weight), point.view(1, *sample.source), sample.source).sum()
        return total

    hessian = torch.autograd.functional.hessian(summed, s.flatten())  # type: ignore[no-untyped-call]
    least = float(torch.linalg.eigvalsh(hessian)[0])
    if least < -bound - TOLERANCE * max(1.0, abs(least)):
        what = f"concavity says {bound:.4g}" if bound else "the kind says that φ is convex"
        yield f"{what}, and ∂²φ/∂s² has the eigenvalue {least:.4g}"


CHECKS: tuple[Callable[[Sample], Iterator[str]], ...] = (
    _forward_is_the_derivative_of_the_potential,
    _pair_is_the_two_states,
    _concavity_is_a_bound,
)
"""Every check of one state alone, in order."""
