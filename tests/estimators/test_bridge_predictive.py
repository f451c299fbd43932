"""``Equilibrium`` on the predictive energy: its gradients are those of the feed-forward network. Float64."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from tests.helpers.bridged import scalar
from tests.helpers.case import apart
from tests.helpers.directed import SMOOTH, DirectedCase, random_directed

BARS = {"centered": 1e-4, "positive": 3e-2, "implicit": 1e-9}
"""Relative error at β = 10⁻³: O(β²), O(β), and exact."""


def drawn(seed: int, solver: str) -> tuple[DirectedCase, ep.Engine]:
    data = random_directed(random.Random(seed), activations=SMOOTH, pool_max=False, costs=["squared_error"])
    data["dynamics"]["solver"] = solver
    case = DirectedCase(data, seed)
    return case, case.engine("backward")


def exact(case: DirectedCase, engine: ep.Engine, parameters: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """Gradients of ``scalar`` of all states, by autograd through the oracle's forward pass."""
    states = case.predictive(engine).forward(x, parameters)
    total = scalar({name: states[name] for name in case.graph.dynamic})
    return list(torch.autograd.grad(total, [*parameters.values(), x], materialize_grads=True))


@pytest.mark.parametrize("solver", ["plain", "error_sweeps"])
@pytest.mark.parametrize("estimator", list(BARS))
@pytest.mark.parametrize("seed", range(3))
def test_gradients_by_parameters_and_input(seed: int, estimator: Any, solver: str) -> None:
    case, engine = drawn(seed, solver)
    module = ep.Equilibrium(engine, estimator=estimator, beta=1e-3, nudged_steps=100)
    parameters = {n: p for n, p in engine.named_parameters() if p.requires_grad}
    x = case.x.clone().requires_grad_()
    total = scalar(module.states(x, case.graph.dynamic))
    found = torch.autograd.grad(total, [*parameters.values(), x])
    leaves = {n: p.detach().clone().requires_grad_() for n, p in engine.named_parameters()}
    wanted = dict(zip([*leaves, "x"], exact(case, engine, leaves, case.x.clone().requires_grad_()), strict=True))
    for name, one in zip([*parameters, "x"], found, strict=True):
        assert apart(one, wanted[name]) <= BARS[estimator], name


ORDERS = {"centered": 2, "positive": 1}
"""Order in β of the error; that of ``implicit`` is zero."""


@pytest.mark.parametrize("solver", ["plain", "error_sweeps"])
@pytest.mark.parametrize("estimator", list(BARS))
def test_functional_call(estimator: Any, solver: str) -> None:
    """Gradients reach what the weights were computed from; the forward pass uses the weights that are given."""
    case, engine = drawn(3, solver)

    def off(beta: float) -> float:
        module = ep.Equilibrium(engine, estimator=estimator, beta=beta, nudged_steps=100)
        factor = torch.tensor(1.1, dtype=torch.float64, requires_grad=True)
        weights = {name: factor * p.detach() for name, p in module.named_parameters()}
        output = torch.func.functional_call(module, weights, (case.x,))
        forward = case.predictive(engine).forward(case.x, {n: 1.1 * p.detach() for n, p in engine.named_parameters()})
        assert apart(output, forward[case.graph.output.name]) <= 1e-12
        output.square().sum().backward()
        assert factor.grad is not None
        other = factor.detach().clone().requires_grad_()
        own = {name: other * p.detach() for name, p in engine.named_parameters()}
        final = case.predictive(engine).forward(case.x, own)[case.graph.output.name]
        (wanted,) = torch.autograd.grad(final.square().sum(), other)
        return float(apart(factor.grad, wanted))

    assert off(1e-3) <= BARS[estimator]
    if estimator in ORDERS:
        # How large the error is depends on what was drawn; how it falls does not.
        assert off(4e-3) / off(2e-3) == pytest.approx(2 ** ORDERS[estimator], rel=0.15)


@pytest.mark.parametrize("solver", ["plain", "error_sweeps"])
def test_between_torch_layers(solver: str) -> None:
    """Gradients go on to a layer before it."""
    text = ["energy=predictive", "defaults.activation=tanh", f"dynamics.solver={solver}"]
    core = ep.Equilibrium(ep.compile(ep.load("examples/digits.yaml", text)), beta=0.01)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, padding=1), core, torch.nn.Linear(10, 10))
    torch.nn.functional.cross_entropy(model(torch.rand(4, 1, 8, 8)), torch.arange(4)).backward()
    assert core.relaxation.status is ep.Status.CONVERGED
    assert core.relaxation.steps == 1
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
