"""Activations σ, their derivatives and self-energies G, written from their definitions in float64.

Of an activation only the *options* (α, slope, height) are read.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from epgraph.activations import Activation
from epgraph.activations.relu import Identity, ReLU
from epgraph.activations.sigmoid import Logistic, Tanh
from epgraph.activations.softclip import Softclip

_NODES = 200
"""Points of the quadrature that gives the dilogarithm."""


def sigma(activation: Activation, a: Tensor, alpha: float) -> Tensor:
    """σ(a), elementwise; ``alpha`` is the clipping level of ReLUα. A user's own σ is called: there is no other."""
    if isinstance(activation, ReLU):
        return a.clamp(0.0, alpha)
    if isinstance(activation, Identity):
        return a.clone()
    if isinstance(activation, Tanh):
        return activation.height * (activation.slope / activation.height * a).tanh()
    if isinstance(activation, Logistic):
        return activation.height * (4 * activation.slope / activation.height * (a - activation.center)).sigmoid()
    if isinstance(activation, Softclip):
        k, zero = activation.sharpness, torch.zeros_like(a)
        return (torch.logaddexp(k * a, zero) - torch.logaddexp(k * (a - activation.alpha), zero)) / k
    return _of_the_user(activation).apply_(a.clone(), alpha)


def _of_the_user(activation: Activation) -> Activation:
    """Refuse an activation of epgraph without a formula here: it would be compared with itself."""
    if type(activation).__module__.startswith("epgraph."):
        raise NotImplementedError(f"the oracle has no formula of {activation.label}: write it in testing/units.py")
    return activation


def slope(activation: Activation, a: Tensor, alpha: float) -> Tensor:
    """σ′(a), elementwise; zero at both kinks of ReLUα, whose units are active strictly inside (0, α)."""
    if isinstance(activation, ReLU):
        return ((a > 0) & (a < alpha)).to(a.dtype)
    if isinstance(activation, Identity):
        return torch.ones_like(a)
    if isinstance(activation, Tanh):
        return activation.slope * (activation.slope / activation.height * a).cosh().pow(-2)
    if isinstance(activation, Logistic):
        z = 4 * activation.slope / activation.height * (a - activation.center)
        return 4 * activation.slope * z.sigmoid() * (-z).sigmoid()
    if isinstance(activation, Softclip):
        k = activation.sharpness
        # λ(ka) − λ(k(a−α)), without the difference.
        low, high = k * a / 2, k * (a - activation.alpha) / 2
        return math.sinh(k * activation.alpha / 2) / (2 * low.cosh() * high.cosh())
    with torch.enable_grad():
        point = a.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(_of_the_user(activation).apply_(point.clone(), alpha).sum(), point)
    return found


def steepest(activation: Activation) -> float:
    """max σ′, which is that in the middle of σ; of ReLUα and the identity 1."""
    if isinstance(activation, Tanh | Logistic):
        return activation.slope
    if isinstance(activation, ReLU | Identity | Softclip):
        return 1.0
    declared = _of_the_user(activation).steepest
    return 1.0 if declared is None else declared


def self_energy(activation: Activation, s: Tensor, alpha: float = 0.0) -> Tensor:
    """G(s), elementwise, with G′ = σ⁻¹ on the range of σ: [0, α] for ReLUα, where the kinks do not show."""
    if isinstance(activation, ReLU | Identity):
        return s**2 / 2
    if isinstance(activation, Tanh):
        h, u = activation.height, s / activation.height
        return h**2 / activation.slope * (torch.xlogy(1 + u, 1 + u) + torch.xlogy(1 - u, 1 - u)) / 2
    if isinstance(activation, Logistic):
        h, u = activation.height, s / activation.height
        own = torch.xlogy(u, u) + torch.xlogy(1 - u, 1 - u)
        return activation.center * s + h**2 / (4 * activation.slope) * own
    if isinstance(activation, Softclip):
        k = activation.sharpness
        ends = dilogarithm((-k * s).exp()) + dilogarithm((-k * (activation.alpha - s)).exp())
        return s**2 / 2 + ends / k**2
    return _of_the_user(activation).self_energy(s, alpha)


def dilogarithm(z: Tensor) -> Tensor:
    """Li₂(z) = −∫₀¹ ln(1 − zu)/u du for 0 ≤ z ≤ 1, by Gauss–Legendre quadrature in w, u = 1 − w⁶."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(_NODES))
    w = (nodes + 1) / 2
    u = 1 - w**6
    # 1 − zu = (1 − z) + z w⁶ keeps its digits where both are nearly 1.
    values = -((1 - z)[..., None] + z[..., None] * w**6).log() / u * 6 * w**5
    return values @ weights / 2
