"""The oracle of the predictive energy against what is known without it: formulas, a plain network, differences."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import epgraph as ep
from epgraph.graph import make_schedule
from epgraph.testing.network import States
from epgraph.testing.oracle import Reference, oracle_for
from epgraph.testing.predictive import PredictiveReference
from tests.helpers.case import Case, apart
from tests.helpers.directed import EVERY, SMOOTH, DirectedCase, random_directed
from tests.helpers.networks import RING

PICTURE: dict[str, Any] = {
    "epgraph": 2,
    "energy": "predictive",
    "input": {"name": "x", "shape": [2, 6, 6]},
    "output": {"name": "y", "classes": 3},
    "states": {"a": {"channels": 3}, "b": {"channels": 4, "activation": "tanh"}, "c": {"channels": 3}},
    "edges": [
        {"from": "x", "to": "a", "conv": {"kernel": 3, "padding": 1}},
        {"from": "a", "to": "b", "conv": {"kernel": 3, "padding": 1, "pool": "max"}},
        {"from": "a", "to": "c", "skip": {"stride": 2}},
        {"from": "b", "to": "c", "conv": {"kernel": 3, "padding": 1}},
        {"from": "c", "to": "y", "dense": {}},
    ],
}

CHAIN: dict[str, Any] = {
    "epgraph": 2,
    "energy": "predictive",
    "input": {"name": "x", "shape": [4]},
    "output": {"name": "y", "classes": 3},
    "states": {"a": {"shape": [5]}, "b": {"shape": [4]}},
    "edges": [
        {"from": "x", "to": "a", "dense": {}},
        {"from": "a", "to": "b", "dense": {}},
        {"from": "b", "to": "y", "dense": {}},
    ],
}


def oracle_of(case: Case, **options: Any) -> PredictiveReference:
    return PredictiveReference(case.graph, case.parameters, **options)


def somewhere(oracle: PredictiveReference, batch: int = 2) -> States:
    generator = torch.Generator().manual_seed(1)
    return {n: torch.randn(s.shape, generator=generator, dtype=s.dtype) for n, s in oracle.zeros(batch).items()}


def agrees(gradient: Tensor, function: Any, point: Tensor, step: float = 1e-6) -> bool:
    """Whether a gradient is the central difference of a scalar function along three random directions."""
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        along = torch.randn(point.shape, generator=generator, dtype=point.dtype)
        ends = [float(function(point + sign * step * along)) for sign in (1, -1)]
        expected = (gradient * along).sum().item()
        if abs((ends[0] - ends[1]) / (2 * step) - expected) > 1e-6 * max(1.0, abs(expected)):
            return False
    return True


def test_backpropagation_is_that_of_a_plain_network() -> None:
    case = Case(PICTURE)
    oracle = oracle_of(case)
    p = {name: value.clone().requires_grad_() for name, value in oracle.parameters.items()}
    x = case.x.clone().requires_grad_()
    view = (1, -1, 1, 1)
    a = functional.conv2d(x, p["edges.x_a.weight"], padding=1) + p["states.a.bias"].view(view)
    a = a.clamp(0, 6)
    b = functional.max_pool2d(functional.conv2d(a, p["edges.a_b.weight"], padding=1), 2)
    b = (b + p["states.b.bias"].view(view)).tanh()
    c = functional.conv2d(a, p["edges.a_c.weight"], stride=2) + functional.conv2d(b, p["edges.b_c.weight"], padding=1)
    c = (c + p["states.c.bias"].view(view)).clamp(0, 6)
    y = functional.linear(c.flatten(1), p["edges.c_y.weight"], p["states.y.bias"])
    (0.5 * (y - case.y).square().sum(1).mean()).backward()
    free = oracle.forward(case.x)
    for name, value in {"a": a, "b": b, "c": c, "y": y}.items():
        assert apart(free[name], value.detach()) <= 1e-13, name
    gradients, by_input = oracle.backpropagation(case.x, case.y)
    for name, value in p.items():
        assert value.grad is not None
        assert apart(gradients[name], value.grad) <= 1e-12, name
    assert x.grad is not None
    assert apart(by_input, x.grad) <= 1e-12


@pytest.mark.parametrize("rule", ["mod_pgd", "pgd"])
@pytest.mark.parametrize("activation", ["relu1", "tanh"])
def test_an_update_is_the_formula(activation: str, rule: Any) -> None:
    """s ← σ(a + Wᵀ[σ′(a_j) ⊙ ε_j]) of a chain, with matrices."""
    case = Case({**CHAIN, "defaults": {"activation": activation}})
    oracle = oracle_of(case, rule=rule)
    s, p = somewhere(oracle), oracle.parameters

    def sigma(a: Tensor) -> Tensor:
        return a.tanh() if activation == "tanh" else a.clamp(0, 1)

    def slope(a: Tensor) -> Tensor:
        return 1 - a.tanh() ** 2 if activation == "tanh" else ((a > 0) & (a < 1)).double()

    sums = {
        n: before @ p[f"edges.{e}.weight"].T + p[f"states.{n}.bias"]
        for n, before, e in (("a", case.x, "x_a"), ("b", s["a"], "a_b"), ("y", s["b"], "b_y"))
    }
    back = {
        "a": (slope(sums["b"]) * (s["b"] - sigma(sums["b"]))) @ p["edges.a_b.weight"],
        "b": (s["y"] - sums["y"]) @ p["edges.b_y.weight"],
        "y": -0.3 * (s["y"] - case.y),
    }
    expected = {}
    for n in ("a", "b"):
        inner = sums[n] if rule == "mod_pgd" else sigma(sums[n])
        expected[n] = sigma(sums[n]) + back[n] if activation == "tanh" else sigma(inner + back[n])
    expected["y"] = sums["y"] + back["y"]
    moved = oracle.update(case.x, s, ("a", "b", "y"), case.y, 0.3)
    for n, value in expected.items():
        assert apart(moved[n], value) <= 1e-13, n


def test_the_closed_form_is_the_fixed_point_of_the_explicit_step() -> None:
    plain, closed = Case(CHAIN), Case({**CHAIN, "dynamics": {"output_step": "closed_form"}})
    classes, start = [["y"]], oracle_of(plain).forward(plain.x)
    stepped = oracle_of(plain).relax(plain.x, classes, 100, start, plain.y, 0.3)
    once = oracle_of(closed).update(plain.x, start, ["y"], plain.y, 0.3)
    assert apart(once["y"], stepped["y"]) <= 1e-13


def test_sigma_has_no_slope_at_a_kink() -> None:
    oracle = oracle_of(Case({**CHAIN, "defaults": {"activation": "relu1"}}))
    a = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    level = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    value = oracle.predicted("a", a, {"states.a.alpha": level})
    assert value.tolist() == [0, 0, 0.5, 1, 1]
    assert torch.autograd.grad(value.sum(), a, retain_graph=True)[0].tolist() == [0, 0, 1, 0, 0]
    assert torch.autograd.grad(value.sum(), level)[0].item() == 1


@pytest.mark.parametrize("seed", range(6))
def test_gradients_of_e_are_differences(seed: int) -> None:
    """By states (through their edges alone), by parameters and by the input."""
    data = random_directed(random.Random(seed), activations=SMOOTH, pool_max=False, moving=(2, 4))
    case = Case(data, seed)
    oracle = oracle_of(case)
    s = somewhere(oracle)
    for name, back in oracle.feedback(case.x, s, case.graph.dynamic, case.y, 0.0).items():

        def through_edges(point: Tensor, name: str = name) -> Tensor:
            now = {**s, name: point}
            errors = oracle.sums(case.x, now, case.graph.dynamic)
            others = [n for n in errors if n != name]
            return sum(((s[n] - oracle.predicted(n, errors[n])) ** 2).sum() for n in others) / 2  # type: ignore[return-value]

        assert agrees(-back, through_edges, s[name]), name
    gradients = oracle.parameter_gradient(case.x, s)
    for name, value in oracle.parameters.items():

        def by_parameter(point: Tensor, name: str = name) -> Tensor:
            return oracle.energy(case.x, s, {**oracle.parameters, name: point}).sum()

        assert agrees(gradients[name], by_parameter, value), name
    assert agrees(oracle.input_gradient(case.x, s), lambda point: oracle.energy(point, s).sum(), case.x)


@pytest.mark.parametrize("seed", range(12))
def test_the_forward_pass_is_free_equilibrium(seed: int) -> None:
    case = Case(random_directed(random.Random(seed), activations=EVERY), seed)
    for rule in ("mod_pgd", "pgd"):
        oracle = oracle_of(case, rule=rule)
        free = oracle.forward(case.x)
        assert float(oracle.energy(case.x, free).amax()) == 0
        assert oracle.residual(case.x, free) <= 1e-14
        assert all(not g.any() for g in oracle.parameter_gradient(case.x, free).values())
        swept = oracle.error_sweeps(case.x, 1, free)
        assert all(torch.equal(swept[name], s) for name, s in free.items())


@pytest.mark.parametrize("seed", range(12))
def test_nudged_states_are_stationary_and_those_of_error_sweeps(seed: int) -> None:
    """∂(E + βC)/∂s = 0 where σ is smooth. A readout pulls from outside: C of the logits."""
    data = random_directed(random.Random(seed), activations=SMOOTH, pool_max=False)
    case = Case(data, seed)
    oracle, beta = oracle_of(case), 0.05
    free = oracle.forward(case.x)
    nudged = oracle.relax(case.x, make_schedule(case.graph, "coloring").classes, 200, free, case.y, beta)
    leaf = {n: nudged[n].clone().requires_grad_() for n in case.graph.dynamic}
    out = case.graph.output.name
    seen = {**leaf, out: oracle.logits(case.x, leaf)} if case.graph.readout else leaf
    total = oracle.energy(case.x, leaf).sum() + beta * oracle.cost(seen, case.y).sum()
    for name, g in zip(leaf, torch.autograd.grad(total, list(leaf.values())), strict=True):
        assert float(g.norm()) <= 1e-12, name
    swept = oracle.error_sweeps(case.x, 100, free, case.y, beta)
    for name, value in nudged.items():
        assert apart(swept[name], value) <= 1e-12, name


@pytest.mark.parametrize("seed", range(8))
def test_errors_are_what_backpropagation_carries(seed: int) -> None:
    """−ε/β, contrasted, is ∂L/∂s through everything after: the gradient by what is added to σ(a)."""
    data = random_directed(random.Random(seed), activations=SMOOTH, pool_max=False)
    case, beta = Case(data, seed), 1e-3
    oracle = oracle_of(case)
    free = oracle.forward(case.x)
    errors = {}
    for sign in (1, -1):
        s = oracle.error_sweeps(case.x, 60, free, case.y, sign * beta)
        errors[sign] = {n: s[n] - oracle.predicted(n, a) for n, a in oracle.sums(case.x, s, case.graph.dynamic).items()}
    added = {n: torch.zeros_like(free[n], requires_grad=True) for n in case.graph.dynamic}
    now: States = {}
    for name in oracle.order:
        now[name] = oracle.predicted(name, oracle.sums(case.x, now, [name])[name]) + added[name]
    if case.graph.readout:
        now[case.graph.output.name] = oracle.logits(case.x, now)
    carried = torch.autograd.grad(oracle.cost(now, case.y).sum(), list(added.values()))
    for name, g in zip(added, carried, strict=True):
        found = (errors[-1][name] - errors[1][name]) / (2 * beta)
        assert float((found - g).norm()) <= 1e-4 * float(g.norm()) + 1e-11, name


def test_a_readout_may_share_a_weight_with_an_edge_inside() -> None:
    """Its gradient is the sum of both."""
    case = Case(
        {
            "epgraph": 2,
            "energy": "predictive",
            "input": {"name": "x", "shape": [4]},
            "output": {"name": "y", "classes": 4, "cost": "softmax_readout"},
            "defaults": {"activation": "tanh"},
            "states": {"a": {"shape": [4]}},
            "edges": [
                {"from": "x", "to": "a", "dense": {}, "name": "one"},
                {"from": "a", "to": "y", "dense": {}, "tie": "one"},
            ],
        }
    )
    oracle, beta = oracle_of(case), 1e-3
    free = oracle.forward(case.x)
    nudged = {sign: oracle.error_sweeps(case.x, 20, free, case.y, sign * beta) for sign in (1, -1)}
    found, (exact, _) = oracle.estimate(case.x, case.y, free, nudged, beta), oracle.backpropagation(case.x, case.y)
    for name, value in exact.items():
        assert apart(found[name], value) <= 1e-5, name


def test_pulls_are_a_linear_cost() -> None:
    """A pull at the output alone, of the size of ∂C/∂s there, moves states as the cost itself."""
    case = DirectedCase(PICTURE)
    oracle = oracle_of(case)
    free = oracle.forward(case.x)
    names = case.graph.dynamic
    by_cost = oracle.update(case.x, free, names, case.y, 0.1)
    by_pull = oracle.update(case.x, free, names, beta=0.1, pulls={"y": free["y"] - case.y})
    assert all(torch.equal(by_cost[n], s) for n, s in by_pull.items())
    moved = oracle.update(case.x, free, names, beta=0.1, pulls={"b": torch.ones_like(free["b"])})
    assert apart(moved["b"], free["b"] - 0.1) <= 1e-14


def test_the_oracle_is_that_of_the_energy() -> None:
    case, ring = Case(PICTURE), Case(RING)
    assert isinstance(oracle_for(case.graph, case.parameters), PredictiveReference)
    assert isinstance(oracle_for(ring.graph, ring.parameters), Reference)
    assert case.graph.architecture.energy == "predictive"
    assert ep.build(ring.architecture).architecture.energy == "hopfield"
