"""Activations: their pairs, and G′ = σ⁻¹."""

from __future__ import annotations

import math
import re

import pytest
import torch

import epgraph as ep
from epgraph.activations import NAMED, Activation, activation_to_yaml, parse_activation
from epgraph.activations.softclip import Softclip
from epgraph.testing.units import self_energy, sigma, slope
from tests.helpers.activations import LEVELS
from tests.helpers.networks import RING, batch

IDS = [a.label for a, _ in LEVELS]
SMOOTH = [a for a, _ in LEVELS if a.smooth]


@pytest.mark.parametrize(("activation", "alpha"), LEVELS, ids=IDS)
def test_pair_is_sigma_of_both_signs(activation: Activation, alpha: float) -> None:
    torch.manual_seed(0)
    p = torch.randn(4000, dtype=torch.float64) * 4
    for scale in (10.0, 1.0, 1e-3):
        q = torch.randn(4000, dtype=torch.float64) * scale
        common, odd = activation.pair(p.clone(), q.clone(), alpha)
        plus, minus = (activation.apply_(p + sign * q, alpha) for sign in (1, -1))
        torch.testing.assert_close(common + odd, plus, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(common - odd, minus, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("activation", "alpha"), LEVELS, ids=IDS)
def test_odd_part_keeps_its_digits_in_float32(activation: Activation, alpha: float) -> None:
    """A plain difference of float32 values would lose all digits of an odd part of 1e-8."""
    torch.manual_seed(0)
    p = torch.randn(1000, dtype=torch.float64).float()
    q = (torch.randn(1000, dtype=torch.float64) * 1e-8).float()
    _, odd = activation.pair(p.clone(), q.clone(), alpha)
    _, exact = activation.pair(p.double(), q.double(), alpha)
    assert (odd.double() - exact).norm() <= 1e-6 * exact.norm()


@pytest.mark.parametrize(("activation", "alpha"), LEVELS, ids=IDS)
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


@pytest.mark.parametrize(("activation", "alpha"), LEVELS, ids=IDS)
def test_self_energy_is_the_antiderivative_of_the_inverse(activation: Activation, alpha: float) -> None:
    x = torch.linspace(0.05, 0.95, 50, dtype=torch.float64) * alpha
    s = activation.apply_(x.clone(), alpha).requires_grad_()
    (slope,) = torch.autograd.grad(activation.self_energy(s, alpha).sum(), s)
    torch.testing.assert_close(slope, x, rtol=1e-10, atol=1e-10)


def test_self_energy_is_finite_at_the_ends_of_the_range() -> None:
    ends = {"tanh": (-1.0, 1.0), "logistic": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "softclip": (0.0, 6.0)}
    for name, values in ends.items():
        assert torch.isfinite(NAMED[name].self_energy(torch.tensor(values), 1.0)).all(), name


@pytest.mark.parametrize(("activation", "alpha"), LEVELS, ids=IDS)
def test_the_derivative_is_that_of_autograd(activation: Activation, alpha: float) -> None:
    """As autograd has it, but zero at a kink: units there are not active."""
    torch.manual_seed(0)
    x = (torch.randn(4000, dtype=torch.float64) * 8).requires_grad_()
    (expected,) = torch.autograd.grad(activation.apply_(x.clone(), alpha).sum(), x)
    torch.testing.assert_close(activation.derivative(x.detach(), alpha), expected, rtol=1e-9, atol=1e-14)
    kinks = torch.tensor([0.0, alpha], dtype=torch.float64)
    if not activation.smooth:
        assert not activation.derivative(kinks, alpha).any()


@pytest.mark.parametrize("activation", SMOOTH, ids=lambda a: a.label)
def test_smooth_activations_against_the_oracle(activation: Activation) -> None:
    """σ, σ′ and G, over the whole range: the oracle has a second formula of each."""
    x = torch.linspace(-4, 8, 400, dtype=torch.float64).requires_grad_()
    s = activation.apply_(x.clone(), 1.0)
    torch.testing.assert_close(s, sigma(activation, x, 0.0), rtol=1e-13, atol=1e-14)
    (found,) = torch.autograd.grad(s.sum(), x)
    torch.testing.assert_close(found, slope(activation, x, 0.0), rtol=1e-11, atol=1e-13)
    s = s.detach()
    torch.testing.assert_close(activation.self_energy(s, 1.0), self_energy(activation, s), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("activation", SMOOTH, ids=lambda a: a.label)
def test_self_energy_over_the_whole_range(activation: Activation) -> None:
    """G′ = σ⁻¹ on both sides of the center, as far as s tells x apart."""
    x = torch.linspace(-2, 3, 101, dtype=torch.float64)
    s = activation.apply_(x.clone(), 1.0).requires_grad_()
    (inverse,) = torch.autograd.grad(activation.self_energy(s, 1.0).sum(), s)
    bar = 1e-14 / slope(activation, x, 0.0)
    assert bool(((inverse - x).abs() <= 1e-13 + bar).all())


@pytest.mark.parametrize("activation", [a for a, _ in LEVELS if a.holomorphic], ids=lambda a: a.label)
def test_holomorphic_ones_continue_off_the_real_axis(activation: Activation) -> None:
    """Real on the axis, and the derivative is the same along both axes (Cauchy–Riemann)."""
    x = torch.linspace(-3, 7, 200, dtype=torch.float64)

    def at(z: torch.Tensor) -> torch.Tensor:
        return activation.apply_(z.clone(), 1.0)

    torch.testing.assert_close(at(x + 0j), at(x) + 0j, rtol=1e-13, atol=1e-14)
    z, h = x + 0.1j, 1e-4
    along, across = (at(z + h) - at(z - h)) / (2 * h), (at(z + 1j * h) - at(z - 1j * h)) / (2j * h)
    # They differ by h²σ‴/3 along either axis.
    torch.testing.assert_close(along, across, rtol=1e-5, atol=1e-5)
    assert (along - slope(activation, x, 0.0)).abs().max() > 1e-9 or activation.label == "identity"
    torch.testing.assert_close(activation.holomorphic_derivative(z, 1.0), along, rtol=1e-5, atol=1e-5)
    real = activation.holomorphic_derivative(x + 0j, 1.0)
    torch.testing.assert_close(real, activation.derivative(x, 1.0) + 0j, rtol=1e-12, atol=1e-14)
    ends = torch.tensor([-50 + 0.1j, 50 - 0.1j], dtype=z.dtype)
    far = activation.holomorphic_derivative(ends, 1.0)
    # An algebraic tail is not flat yet, so its slope is compared and not taken for 0.
    torch.testing.assert_close(far, slope(activation, ends.real, 0.0) + 0j, rtol=0, atol=1e-6)


def test_softclip_tends_to_relu() -> None:
    x = torch.linspace(-3, 9, 1201, dtype=torch.float64)
    for k in (4.0, 8.0, 13.0):
        apart = Softclip(6, k).apply_(x.clone(), 1.0) - x.clamp(0, 6)
        assert apart.abs().max() == pytest.approx(math.log(2) / k, rel=1e-3)


@pytest.mark.parametrize(
    "written",
    [
        {"relu": 6, "learn": True},
        {"relu": [1, 10], "learn": True},
        {"relu": [1, 10]},
        {"softclip": {"sharpness": 8.0}},
        {"tanh": {"slope": 2.0, "height": 0.5}},
        {"logistic": {"center": -0.5}},
        "softclip",
        "relu2.5",
    ],
    ids=str,
)
def test_options_are_read_and_written(written: object) -> None:
    activation = parse_activation(written)
    assert activation_to_yaml(activation) == written
    assert parse_activation(activation_to_yaml(activation)) == activation


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"relu": 6, "learn": 1}, "'learn' of relu is true or false"),
        ({"softclip": 6}, "softclip takes options in braces; known: alpha, sharpness"),
        ({"softclip": {"sharp": 6}}, "unknown option 'sharp' of softclip; did you mean 'sharpness'"),
        ({"softclip": {"alpha": 0}}, "'alpha' of softclip expects a finite number above 0"),
        ({"softclip": {"alpha": 10, "sharpness": 10}}, "is 100 and may be at most 80; lower sharpness to 8"),
        ({"logistic": {"center": "0"}}, "'center' of logistic expects a finite number; e.g. {logistic: {center: 2}}"),
    ],
)
def test_options_that_do_not_fit_are_refused(written: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_activation(written)


def test_the_dilogarithm_has_its_slope_where_the_branches_meet() -> None:
    """G′ = σ⁻¹ at ks = ln 2, exactly: autograd gives 0 at the bound of a clamp."""
    activation = Softclip(6, 12)
    s = torch.tensor([math.log(2) / 12, 0.0], dtype=torch.float64).requires_grad_()
    assert float((12 * s.detach())[0]) == math.log(2)
    (inverse,) = torch.autograd.grad(activation.self_energy(s, 1.0)[0], s)
    assert abs(inverse[0].item()) <= 1e-15


@pytest.mark.parametrize("backend", ["eager", "channels_last"])
@pytest.mark.parametrize("energy", ["hopfield", "predictive"])
def test_softclip_keeps_its_digits_in_float16(energy: str, backend: str) -> None:
    """Where e^{kα} overflows: σ(0) was 0, σ(α) infinite, and gradients no numbers."""
    architecture = ep.Architecture.model_validate({**RING, "energy": energy, "defaults": {"activation": "softclip"}})
    x, y = batch()
    found = {}
    for dtype in (torch.float64, torch.float16):
        engine = ep.compile(architecture, dtype=dtype, backend=backend)
        states = [engine.relax(x, steps=20).states, engine.relax(x, steps=20, target=y, beta=0.3).states]
        estimator = "centered" if energy == "hopfield" else "backprop"
        engine.backward(x, y, estimator=estimator, free_steps=20, nudged_steps=10)
        gradient = torch.cat([p.grad.double().flatten() for p in engine.parameters() if p.grad is not None])
        found[dtype] = [s.double() for some in states for s in some.values()], gradient
    for one, other in zip(found[torch.float16][0], found[torch.float64][0], strict=True):
        assert float((one - other).norm() / other.norm()) <= 1e-2
    assert float(torch.cosine_similarity(found[torch.float16][1], found[torch.float64][1], dim=0)) >= 0.999
