"""The engine against the oracle, on random topologies: states, energies, gradients. Float64."""

from __future__ import annotations

import json
import weakref
from collections import Counter
from itertools import combinations
from typing import Any
from zlib import crc32

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import epgraph as ep
from epgraph.compiler import BACKENDS
from epgraph.compiler.sweep import run
from epgraph.graph import SCHEDULES, make_schedule
from tests.helpers.case import ORACLE, SWEEPS, Case, apart
from tests.helpers.topologies import FEATURES, architectures, coverage


@pytest.mark.parametrize("together", [2, pytest.param(len(SCHEDULES), marks=pytest.mark.slow)])
def test_states_follow_the_oracle_under_every_schedule(together: int, tally: Any) -> None:
    """Each network under two schedules, so that each schedule has about a hundred networks; or under all of them."""
    choices = list(combinations(SCHEDULES, together))
    drawn, counted = Counter[str](), Counter[str]()

    @settings(ORACLE, max_examples=300)
    @given(data=architectures())
    def follow(data: dict[str, Any]) -> None:
        features = coverage(data)
        schedules = choices[crc32(json.dumps(data).encode()) % len(choices)]
        tally("engine against oracle", features)
        drawn.update(features)
        counted.update(schedules)
        case = Case(data)
        engines = {name: case.engine(name) for name in schedules}
        oracle = case.oracle(engines[schedules[0]])
        for name, engine in engines.items():
            relaxation = engine.relax(case.x, steps=SWEEPS)
            expected = oracle.relax(case.x, make_schedule(case.graph, name).classes, SWEEPS)
            for state, value in expected.items():
                assert apart(relaxation.states[state], value) <= 1e-9, (name, state)

    follow()
    assert not set(FEATURES) - set(drawn)
    assert all(counted[name] >= 60 for name in SCHEDULES)


@settings(ORACLE, max_examples=40)
@given(data=architectures())
def test_gradients_follow_the_oracle(data: dict[str, Any]) -> None:
    """All estimators, nudged phases and the pair arithmetic included, at a β that crosses kinks and arg-maxes."""
    case = Case(data)
    engines = {schedule: case.engine(schedule) for schedule in ("coloring", "synchronous")}
    oracle = case.oracle(engines["coloring"])
    for schedule, engine in engines.items():
        classes = make_schedule(case.graph, schedule).classes
        free = oracle.relax(case.x, classes, 12)
        # The oracle subtracts two nearly equal ∂Φ/∂θ, and where the gradient is tiny that rounding is all there is.
        contrasted = oracle.parameter_gradient(case.x, free)
        nudged = {sign: oracle.relax(case.x, classes, 6, free, case.y, sign * 0.2) for sign in (1, -1)}
        for estimator in ("centered", "positive", "negative"):
            engine.zero_grad(set_to_none=True)
            estimate = engine.backward(case.x, case.y, estimator=estimator, beta=0.2, free_steps=12, nudged_steps=6)
            expected = oracle.estimate(case.x, case.y, free, nudged, 0.2, estimator)
            for name, parameter in engine.named_parameters():
                assert parameter.grad is not None
                bar = 1e-8 * expected[name].norm() + 1e-14 / 0.2 * contrasted[name].norm()
                assert (parameter.grad - expected[name]).norm() <= bar, (schedule, estimator, name)
            torch.testing.assert_close(estimate.losses, oracle.cost(free, case.y), rtol=1e-9, atol=1e-12)
            for sign, seen in zip((1, -1) if estimator != "negative" else (-1,), estimate.nudged, strict=False):
                for state, value in nudged[sign].items():
                    assert apart(seen.states[state], value) <= 1e-9, (schedule, estimator, state)


