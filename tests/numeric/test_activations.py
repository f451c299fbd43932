"""Activations: their pairs, and G′ = σ⁻¹."""

from __future__ import annotations

import pytest
import torch

from epgraph.activations import NAMED, Activation, ReLU

ALL: list[tuple[Activation, float]] = [(a, 1.0) for a in NAMED.values()] + [
    (ReLU(6, 6), 6.0),
    (ReLU(1, 9), 2.5),
]
IDS = [a.label for a, _ in ALL]


@pytest.mark.parametrize(("activation", "alpha"), ALL, ids=IDS)
def test_pair_is_sigma_of_both_signs(activation: Activation, alpha: float) -> None:
    torch.manual_seed(0)
    p = torch.randn(4000, dtype=torch.float64) * 4
    for scale in (10.0, 1.0, 1e-3):
        q = torch.randn(4000, dtype=torch.float64) * scale
        common, odd = activation.pair(p.clone(), q.clone(), alpha)
        plus, minus = (activation.apply_(p + sign * q, alpha) for sign in (1, -1))
        torch.testing.assert_close(common + odd, plus, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(common - odd, minus, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("activation", "alpha"), ALL, ids=IDS)
def test_odd_part_keeps_its_digits_in_float32(activation: Activation, alpha: float) -> None:
    """A plain difference of float32 values would lose all digits of an odd part of 1e-8."""
    torch.manual_seed(0)
    p = torch.randn(1000, dtype=torch.float64).float()
    q = (torch.randn(1000, dtype=torch.float64) * 1e-8).float()
    _, odd = activation.pair(p.clone(), q.clone(), alpha)
    _, exact = activation.pair(p.double(), q.double(), alpha)
    assert (odd.double() - exact).norm() <= 1e-6 * exact.norm()


@pytest.mark.parametrize(("activation", "alpha"), ALL, ids=IDS)
def test_pair_handles_saturation_and_zeros(activation: Activation, alpha: float) -> None:
    p = torch.tensor([0.0, 0.0, 100.0, -100.0, alpha, 30.0, -30.0], dtype=torch.float64)
    q = torch.tensor([0.0, 1e-9, 1e-9, 1e-9, 0.0, 80.0, 80.0], dtype=torch.float64)
    common, odd = activation.pair(p.clone(), q.clone(), alpha)
    assert torch.isfinite(common).all()
    assert torch.isfinite(odd).all()
    plus, minus = (activation.apply_(p + sign * q, alpha) for sign in (1, -1))
    torch.testing.assert_close(common + odd, plus, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(common - odd, minus, rtol=1e-12, atol=1e-13)
    assert odd[0] == 0


@pytest.mark.parametrize(("activation", "alpha"), ALL, ids=IDS)
def test_self_energy_is_the_antiderivative_of_the_inverse(activation: Activation, alpha: float) -> None:
    x = torch.linspace(0.05, 0.95, 50, dtype=torch.float64) * alpha
    s = activation.apply_(x.clone(), alpha).requires_grad_()
    (slope,) = torch.autograd.grad(activation.self_energy(s, alpha).sum(), s)
    torch.testing.assert_close(slope, x, rtol=1e-10, atol=1e-10)


def test_self_energy_is_finite_at_the_ends_of_the_range() -> None:
    ends = {"tanh": (-1.0, 1.0), "logistic": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0)}
    for name, values in ends.items():
        assert torch.isfinite(NAMED[name].self_energy(torch.tensor(values), 1.0)).all(), name


@pytest.mark.parametrize(("activation", "alpha"), ALL, ids=IDS)
def test_slope_is_the_derivative(activation: Activation, alpha: float) -> None:
    """As autograd has it, but zero at a kink: units there are not active."""
    torch.manual_seed(0)
    x = (torch.randn(4000, dtype=torch.float64) * 8).requires_grad_()
    (expected,) = torch.autograd.grad(activation.apply_(x.clone(), alpha).sum(), x)
    torch.testing.assert_close(activation.slope(x.detach(), alpha), expected, rtol=1e-9, atol=1e-14)
    kinks = torch.tensor([0.0, alpha], dtype=torch.float64)
    if not activation.smooth:
        assert not activation.slope(kinks, alpha).any()
