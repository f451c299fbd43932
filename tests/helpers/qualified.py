"""Random networks that qualify for statements about gradients, settled in float64.

A graph qualifies with at least 6 states, skips and cycles, a coupling of spectral radius 0.4 to 0.7 on its
active units, and a free residual of at most 1e-13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import epgraph as ep
from epgraph.graph import NetworkGraph
from epgraph.testing.oracle import Reference
from tests.helpers.topologies import random_batch, random_graph, random_parameters

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


def qualified(bias: float = 0.0, draw: Callable[..., NetworkGraph] = random_graph, **options: Any) -> Iterator[Settled]:
    """Draw networks and scale their weights until they qualify; those that do not are passed over."""
    for seed in range(20 * WANTED):
        graph = draw(seed, min_states=6, **options)
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


def aimed(network: Settled) -> Settled:
    """Put the target of a squared error at distance 1 from the free output, as a label is from a trained one."""
    if network.engine.architecture.output.cost == "squared_error":
        output = network.free[network.engine.graph.output.name]
        away = torch.randn(output.shape, generator=torch.Generator().manual_seed(0), dtype=output.dtype)
        network.y = output + away / away.norm(dim=1, keepdim=True)
    return network
