"""Solvers above plain sweeps: the same equilibrium, never a higher energy, and refused where that cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import epgraph as ep
from epgraph.cli import run
from epgraph.runtime.relaxation import Status
from tests.helpers.case import apart
from tests.helpers.networks import RING, batch
from tests.helpers.topologies import random_batch, random_parameters


def ring(activation: str = "relu6", **dynamics: Any) -> ep.Engine:
    data = {**RING, "defaults": {"activation": activation}, "dynamics": {"schedule": "coloring", **dynamics}}
    return ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("relu6", {"over_relaxation": 1.5}),
    ("relu6", {"over_relaxation": 0.6}),
    ("tanh", {"over_relaxation": 0.6}),
    ("relu6", {"anderson": 4}),
    ("tanh", {"anderson": 4}),
    ("relu6", {"output_step": "closed_form"}),
    ("relu6", {"output_step": "closed_form", "over_relaxation": 1.5}),
]


@pytest.mark.parametrize(("activation", "dynamics"), SETTINGS)
def test_every_solver_finds_the_equilibrium_of_plain_sweeps(activation: str, dynamics: dict[str, Any]) -> None:
    """Free and nudged, through the gradient: in float64 to rounding."""
    x, y = batch()
    plain, solver = ring(activation), ring(activation, **dynamics)
    expected = plain.backward(x, y, free_steps=2000, nudged_steps=2000, tolerance=1e-15)
    found = solver.backward(x, y, free_steps=2000, nudged_steps=2000, tolerance=1e-14)
    assert found.free.status is Status.CONVERGED
    for name, state in expected.free.states.items():
        assert apart(found.free.states[name], state) <= 1e-10, name
    for p, q in zip(solver.parameters(), plain.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert apart(p.grad, q.grad) <= 1e-8


@pytest.mark.parametrize("dynamics", [{"over_relaxation": 1.5}, {"anderson": 4}])
def test_solvers_need_fewer_sweeps(dynamics: dict[str, Any]) -> None:
    """On a network that plain sweeps settle slowly: what they are for. Deterministic counts, not timings."""
    x, _ = batch()
    plain = ring().relax(x, steps=5000, tolerance=1e-10).steps
    assert plain > 40
    assert ring(**dynamics).relax(x, steps=5000, tolerance=1e-10).steps <= 0.7 * plain


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(omega=st.floats(0.05, 1.99), seed=st.integers(0, 10_000))
def test_over_relaxation_never_raises_the_energy(omega: float, seed: int) -> None:
    """Projected SOR on a box: F falls for every 0 < ω < 2, whatever the weights; also where nothing converges."""
    engine = ring(over_relaxation=omega)
    generator = torch.Generator().manual_seed(seed)
    parameters = random_parameters(engine.graph, generator)
    engine.load_state_dict({**engine.state_dict(), **{k: 2 * v for k, v in parameters.items()}})
    x, _ = random_batch(engine.graph, generator)
    relaxation = engine.relax(x, steps=12, record=True)
    energies = torch.stack(
        [engine.energy(x, {n: torch.zeros_like(s) for n, s in relaxation.states.items()})]
        + [sweep.energy for sweep in relaxation.trajectory]
    )
    assert (energies.diff(dim=0) <= 1e-9 * energies.abs().max()).all()


def test_anderson_never_ends_above_the_energy_of_its_sweep() -> None:
    """Far from a contraction mixing proposes states of higher energy; the safeguard takes the sweep instead."""
    engine = ring(anderson=5)
    with torch.no_grad():
        for parameter in engine.parameters():
            parameter.mul_(3)
    x, _ = batch()
    relaxation = engine.relax(x, steps=60, record=True)
    energies = torch.stack([sweep.energy for sweep in relaxation.trajectory])
    assert (energies.diff(dim=0) <= 1e-9 * energies.abs().max()).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"dynamics": {"over_relaxation": 1.5}},
            "schedule 'even_odd' moves .* at the same time; use schedule: coloring",
        ),
        (
            {"dynamics": {"over_relaxation": 1.5, "schedule": "coloring"}, "defaults": {"activation": "tanh"}},
            "state 'a' has the activation tanh.*mixes states.*solver: anderson",
        ),
        ({"dynamics": {"over_relaxation": 1.5, "anderson": 5, "schedule": "coloring"}}, "cannot be used together"),
        (
            {
                "dynamics": {"output_step": "closed_form"},
                "output": {"name": "y", "classes": 3, "cost": "cross_entropy"},
            },
            "needs the squared error and a linear output; 'y' has cross_entropy",
        ),
        ({"dynamics": {"output_step": "closed_form"}, "learning": {"beta": 1.0}}, "beta below 1"),
    ],
)
def test_solvers_that_cannot_be_used_are_refused_with_the_alternative(change: dict[str, Any], message: str) -> None:
    edges = [*RING["edges"], {"from": "b", "to": "d", "skip": {"stride": 2}}]
    with pytest.raises(ep.EpgraphError, match=message):
        ep.compile(ep.Architecture.model_validate({**RING, "edges": edges, **change}))


def test_over_relaxation_is_refused_on_max_pooling() -> None:
    architecture = ep.load("examples/vgg5.yaml")
    data = {**architecture.to_dict(), "dynamics": {"over_relaxation": 1.2, "schedule": "coloring"}}
    for use in (ep.compile, lambda a: ep.load(ep.to_yaml(a))):
        with pytest.raises(ep.EpgraphError, match=r"edge 'h1_h2' .* is not linear"):
            use(ep.Architecture.model_validate(data))


def test_a_schedule_given_to_compile_takes_the_place_of_the_one_in_the_file(tmp_path: Path) -> None:
    """What is refused under the schedule of the file is not where another one is asked for, and the other way round."""
    path = tmp_path / "net.yaml"
    edges = [*RING["edges"], {"from": "b", "to": "d", "skip": {"stride": 2}}]
    data = {**RING, "edges": edges, "dynamics": {"over_relaxation": 1.5}}
    path.write_text(ep.to_yaml(ep.Architecture.model_validate(data)))
    with pytest.raises(ep.EpgraphError, match="use schedule: coloring"):
        ep.load(path)
    for what in (path, ep.Architecture.model_validate(data)):
        assert ep.compile(what, schedule="coloring").plan.schedule.name == "coloring"
    proper = ep.load(path, ["dynamics.schedule=coloring"])
    with pytest.raises(ep.EpgraphError, match="use schedule: coloring"):
        ep.compile(proper, schedule="synchronous")
    for command in (["check"], ["render", "-o", str(tmp_path / "net.dot")], ["compile", "-o", str(tmp_path / "e.py")]):
        assert run([command[0], str(path), *command[1:]]) == 1
        assert run([command[0], str(path), *command[1:], "--schedule", "coloring"]) == 0
