"""F = Σ Gₙ(sₙ) − Φ never rises under a proper coloring; under synchronous updates it may."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import torch
from hypothesis import given, settings

import epgraph as ep
from epgraph.runtime.relaxation import Status
from tests.helpers.case import ORACLE, Case
from tests.helpers.topologies import architectures

UPDATES = 100
"""Some 25 sweeps: most of these networks have come to rest by then."""


def energies(case: Case, updates: int) -> tuple[torch.Tensor, ...]:
    """F per example before and after each update of one class of a colored sweep."""
    engine = case.engine("coloring")
    plan = engine.plan
    assert plan.schedule.proper
    states: dict[str, torch.Tensor] = {
        n: s for n, s in engine.executor.inputs.start(case.x, None).items() if n in case.graph.free
    }
    # tanh starts inside its range, ReLU in its box: zeros are in both; the logistic takes one half.
    for name in states:
        if case.graph.states[name].activation.label == "logistic":
            states[name] = states[name] + 0.5
    alone = [ep.Engine(dataclasses.replace(plan, classes=(part,)), dtype=torch.float64) for part in plan.classes]
    for one in alone:
        one.load_state_dict(engine.state_dict())
    passed = [states]
    for update in range(updates):
        number = update % len(alone)
        before, states = states, alone[number].relax(case.x, start=states, steps=1).states
        for name, s in states.items():  # the others are left where they were
            assert name in plan.schedule.classes[number] or torch.equal(s, before[name])
        passed.append(states)
    # All at once, as one batch: F is of each example.
    together = {name: torch.cat([states[name] for states in passed]) for name in states}
    return engine.energy(torch.cat([case.x] * len(passed)), together).chunk(len(passed))


def assert_energy_never_rises(data: dict[str, Any]) -> None:
    for before, after in pairwise(energies(Case(data), UPDATES)):
        if not bool(after.isfinite().all()) or bool((after.abs() > 1e12).any()):
            break  # unbounded states (identity) may run away, downhill all the way
        assert bool((after - before <= 1e-12 * before.abs().clamp_min(1)).all())


@settings(ORACLE, max_examples=60)
@given(data=architectures(pool_max=False, gain=(0.5, 2.0)))
def test_energy_never_rises_under_coloring(data: dict[str, Any]) -> None:
    assert_energy_never_rises(data)


@settings(ORACLE, max_examples=30)
@given(data=architectures(smooth=True, gain=(0.5, 1.5)))
def test_energy_never_rises_with_smooth_activations(data: dict[str, Any]) -> None:
    assert_energy_never_rises(data)


def test_synchronous_updates_can_raise_the_energy() -> None:
    """Two ReLU6 states with w = −2, both at 1: alone each would go to 0; together both do, and back again.

    F(1, 1) = ½ + ½ + 2 − 2b; with b = 4 both pre-activations at (0, 0) are 4, at (4, 4) they are −4.
    """
    text = """\
epgraph: 2
input: {shape: [1]}
output: {classes: 1, activation: relu6}
defaults: {activation: relu6}
states: {h: {shape: [1]}}
edges:
  - {from: x, to: h, dense: {}, name: feed}
  - {from: h, to: y, dense: {}, name: couple}
"""
    rises = {}
    for schedule in ("synchronous", "coloring"):
        engine = ep.compile(text, dtype=torch.float64, schedule=schedule)
        values = {
            "edges.feed.weight": 0.0,
            "edges.couple.weight": -2.0,
            "states.h.bias": 4.0,
            "states.y.bias": 4.0,
        }
        engine.load_state_dict({n: torch.full_like(p, values[n]) for n, p in engine.state_dict().items()})
        x = torch.zeros(1, 1)
        start = {"h": torch.zeros(1, 1), "y": torch.zeros(1, 1)}
        trajectory = engine.relax(x, start=start, steps=20, record=True).trajectory
        trace = torch.stack(
            [engine.energy(x, {n: s.double() for n, s in start.items()})] + [s.energy for s in trajectory]
        )
        rises[schedule] = float((trace[1:] - trace[:-1]).max())
    # (0, 0) → (4, 4) has F = 2·(8 − 16) + 32 = 16, up from 0.
    assert rises["synchronous"] == 16.0
    assert rises["coloring"] <= 1e-12


def test_record_keeps_energy_residual_and_states_of_every_sweep() -> None:
    engine = ep.compile("examples/digits.yaml", dtype=torch.float64)
    x = torch.rand(3, 1, 8, 8)
    relaxation = engine.relax(x, steps=7, record=True)
    assert len(relaxation.trajectory) == 7
    for i, sweep in enumerate(relaxation.trajectory, 1):
        again = engine.relax(x, steps=i)
        assert sweep.residual == again.residual
        torch.testing.assert_close(sweep.energy, engine.energy(x, again.states))
        for name, state in again.states.items():
            assert torch.equal(sweep.states[name], state)


def test_tolerance_stops_early_and_status_says_so() -> None:
    engine = ep.compile("examples/digits.yaml", dtype=torch.float64)
    x = torch.rand(2, 1, 8, 8)
    settled = engine.relax(x, steps=2000, tolerance=1e-10)
    assert settled.status is Status.CONVERGED
    assert settled.residual <= 1e-10
    assert settled.steps < 2000
    assert engine.relax(x, start=settled.states, steps=1).residual <= 1e-10
    assert engine.relax(x, steps=3, tolerance=1e-10).status is Status.OUT_OF_STEPS
    assert engine.relax(x, steps=3).status is Status.FIXED_STEPS


def test_divergence_is_a_status_that_names_the_states() -> None:
    text = """\
epgraph: 2
input: {shape: [2]}
output: {classes: 2}
defaults: {activation: identity, gain: 20}
states: {a: {shape: [4]}, b: {shape: [4]}}
edges:
  - {from: x, to: a, dense: {}}
  - {from: a, to: b, dense: {}}
  - {from: b, to: y, dense: {}}
"""
    engine = ep.compile(text)
    relaxation = engine.relax(torch.rand(2, 2), steps=200, tolerance=1e-6)
    assert relaxation.status is Status.DIVERGED
    assert "a" in relaxation.diverged
    assert set(relaxation.diverged) <= {"a", "b", "y"}
