"""Centered and one-sided EP against the implicit gradient, on random graphs that qualify (``helpers/qualified.py``).

Float64.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import epgraph as ep
from tests.helpers.qualified import ACTIVE, COUNTS, KINKED, SWEEPS, aimed, cosine, error, qualified, take


@pytest.mark.parametrize("wanted", COUNTS)
def test_centered_gradient_of_smooth_networks(wanted: int, note: Callable[[str], None]) -> None:
    """Cosine ≥ 0.9999 at β = 1e-2, and an O(β²) error: it falls by 3.5 to 4.5 when β is halved."""
    count, worst, ratios = 0, 1.0, []
    for network in take(qualified(smooth=True), wanted):
        exact = network.implicit()
        at = {beta: network.gradient(beta) for beta in (1e-2, 5e-3)}
        worst = min(worst, cosine(at[1e-2], exact))
        assert cosine(at[1e-2], exact) >= 0.9999
        ratios.append(error(at[1e-2], exact) / error(at[5e-3], exact))
        assert 3.5 <= ratios[-1] <= 4.5
        count += 1
    note(
        f"centered EP, smooth: {count} graphs, lowest cosine {worst:.8f} at β = 1e-2, "
        f"error ratio {min(ratios):.3f} to {max(ratios):.3f} when β is halved"
    )


def test_one_sided_gradient_of_smooth_networks(note: Callable[[str], None]) -> None:
    """The error of one-sided EP is O(β): it halves with β; and the two sides average to the centered one."""
    ratios = []
    for network, _ in zip(qualified(smooth=True), range(30), strict=False):
        exact = network.implicit()
        coarse, fine = network.gradient(1e-3, "positive"), network.gradient(5e-4, "positive")
        ratios.append(error(coarse, exact) / error(fine, exact))
        both = 0.5 * (coarse + network.gradient(1e-3, "negative"))
        assert error(both, network.gradient(1e-3)) < 1e-8
    assert all(1.8 <= ratio <= 2.2 for ratio in ratios)
    note(f"one-sided EP, smooth: {len(ratios)} graphs, error ratio {min(ratios):.3f} to {max(ratios):.3f}")


@pytest.mark.parametrize("wanted", COUNTS)
def test_centered_gradient_of_relu6_networks(wanted: int, note: Callable[[str], None]) -> None:
    """Cosine ≥ 0.99 at β = 0.1 where biases keep most units inside (0, 6): of networks with nine in ten there."""
    cosines = []
    for network in take(map(aimed, qualified(**ACTIVE)), wanted):
        cosines.append(cosine(network.gradient(0.1), network.implicit()))
    cosines.sort()
    lowest = ", ".join(f"{c:.4f}" for c in cosines[:5])
    note(f"centered EP, ReLU6, active: {len(cosines)} graphs, lowest cosines {lowest} at β = 0.1")
    assert cosines[0] >= 0.99


def test_kinks_cost_what_beta_lets_them(note: Callable[[str], None]) -> None:
    """Networks of a few units at their kinks: at β = 0.1 single kinks decide; at β = 1e-4 the gradient is right."""
    large, small = [], []
    for network, _ in zip(map(aimed, qualified(**KINKED)), range(40), strict=False):
        exact = network.implicit()
        if exact.norm() > 0:
            large.append(cosine(network.gradient(0.1), exact))
            small.append(cosine(network.gradient(1e-4), exact))
    share = sum(c >= 0.99 for c in large) / len(large)
    note(
        f"centered EP, ReLU6, a few units, max pooling: {len(large)} graphs, cosine ≥ 0.99 on {share:.0%} "
        f"(lowest {min(large):.2f}) at β = 0.1, lowest {min(small):.5f} at β = 1e-4"
    )
    assert min(small) >= 0.99


def test_a_target_equal_to_the_output_gives_no_gradient() -> None:
    for network, _ in zip(qualified(smooth=True), range(10), strict=False):
        if network.engine.architecture.output.cost == "squared_error":
            network.y = network.free[network.engine.graph.output.name].clone()
            assert network.gradient(0.1).norm() <= 1e-9


def test_grad_accumulates_and_is_the_batch_mean() -> None:
    network = next(qualified(smooth=True))
    once = network.gradient(0.05)
    network.engine.backward(network.x, network.y, beta=0.05, start=network.free, free_steps=10, nudged_steps=SWEEPS)
    twice = torch.cat([p.grad.flatten() for p in network.engine.parameters() if p.grad is not None])
    torch.testing.assert_close(twice, 2 * once)
    singles = []
    for i in range(len(network.x)):
        network.engine.zero_grad(set_to_none=True)
        network.engine.backward(
            network.x[i : i + 1], network.y[i : i + 1], beta=0.05, free_steps=SWEEPS, nudged_steps=SWEEPS
        )
        singles.append(torch.cat([p.grad.flatten() for p in network.engine.parameters() if p.grad is not None]))
    torch.testing.assert_close(once, torch.stack(singles).mean(0), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_keeps_the_gradient(dtype: torch.dtype) -> None:
    """The pair arithmetic: a gradient in low precision points where the float64 one does."""
    bar = {torch.float32: 0.999999, torch.bfloat16: 0.98}[dtype]
    found = {}
    for precision in (torch.float64, dtype):
        torch.manual_seed(0)
        engine = ep.compile("examples/digits.yaml", dtype=precision, seed=1)
        x, y = torch.rand(16, 1, 8, 8), torch.arange(16) % 10
        engine.backward(x, y, free_steps=30, nudged_steps=12)
        found[precision] = {n: p.grad.double() for n, p in engine.named_parameters() if p.grad is not None}
    for name, exact in found[torch.float64].items():
        assert cosine(found[dtype][name].flatten(), exact.flatten()) >= bar, name


def test_bfloat16_keeps_the_gradient_of_a_deep_network() -> None:
    """The lowest cosine was 0.993 where every sum and activation was rounded at each of its steps; it is 0.998."""
    overrides = [
        *("parameters.width=0.0625", "init=published", "dynamics.schedule=coloring", "dynamics.over_relaxation=1.6"),
        *("dynamics.free_steps=15", "dynamics.nudged_steps=12"),
    ]
    architecture = ep.load("examples/recipes/hopfield_resnet13_fashion_mnist.yaml", overrides)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(8, 1, 32, 32, generator=generator), torch.arange(8)
    found = {}
    for precision in (torch.float64, torch.bfloat16):
        engine = ep.compile(architecture, dtype=precision, seed=0, backend="eager")
        engine.load_state_dict(ep.compile(architecture, dtype=torch.float32, seed=0).state_dict())
        engine.backward(x, y)
        found[precision] = {n: p.grad.double() for n, p in engine.named_parameters() if p.grad is not None}
    for name, exact in found[torch.float64].items():
        assert cosine(found[torch.bfloat16][name].flatten(), exact.flatten()) >= 0.995, name
