"""Checks that an activation or a cost is what it says.

Everything in float64 unless said otherwise, on fixed random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from epgraph.activations import Activation
from epgraph.arguments import instance, number, whole_number
from epgraph.costs import Cost
from epgraph.result_shapes import activation_shapes, cost_shapes
from epgraph.testing.recording import raise_all, recorded

if TYPE_CHECKING:
    from torch import Tensor

FURTHEST = 12.0
"""Pre-activations run from −12 to 12."""

STEEP = 1e-6
"""Slope below which σ⁻¹ is not looked at: a state hardly tells there which pre-activation it has."""


def verify_activation(activation: Activation, alpha: float = 1.0) -> list[str]:
    """Check an activation; ``alpha``, a positive number, is handed to its methods.

    σ is finite and never falls; it has no kink where it is ``smooth``; G′ = σ⁻¹, and G is finite at the ends of the
    range; ``pair`` gives both values, and keeps the digits of a small odd part in float32; where they are claimed,
    ``bounds``, ``inverse``, ``inverse_pair`` and the ``holomorphic`` continuation (Cauchy–Riemann); large x in float32;
    torch.fx can record the methods.

    Returns
    -------
    list
        Remarks on what is right but could be better.

    Raises
    ------
    EpgraphError
        With everything that is wrong.
    """
    activation = instance("verify_activation", activation, Activation, "pass an instance, not its name or class")
    alpha = number("alpha", alpha, positive=True)
    remarks: list[str] = []
    raise_all(activation.label, _activation_problems(activation, alpha, remarks), type(activation))
    return remarks


def verify_cost(cost: Cost, units: int = 5) -> None:
    """Check a cost on states of so many units, and on soft targets.

    ``value`` is one number an example, ``gradient`` its derivative, and ``gradient_pair`` common and odd part of two
    gradients; torch.fx can record the methods.

    Raises
    ------
    EpgraphError
        With everything that is wrong.
    """
    cost = instance("verify_cost", cost, Cost, "pass an instance, not its name or class")
    units = whole_number("units", units, 1)
    raise_all(type(cost).__name__, _cost_problems(cost, units), type(cost))


def _activation_problems(activation: Activation, alpha: float, remarks: list[str]) -> Iterator[str]:
    import torch

    generator = torch.Generator().manual_seed(0)

    def drawn(count: int) -> Tensor:
        return torch.randn(count, dtype=torch.float64, generator=generator)

    def sigma(x: Tensor) -> Tensor:
        return activation.apply_(x.clone(), alpha)

    if wrong := activation_shapes(activation):
        yield from wrong
        return
    x = torch.linspace(-FURTHEST, FURTHEST, 2401, dtype=torch.float64)
    s = sigma(x)
    if not bool(s.isfinite().all()):
        yield "σ is not finite"
        return
    if bool((s.diff() < -1e-12).any()):
        yield f"σ falls near x = {float(x[s.diff().argmin()]):g}: it must be monotone"
    slope = _derivative(sigma, x)
    if activation.smooth:
        coarse, fine = (_jump(sigma, step) for step in (1e-2, 1e-3))
        if fine > 0.5 * coarse + 1e-9:
            yield f"σ′ jumps by {fine:.2g}: σ has a kink, and 'smooth' must be False"
    yield from _self_energy(activation, alpha, x, slope)
    yield from _pairs(activation, alpha, sigma, drawn, remarks)
    bounds = activation.bounds(alpha)
    if bounds is not None and bool(((s < bounds[0] - 1e-12) | (s > bounds[1] + 1e-12)).any()):
        yield f"σ runs from {float(s[0]):g} to {float(s[-1]):g}, beyond its bounds {bounds}"
    yield from _projection(activation, alpha, x, s)
    yield from _large(activation, alpha)
    if activation.invertible:
        yield from _inverses(activation, alpha, sigma, x, slope)
    elif not activation.projects:
        remarks.append("without 'inverse' it cannot be used with dynamics.flow")
    yield from _slope(activation, alpha, sigma, drawn)
    if activation.holomorphic:
        yield from _holomorphic(activation, alpha, sigma, x[::24])
    yield from recorded(lambda t: activation.apply_(t, alpha), "apply_", type(activation))
    yield from recorded(lambda t: activation.pair(t, t, alpha), "pair", type(activation))
    yield from recorded(lambda t: activation.self_energy(t, alpha), "self_energy", type(activation))


def _large(activation: Activation, alpha: float) -> Iterator[str]:
    """In float32, where x² is not finite, σ is that of float64."""
    import torch

    x = torch.tensor([-1e30, -1e10, -100.0, 100.0, 1e10, 1e30])
    found, exact = activation.apply_(x.clone(), alpha), activation.apply_(x.double(), alpha)
    apart = (found.double() - exact).abs()
    wrong = ~(apart <= 1e-4 * (1 + exact.abs()))
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        at, value, right = float(x[first]), float(found[first]), float(exact[first])
        yield f"σ({at:g}) is {value:g} in float32 and {right:g} in float64"


def _inverses(
    activation: Activation, alpha: float, sigma: Callable[[Tensor], Tensor], x: Tensor, slope: Tensor
) -> Iterator[str]:
    """``inverse`` and ``inverse_pair`` are σ⁻¹, finite at the ends of the range, and can be recorded."""
    import torch

    def off(found: Tensor, at: Tensor, steepness: Tensor) -> float:
        apart = (found - at).abs()
        wrong = ~(apart <= 1e-6 + 1e-13 / steepness)
        return float(apart[wrong].max()) if bool(wrong.any()) else 0.0

    steep = slope > STEEP
    if worst := off(activation.inverse(sigma(x[steep]), alpha), x[steep], slope[steep]):
        yield f"inverse is not σ⁻¹: off by {worst:.2g}"
    bounds = activation.bounds(alpha)
    if bounds is not None:
        ends = torch.tensor([float(end) for end in bounds], dtype=x.dtype)
        if not bool(activation.inverse(ends, alpha).isfinite().all()):
            yield "inverse is not finite at the ends of the range of σ"
    for size in (1.0, 1e-3, 0.0):
        p, q = x[steep], torch.full_like(x[steep], size)
        plus, minus = sigma(p + q), sigma(p - q)
        common, odd = activation.inverse_pair((plus + minus) / 2, (plus - minus) / 2, alpha)
        least = torch.minimum(_derivative(sigma, p + q), _derivative(sigma, p - q))
        known = least > STEEP
        worst = max(off((common + sign * odd)[known], (p + sign * q)[known], least[known]) for sign in (1, -1))
        if worst:
            yield f"inverse_pair is not σ⁻¹ of both states: off by {worst:.2g} for states {2 * size:g} apart in σ⁻¹"
            break
    yield from recorded(lambda t: activation.inverse(t, alpha), "inverse", type(activation))
    yield from recorded(lambda t: activation.inverse_pair(t, t, alpha), "inverse_pair", type(activation))


def _projection(activation: Activation, alpha: float, x: Tensor, s: Tensor) -> Iterator[str]:
    """What is claimed of the box that σ projects on, and of its level α."""
    import torch

    if activation.projects:
        low, high = activation.bounds(alpha) or (-math.inf, math.inf)
        if bool(((s - x.clamp(low, float(high))).abs() > 1e-12).any()):
            yield f"'projects' is claimed, and σ is not the projection on [{low:g}, {float(high):g}]"
        if bool(((activation.self_energy(s.clone(), alpha) - 0.5 * s * s).abs() > 1e-11).any()):
            yield "'projects' is claimed, and G is not ½s²"
    if activation.stored and activation.alpha_range[1] == 0:
        yield "'stored' is claimed, and 'alpha_range' does not say where α is drawn from"
    if activation.learnt:
        level, change, q = torch.tensor(alpha, dtype=x.dtype), 1e-5, x.flip(0) / 10 + 0.01

        def conjugate(a: Tensor, at: float) -> Tensor:
            state = activation.apply_(a.clone(), at)
            return a * state - activation.self_energy(state, at)

        rise = [(conjugate(x + d, alpha + change) - conjugate(x + d, alpha - change)) / (2 * change) for d in (q, -q)]
        apart = (activation.excess_contrast(x.clone(), q, level) - 0.5 * (rise[0] - rise[1])).abs()
        if bool((apart > 1e-4).any()):
            yield f"excess_contrast is not what α learns from: off by {float(apart.max()):.2g}"


def _self_energy(activation: Activation, alpha: float, x: Tensor, slope: Tensor) -> Iterator[str]:
    import torch

    steep = slope > STEEP
    s = activation.apply_(x[steep].clone(), alpha).detach()
    found = _derivative(lambda t: activation.self_energy(t, alpha), s)
    apart = (found - x[steep]).abs()
    if bool((apart > 1e-7 * (1 + x[steep].abs()) + 1e-12 / slope[steep]).any()):
        worst = apart.argmax()
        yield (
            f"G′ is not σ⁻¹: at s = {float(s[worst]):.4g} it is {float(found[worst]):.4g}, and σ⁻¹ is "
            f"{float(x[steep][worst]):.4g}"
        )
    ends = activation.apply_(torch.tensor([-60.0, 60.0], dtype=torch.float64), alpha)
    if not bool(activation.self_energy(ends, alpha).isfinite().all()):
        yield "G is not finite at the ends of the range of σ"


def _pairs(
    activation: Activation,
    alpha: float,
    sigma: Callable[[Tensor], Tensor],
    drawn: Callable[[int], Tensor],
    remarks: list[str],
) -> Iterator[str]:
    p = 4 * drawn(2000)
    for scale in (10.0, 1.0, 1e-3, 0.0):
        q = scale * drawn(2000)
        common, odd = activation.pair(p.clone(), q.clone(), alpha)
        for sign in (1, -1):
            apart = (common + sign * odd - sigma(p + sign * q)).abs()
            if not bool((apart <= 1e-11 * (1 + p.abs() + q.abs())).all()):
                yield f"pair is not σ(p ± q): off by {float(apart.max()):.2g} for q of size {scale:g}"
                return
    p, q = drawn(1000).float(), (1e-8 * drawn(1000)).float()
    _, odd = activation.pair(p.clone(), q.clone(), alpha)
    _, exact = activation.pair(p.double(), q.double(), alpha)
    lost = float((odd.double() - exact).norm() / exact.norm().clamp_min(1e-300))
    if lost > 1e-6 and type(activation).pair is not Activation.pair:
        yield f"pair loses the odd part in float32: {lost:.1g} of it for q of size 1e-8"
    elif lost > 1e-6:
        remarks.append("without a 'pair' of its own the contrast has few digits in low precision: use float64")


def _slope(
    activation: Activation, alpha: float, sigma: Callable[[Tensor], Tensor], drawn: Callable[[int], Tensor]
) -> Iterator[str]:
    """A derivative of its own is σ′, away from kinks, and can be recorded."""
    if type(activation).derivative is Activation.derivative:
        return
    x = 3 * drawn(1000)
    apart = (activation.derivative(x.clone(), alpha) - _derivative(sigma, x)).abs()
    if not bool((apart <= 1e-9).all()):
        yield f"derivative is not that of σ: off by {float(apart.max()):.2g}"
    yield from recorded(lambda t: activation.derivative(t, alpha), "derivative", type(activation))


def _holomorphic(activation: Activation, alpha: float, sigma: Callable[[Tensor], Tensor], x: Tensor) -> Iterator[str]:
    try:
        real, z, h = sigma(x + 0j), x + 0.02j, 1e-4
        along, across = (sigma(z + h) - sigma(z - h)) / (2 * h), (sigma(z + 1j * h) - sigma(z - 1j * h)) / (2j * h)
    except RuntimeError as error:
        yield f"'holomorphic' is claimed, and apply_ does not take complex tensors: {str(error).splitlines()[0]}"
        return
    if not bool(((real - sigma(x)).abs() <= 1e-11).all()):
        yield "'holomorphic' is claimed, and on the real axis complex tensors give other values"
    if not bool(((along - across).abs() <= 1e-4 * (1 + along.abs())).all()):
        yield "'holomorphic' is claimed, and the derivatives along both axes differ (Cauchy–Riemann)"
    elif type(activation).derivative is not Activation.derivative:
        try:
            apart = (activation.holomorphic_derivative(z.clone(), alpha) - along).abs()
        except RuntimeError as error:
            why = str(error).splitlines()[0]
            yield f"'holomorphic' is claimed, and holomorphic_derivative does not take complex tensors: {why}"
            return
        if not bool((apart <= 1e-4 * (1 + along.abs())).all()):
            yield f"holomorphic_derivative is not that of σ off the real axis: off by {float(apart.max()):.2g}"


def _cost_problems(cost: Cost, units: int) -> Iterator[str]:
    import torch

    generator = torch.Generator().manual_seed(0)
    s = torch.randn(4, units, dtype=torch.float64, generator=generator)
    y = torch.rand(4, units, dtype=torch.float64, generator=generator)
    o = 0.3 * torch.randn(4, units, dtype=torch.float64, generator=generator)
    if wrong := cost_shapes(cost, (units,)):
        yield from wrong
        return
    gradient = cost.gradient(s.clone(), y)
    apart = (gradient - _derivative(lambda t: cost.value(t, y), s)).abs()
    if bool((apart > 1e-8 * (1 + gradient.abs())).any()):
        yield f"gradient is not the derivative of value: off by {float(apart.max()):.2g}"
    common, odd = cost.gradient_pair(s.clone(), o.clone(), y)
    for sign in (1, -1):
        apart = (common + sign * odd - cost.gradient(s + sign * o, y)).abs()
        if bool((apart > 1e-10 * (1 + gradient.abs())).any()):
            yield f"gradient_pair is not the gradient at c {'+−'[sign < 0]} o: off by {float(apart.max()):.2g}"
    yield from _claims_of_cost(cost, s, y)
    yield from recorded(lambda t: cost.gradient(t, t), "gradient", type(cost))
    yield from recorded(lambda t: cost.gradient_pair(t, t, t), "gradient_pair", type(cost))


def _claims_of_cost(cost: Cost, s: Tensor, y: Tensor) -> Iterator[str]:
    """What a cost claims of its shape."""
    import torch

    if cost.quadratic and bool((cost.value(s.clone(), y) - 0.5 * (s - y).square().sum(1)).abs().max() > 1e-10):
        yield "'quadratic' is claimed, and value is not ½‖s − y‖²"
    if cost.least_at_target and bool(cost.gradient(y.clone(), y).abs().max() > 1e-9):
        yield "'least_at_target' is claimed, and at s = y the gradient is not 0"
    if cost.curvature is None:
        return
    label = torch.eye(s.shape[1], dtype=s.dtype)[:1]
    for point in 3 * s:
        with torch.enable_grad():
            at = point.clone().requires_grad_()
            forces = cost.gradient(at[None], label)[0]
            rows = [torch.autograd.grad(force, at, retain_graph=True, materialize_grads=True)[0] for force in forces]
        largest = float(torch.linalg.eigvalsh(torch.stack(rows)).max())
        if largest > cost.curvature + 1e-9:
            yield f"'curvature' is at most {cost.curvature:g}, found {largest:.4g}"
            return


def _derivative(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Elementwise derivative by autograd."""
    import torch

    with torch.enable_grad():
        point = at.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(function(point).sum(), point)
    return found


def _jump(sigma: Callable[[Tensor], Tensor], step: float) -> float:
    """Largest change of σ′ from one point of a grid to the next, which shrinks with the grid unless there is a kink."""
    import torch

    # Off zero and off whole numbers, where kinks like to be.
    grid = torch.arange(-FURTHEST, FURTHEST, step, dtype=torch.float64) + 0.3 * step
    return float(_derivative(sigma, grid).diff().abs().max())
