"""Holomorphic EP on the predictive energy: its error, its complex equations, and what it refuses. Float64."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.estimators import Estimate
from epgraph.testing.maps import mapped
from epgraph.testing.network import States, weight_name
from epgraph.testing.predictive import PredictiveReference
from epgraph.testing.units import sigma
from tests.helpers.case import apart
from tests.helpers.directed import SMOOTH, DirectedCase, random_directed

SEEDS = range(8)

HOLOMORPHIC = ("squared_error", "squared_error", "cross_entropy")


def drawn(seed: int, activations: Sequence[object] = SMOOTH) -> DirectedCase:
    """A random network, every other one with error sweeps."""
    data = random_directed(random.Random(seed), activations=activations, pool_max=False, costs=HOLOMORPHIC)
    if seed % 2:
        data["dynamics"]["solver"] = "error_sweeps"
    return DirectedCase(data, seed)


def estimated(engine: ep.Engine, case: DirectedCase, name: Any, **options: Any) -> tuple[Estimate, Tensor]:
    """What an estimator saw, and its gradient with all parameters in one vector."""
    engine.zero_grad(set_to_none=True)
    settled = {} if name == "backprop" else {"nudged_steps": 200, "tolerance": 1e-15}
    made = engine.backward(case.x, case.y, estimator=name, **{**settled, **options})
    return made, torch.cat([p.grad.flatten() for p in engine.parameters() if p.grad is not None])


@pytest.mark.parametrize("points", [3, 4])
def test_the_error_is_of_the_order_of_the_points(points: int, note: Callable[[str], None]) -> None:
    """Against backpropagation, it falls as |β|^N; with 16 points rounding is left."""
    slopes, least = [], 0.0
    for seed in SEEDS:
        case = drawn(seed)
        engine = case.engine("coloring")
        exact = estimated(engine, case, "backprop")[1]
        fine, coarse = (
            apart(estimated(engine, case, "holomorphic", beta=beta, points=points)[1], exact) for beta in (0.02, 0.04)
        )
        slopes.append(math.log2(coarse / fine))
        least = max(least, apart(estimated(engine, case, "holomorphic", beta=0.03, points=16)[1], exact))
    note(f"predictive, holomorphic: slope of the error {min(slopes):.3f} to {max(slopes):.3f}, 16 points {least:.0e}")
    assert all(points - 0.1 <= slope <= points + 0.1 for slope in slopes), slopes
    assert least <= 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_two_points_are_centered_ep(seed: int) -> None:
    case = drawn(seed)
    engine = case.engine("coloring")
    expected, centered = estimated(engine, case, "centered", beta=0.05)
    found, made = estimated(engine, case, "holomorphic", beta=0.05, points=2)
    assert apart(made, centered) <= 1e-11
    for ours, theirs in zip(found.nudged, expected.nudged, strict=True):
        for name, state in theirs.states.items():
            assert apart(ours.states[name].real, state) <= 1e-12, name


@pytest.mark.parametrize("seed", SEEDS)
def test_complex_states_solve_the_complex_equations(seed: int) -> None:
    """∂/∂s (E + β_k C) = 0 with E of the oracle, continued by autograd; and −(1/N|β|) Σ −∂E/∂θ is the gradient."""
    case = drawn(seed, ("tanh", "logistic", "identity", {"tanh": {"height": 2}}))
    engine = case.engine("coloring")
    made, found = estimated(engine, case, "holomorphic", beta=0.1, points=5)
    assert [relaxed.states[case.graph.output.name].is_complex() for relaxed in made.nudged] == [False, True, True]
    total = torch.zeros_like(found)
    for k, relaxed in enumerate(made.nudged):
        turn = complex(math.cos(2 * math.pi * k / 5), math.sin(2 * math.pi * k / 5))
        by_states, by_parameters = differentiated(engine, case, relaxed.states, 0.1 * turn)
        assert max(by_states.values()) <= 1e-11
        total += (2 if k else 1) * (by_parameters / turn).real / (5 * 0.1 * len(case.x))
    assert apart(found, total) <= 1e-9


def differentiated(
    engine: ep.Engine, case: DirectedCase, states: States, beta: complex
) -> tuple[dict[str, float], Tensor]:
    """Largest ∂F/∂s of each state, and ∂F/∂θ of what is trained, of F = E + βC for complex states."""
    oracle = PredictiveReference(case.graph, engine.state_dict())
    trained = [name for name, p in engine.named_parameters() if p.requires_grad]
    parameters = {name: p.to(torch.complex128) for name, p in oracle.parameters.items()}
    leaves = [parameters[name].requires_grad_() for name in trained]
    now = {name: s.to(torch.complex128).requires_grad_() for name, s in states.items()}
    output = now[case.graph.output.name]
    if case.graph.architecture.output.cost == "cross_entropy":
        cost = (output.exp().sum(1).log() * case.y.sum(1)).sum() - (case.y * output).sum()
    else:
        cost = 0.5 * (output - case.y).square().sum()
    total = energy(case, {case.graph.input.name: case.x.to(torch.complex128), **now}, parameters) + beta * cost
    found = torch.autograd.grad(total, [*now.values(), *leaves], torch.ones_like(total), materialize_grads=True)
    # For a holomorphic function torch returns the conjugate of the derivative.
    derivatives = [f.conj() for f in found]
    by_states = {name: float(f.abs().max()) for name, f in zip(now, derivatives, strict=False)}
    return by_states, torch.cat([f.flatten() for f in derivatives[len(now) :]])


def energy(case: DirectedCase, now: States, parameters: States) -> Tensor:
    """½ Σ (s − σ(a))², without conjugation, summed over the batch."""
    total = torch.zeros((), dtype=torch.complex128)
    for name in case.graph.dynamic:
        state = case.graph.states[name]
        a = torch.zeros(len(case.x), *state.shape, dtype=torch.complex128)
        for edge in case.graph.pre(name):
            a = a + mapped(edge.kind, parameters.get(weight_name(edge)), now[edge.source], state.shape).view_as(a)
        if f"states.{name}.bias" in parameters:
            a = a + parameters[f"states.{name}.bias"].view(-1, *(1,) * (len(state.shape) - 1))
        total = total + 0.5 * (now[name] - sigma(state.activation, a, 0.0)).square().sum()
    return total


POOLED = {
    "epgraph": 2,
    "energy": "predictive",
    "input": {"shape": [2, 6, 6]},
    "output": {"classes": 3},
    "defaults": {"activation": {"softclip": {"alpha": 2}}},
    "states": {"a": {"channels": 3}, "b": {"channels": 3, "activation": "tanh"}, "c": {"shape": [5]}},
    "edges": [
        {"from": "x", "to": "a", "conv": {"kernel": 3, "padding": 1, "pool": "max"}},
        {"from": "a", "to": "b", "conv": {"kernel": 3, "padding": 1}},
        {"from": "a", "to": "b", "identity": {}},
        {"from": "b", "to": "c", "dense": {}, "gain": 2},
        {"from": "c", "to": "y", "dense": {}, "gain": 2},
    ],
}


@pytest.mark.parametrize("solver", ["plain", "error_sweeps"])
def test_in_pieces_in_float32_and_with_a_pooled_image(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Max pooling of the clamped image is that of real numbers."""
    data = {**POOLED, "dynamics": {"solver": solver}}
    found = {}
    for name, dtype in {"double": torch.float64, "single": torch.float32, "pieces": torch.float64}.items():
        if name == "pieces":
            monkeypatch.setattr("epgraph.estimators.microbatches.cut", lambda *_: [slice(0, 1), slice(1, None)])
        case = DirectedCase(data)
        engine = ep.compile(case.architecture, dtype=dtype)
        engine.load_state_dict({**engine.state_dict(), **case.parameters})
        case.x, case.y = case.x.to(dtype), case.y.to(dtype)
        options = {"beta": 0.02, "points": 6, "nudged_steps": 30, "tolerance": 0}
        found[name] = estimated(engine, case, "holomorphic", **options)[1]
        if name == "double":
            assert apart(found[name], estimated(engine, case, "backprop")[1]) <= 1e-6
    assert apart(found["single"].double(), found["double"]) <= 1e-4
    assert apart(found["pieces"], found["double"]) <= 1e-11