@settings(ORACLE, max_examples=60)
@given(data=architectures())
def test_energies_follow_the_oracle(data: dict[str, Any]) -> None:
    case = Case(data)
    engine = case.engine("even_odd")
    oracle = case.oracle(engine)
    states = engine.relax(case.x, steps=4).states
    torch.testing.assert_close(engine.phi(case.x, states), oracle.phi(case.x, states), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(engine.energy(case.x, states), oracle.energy(case.x, states), rtol=1e-10, atol=1e-10)


@settings(ORACLE, max_examples=40)
@given(data=architectures())
def test_nudging_from_given_states(data: dict[str, Any]) -> None:
    case = Case(data)
    engine = case.engine("sequential")
    oracle = case.oracle(engine)
    classes = make_schedule(case.graph, "sequential").classes
    start = {name: torch.rand_like(s) for name, s in oracle.zeros(len(case.x)).items()}
    kept = {name: s.clone() for name, s in start.items()}
    made = engine.relax(case.x, start=start, steps=3, target=case.y, beta=-0.3)
    expected = oracle.relax(case.x, classes, 3, states=start, y=case.y, beta=-0.3)
    for name, value in expected.items():
        assert apart(made.states[name], value) <= 1e-9, name
        assert torch.equal(start[name], kept[name]), "the states given must not be written to"


def test_a_pooled_edge_into_the_input() -> None:
    """An edge may be declared towards the clamped input; with max pooling it is not constant."""
    case = Case(
        {
            "epgraph": 2,
            "input": {"shape": [2, 3, 3]},
            "output": {"classes": 3},
            "defaults": {"activation": "relu6"},
            "states": {"h": {"shape": [3, 6, 6]}, "g": {"shape": [4, 3, 3]}},
            "edges": [
                {"from": "h", "to": "x", "conv": {"kernel": 3, "padding": 1, "pool": "max"}},
                {"from": "g", "to": "x", "conv": {"kernel": 3, "padding": 1}},
                {"from": "h", "to": "g", "conv": {"kernel": 2, "stride": 2}},
                {"from": "g", "to": "y", "dense": {}},
            ],
        }
    )
    engine = case.engine("coloring")
    engine.backward(case.x, case.y, beta=0.1, free_steps=20, nudged_steps=10)
    classes = make_schedule(case.graph, "coloring").classes
    expected = case.oracle(engine).ep_gradient(case.x, case.y, classes, 20, 10, 0.1, estimator="centered")
    for name, parameter in engine.named_parameters():
        assert parameter.grad is not None
        assert apart(parameter.grad, expected[name]) <= 1e-9, name


SHALLOW = {
    "epgraph": 2,
    "input": {"shape": [2, 4, 4]},
    "output": {"classes": 3},
    "defaults": {"activation": "relu6"},
    "states": {"aside": {"shape": [4]}, "silent": {"shape": [3, 4, 4], "bias": False}},
    "edges": [
        {"from": "x", "to": "y", "dense": {}},
        {"from": "x", "to": "aside", "dense": {}},
        {"from": "x", "to": "silent", "skip": {}},
    ],
}


@pytest.mark.parametrize("estimator", ["centered", "positive", "negative"])
def test_states_that_only_the_input_drives(estimator: Any) -> None:
    """Nothing in such a sum moves, so the whole of it is hoisted."""
    case = Case(SHALLOW)
    engine = case.engine("coloring")
    estimate = engine.backward(case.x, case.y, beta=0.1, estimator=estimator, free_steps=5, nudged_steps=5, tolerance=0)
    classes = make_schedule(case.graph, "coloring").classes
    expected = case.oracle(engine).ep_gradient(case.x, case.y, classes, 5, 5, 0.1, estimator=estimator)
    for name, parameter in engine.named_parameters():
        assert parameter.grad is not None
        assert apart(parameter.grad, expected[name]) <= 1e-9, name
    assert all(len(s) == len(case.x) for s in estimate.nudged[0].states.values())


class Convolutions(TorchDispatchMode):
    """Counts convolutions by the number of channels that they read."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Passes ask for shapes with empty batches, which is no work.
        if function is torch.ops.aten.convolution.default and len(args[0]):
            self.count[args[0].shape[1]] += 1
        return function(*args, **(kwargs or {}))


def test_constants_are_computed_once_a_batch() -> None:
    """However many sweeps: one convolution of the input; of the states, one a term and sweep."""
    engine = ep.compile("examples/digits.yaml", backend="eager")
    terms = [t for updates in engine.plan.classes for u in updates for t in u.terms]
    # A max-pooled adjoint convolves twice: once for the arg-max.
    twice = [t.direction == "adjoint" and not t.edge.kind.is_linear for t in terms if t.edge.kind.name != "dense"]
    each = len(twice) + sum(twice)
    with Convolutions() as made:
        engine.relax(torch.rand(2, 1, 8, 8), steps=9)
    assert made.count.pop(1) == 1
    assert made.count.total() == each * 9


@pytest.mark.parametrize("backend", sorted(set(BACKENDS) - {"inductor", "triton"}))
def test_memory_does_not_grow_with_sweeps(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many states are alive after 25 sweeps as after 5: the engine keeps no history unless asked."""
    engine = ep.compile("examples/digits.yaml", backend=backend)
    made: dict[int, weakref.ref[Tensor]] = {}
    alive: list[int] = []

    def counted(steps: Any, values: dict[str, Any]) -> None:
        run(steps, values)
        made.update({id(v): weakref.ref(v) for v in values.values() if isinstance(v, Tensor)})
        if len(steps) > 1:  # a whole sweep
            alive.append(sum(reference() is not None for reference in made.values()))

    monkeypatch.setattr("epgraph.compiler.sweep.run", counted)
    x = torch.rand(2, 1, 8, 8)
    engine.relax(x, steps=30)
    assert len(alive) == 29  # the last one is taken step by step, with its residual
    assert max(alive[-6:-1]) == max(alive[5:10]) > 0
    recorded = engine.relax(x, steps=30, record=True)
    assert len(recorded.trajectory) == 30


@pytest.mark.parametrize("name", ["cuda", "cpu"])
def test_autograd_is_nowhere(name: str) -> None:
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    engine = ep.compile("examples/digits.yaml", device=name)
    x = torch.rand(2, 1, 8, 8, requires_grad=True)
    relaxed = engine.relax(x, steps=3)
    estimate = engine.backward(x.detach(), torch.tensor([1, 2]), free_steps=3, nudged_steps=2)
    for states in (relaxed.states, estimate.free.states, estimate.nudged[0].states):
        assert all(s.grad_fn is None and not s.requires_grad for s in states.values())
    assert all(p.grad is not None and p.grad.grad_fn is None for p in engine.parameters())
