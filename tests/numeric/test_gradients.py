"""Centred and one-sided EP against the implicit gradient, on random graphs that qualify. Float64.

A graph qualifies with at least 6 states, skips and cycles, a coupling of spectral radius 0.4 to 0.7 on its
active units, and a free residual of at most 1e-13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.engine.reference import Reference
from tests.topologies import random_batch, random_graph, random_parameters

WANTED = 100
SWEEPS = 100


@dataclass
class Settled:
    """A qualified network at its free equilibrium."""

    engine: ep.Engine
    oracle: Reference
    x: Tensor
    y: Tensor
    free: dict[str, Tensor]

    def gradient(self, beta: float, estimator: Any = "centered") -> Tensor:
        """EP's gradient, all parameters in one vector."""
        self.engine.zero_grad(set_to_none=True)
        self.engine.backward(
            self.x,
            self.y,
            estimator=estimator,
            beta=beta,
            start=self.free,
            free_steps=10,
            nudged_steps=SWEEPS,
        )
        return torch.cat([p.grad.flatten() for p in self.engine.parameters() if p.grad is not None])

    def implicit(self) -> Tensor:
        """The gradient by a linear solve at the equilibrium."""
        exact = self.oracle.implicit_gradient(self.x, self.y, self.free)
        return torch.cat([exact[name].flatten() for name, _ in self.engine.named_parameters()])


def qualified(bias: float = 0.0, **options: Any) -> Iterator[Settled]:
    """Draw networks and scale their weights until they qualify; those that do not are passed over."""
    for seed in range(20 * WANTED):
        graph = random_graph(seed, min_states=6, **options)
        generator = torch.Generator().manual_seed(seed)
        x, y = random_batch(graph, generator)
        drawn = {name: p + bias * name.endswith("bias") for name, p in random_parameters(graph, generator).items()}
        aim = 0.4 + 0.3 * float(torch.rand((), generator=generator))
        engine = ep.compile(graph.architecture, dtype=torch.float64, schedule="coloring")
        scale = 1.0
        for _ in range(6):
            scaled = {n: p * scale if n.endswith("weight") else p for n, p in drawn.items()}
            engine.load_state_dict({**engine.state_dict(), **scaled})
            oracle = Reference(graph, engine.state_dict())
            free = engine.relax(x, steps=SWEEPS).states
            if not all(bool(s.isfinite().all()) for s in free.values()):
                scale *= 0.5
                continue
            radius = oracle.coupling_radius(x, free)
            if 0.4 <= radius <= 0.7:
                if oracle.residual(x, free) <= 1e-13:
                    yield Settled(engine, oracle, x, y, free)
                break
            if radius < 1e-6:
                break  # nothing is active
            scale *= min(2.0, max(0.5, aim / radius))


def take(networks: Iterator[Settled]) -> Iterator[Settled]:
    for found, network in enumerate(networks, 1):
        yield network
        if found == WANTED:
            return
    raise AssertionError(f"fewer than {WANTED} random graphs qualified")


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_centred_gradient_of_smooth_networks(note: Callable[[str], None]) -> None:
    """Cosine ≥ 0.9999 at β = 1e-2, and an O(β²) error: it falls by 3.5 to 4.5 when β is halved."""
    count, worst, ratios = 0, 1.0, []
    for network in take(qualified(smooth=True)):
        exact = network.implicit()
        at = {beta: network.gradient(beta) for beta in (1e-2, 5e-3)}
        worst = min(worst, cosine(at[1e-2], exact))
        assert cosine(at[1e-2], exact) >= 0.9999
        ratios.append(error(at[1e-2], exact) / error(at[5e-3], exact))
        assert 3.5 <= ratios[-1] <= 4.5
        count += 1
    note(
        f"centred EP, smooth: {count} graphs, lowest cosine {worst:.8f} at β = 1e-2, "
        f"error ratio {min(ratios):.3f} to {max(ratios):.3f} when β is halved"
    )


def test_one_sided_gradient_of_smooth_networks(note: Callable[[str], None]) -> None:
    """The error of one-sided EP is O(β): it halves with β; and the two sides average to the centred one."""
    ratios = []
    for network, _ in zip(qualified(smooth=True), range(30), strict=False):
        exact = network.implicit()
        coarse, fine = network.gradient(1e-3, "positive"), network.gradient(5e-4, "positive")
        ratios.append(error(coarse, exact) / error(fine, exact))
        both = 0.5 * (coarse + network.gradient(1e-3, "negative"))
        assert error(both, network.gradient(1e-3)) < 1e-8
    assert all(1.8 <= ratio <= 2.2 for ratio in ratios)
    note(f"one-sided EP, smooth: {len(ratios)} graphs, error ratio {min(ratios):.3f} to {max(ratios):.3f}")


def aimed(network: Settled) -> Settled:
    """Put the target of a squared error at distance 1 from the free output, as a label is from a trained one."""
    if network.engine.architecture.output.cost == "squared_error":
        output = network.free[network.engine.graph.output.name]
        away = torch.randn(output.shape, generator=torch.Generator().manual_seed(0), dtype=output.dtype)
        network.y = output + away / away.norm(dim=1, keepdim=True)
    return network


def test_centred_gradient_of_relu6_networks(note: Callable[[str], None]) -> None:
    """Cosine ≥ 0.99 at β = 0.1 where biases keep most units inside (0, 6)."""
    cosines = []
    for network in take(map(aimed, qualified(activations=["relu6"], bias=2.0, pool_max=False))):
        cosines.append(cosine(network.gradient(0.1), network.implicit()))
    cosines.sort()
    lowest = ", ".join(f"{c:.4f}" for c in cosines[:5])
    note(f"centred EP, ReLU6, active: {len(cosines)} graphs, lowest cosines {lowest} at β = 0.1")
    assert cosines[0] >= 0.99


def test_kinks_cost_what_beta_lets_them(note: Callable[[str], None]) -> None:
    """Networks of a few units at their kinks: at β = 0.1 single kinks decide; at β = 1e-4 the gradient is right."""
    large, small = [], []
    for network, _ in zip(map(aimed, qualified(activations=["relu6"])), range(40), strict=False):
        exact = network.implicit()
        if exact.norm() > 0:
            large.append(cosine(network.gradient(0.1), exact))
            small.append(cosine(network.gradient(1e-4), exact))
    share = sum(c >= 0.99 for c in large) / len(large)
    note(
        f"centred EP, ReLU6, a few units, max pooling: {len(large)} graphs, cosine ≥ 0.99 on {share:.0%} "
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
