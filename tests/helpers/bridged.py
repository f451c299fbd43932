"""Gradients through ``Equilibrium``, and the same ones by backpropagation through sweeps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import epgraph as ep
from epgraph.testing.units import sigma
from tests.helpers.qualified import Settled

SWEEPS = 100
SMALL = """
epgraph: 2
input: {shape: [1, 5, 5]}
output: {classes: 3}
defaults: {activation: tanh, gain: 0.5}
states: {h1: {channels: 3}, h2: {shape: [4]}}
edges:
  - {from: x, to: h1, conv: {kernel: 3, stride: 2}}
  - {from: h1, to: h2, dense: {}}
  - {from: h1, to: y, dense: {}}
  - {from: h2, to: y, dense: {}}
dynamics: {schedule: coloring, free_steps: 60, nudged_steps: 60}
learning: {beta: 1.0e-4}
"""


def small(dtype: torch.dtype = torch.float64, **options: Any) -> ep.Equilibrium:
    return ep.Equilibrium(ep.compile(SMALL, dtype=dtype, seed=1), **options)


def inputs(batch: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 1, 5, 5, generator=generator, dtype=torch.float64).to(dtype)


def backpropagated(network: Settled, names: list[str]) -> Tensor:
    """Gradients of ``scalar`` by parameters and input, backwards through SWEEPS synchronous sweeps at the equilibrium.

    There every sweep has the same derivative J, so that backpropagation is λ ← v + Jᵀλ. Φ and σ are the oracle's.
    """
    oracle, graph = network.oracle, network.oracle.graph
    x = network.x.clone().requires_grad_()
    parameters = [p.requires_grad_() for p in oracle.parameters.values()]
    before = {n: network.free[n].detach().requires_grad_() for n in graph.free}
    at = list(before.values())
    drive = oracle.interactions({graph.input.name: x, **before}, graph.free, oracle.parameters).sum()
    forces = torch.autograd.grad(drive, at, create_graph=True)
    after = [sigma(graph.states[n].activation, a, oracle.alphas[n]) for n, a in zip(graph.free, forces, strict=True)]
    pull = torch.autograd.grad(scalar({n: before[n] for n in names}), at, materialize_grads=True)
    summed = pull
    for _ in range(SWEEPS):
        back = torch.autograd.grad(after, at, summed, retain_graph=True, materialize_grads=True)
        summed = tuple(v + b for v, b in zip(pull, back, strict=True))
    by_name = dict(zip(oracle.parameters, parameters, strict=True))
    leaves = [*(by_name[n] for n, _ in network.engine.named_parameters()), x]
    found = torch.autograd.grad(after, leaves, summed, materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


def scalar(states: dict[str, Tensor]) -> Tensor:
    """A loss that is linear in no state, with a weight of its own for every unit and example."""
    generator = torch.Generator().manual_seed(3)
    total = torch.zeros((), dtype=torch.float64)
    for s in states.values():
        weight = torch.randn(s.shape, generator=generator, dtype=torch.float64)
        total = total + (weight * (s + 0.3 * s * s)).sum()
    return total


def bridged(network: Settled, names: list[str], beta: float, estimator: str = "centered") -> Tensor:
    """The same gradients by the bridge."""
    module = ep.Equilibrium(network.engine, estimator=estimator, beta=beta, free_steps=SWEEPS, nudged_steps=SWEEPS)
    x = network.x.clone().requires_grad_()
    found = torch.autograd.grad(scalar(module.states(x, names)), [*module.parameters(), x])
    return torch.cat([g.flatten() for g in found])
