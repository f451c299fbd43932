"""Solvers above plain sweeps: the same equilibrium, never a higher energy, and refused where that cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import epgraph as ep
from epgraph.cli import run
from epgraph.compiler import BACKENDS
from epgraph.learning_rules import ESTIMATORS
from epgraph.runtime.relaxation import Status
from epgraph.solvers import SOLVERS
from tests.helpers.case import apart
from tests.helpers.networks import RING, batch
from tests.helpers.topologies import random_batch, random_parameters


def by_default(name: str) -> Any:
    """A solver as a file writes it: with the example of every option that it requires, else by its name."""
    fields = SOLVERS[name].model_fields
    required = {option: (info.examples or [None])[0] for option, info in fields.items() if info.is_required()}
    return {name: required} if required else name


MIXING = [name for name, solver in SOLVERS.items() if solver.mixes]
"""Solvers that mix states: what is built in later is tested here by itself."""


def ring(activation: str = "relu6", **dynamics: Any) -> ep.Engine:
    data = {**RING, "defaults": {"activation": activation}, "dynamics": {"schedule": "coloring", **dynamics}}
    return ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("relu6", {"over_relaxation": 1.5}),
    ("relu6", {"over_relaxation": 0.6}),
    ("tanh", {"over_relaxation": 0.6}),
    *((activation, {"solver": by_default(name)}) for name in MIXING for activation in ("relu6", "tanh")),
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


@pytest.mark.parametrize("name", [name for name in MIXING if SOLVERS[name].accept is ep.Solver.accept])
def test_no_solver_ends_above_the_energy_of_its_sweep(name: str) -> None:
    """Far from a contraction mixing proposes states of higher energy; the safeguard takes the sweep instead."""
    engine = ring(solver=by_default(name))
    with torch.no_grad():
        for parameter in engine.parameters():
            parameter.mul_(3)
    x, _ = batch()
    relaxation = engine.relax(x, steps=60, record=True)
    energies = torch.stack([sweep.energy for sweep in relaxation.trajectory])
    assert (energies.diff(dim=0) <= 1e-9 * energies.abs().max()).all()


def gradients(engine: ep.Engine, estimator: Any) -> Tensor:
    x, y = batch()
    torch.manual_seed(0)  # of random signs
    with engine.aside() as found:
        engine.backward(x, y, estimator=estimator, free_steps=500, nudged_steps=500, tolerance=1e-14)
    return torch.cat([g.flatten() for g in found.values()])


@pytest.mark.parametrize("estimator", [name for name, rule in ESTIMATORS.items() if not rule.feedforward])
def test_every_estimator_finds_the_gradient_of_plain_sweeps(estimator: str) -> None:
    """Or it refuses a solver that mixes states, as its traits say."""
    rule = ESTIMATORS[estimator]
    expected = None
    for name in MIXING:
        engine = ring("tanh", solver=by_default(name))
        if rule.complex_states or rule.plain_sweeps:
            with pytest.raises(ep.EpgraphError, match=rf"dynamics\.solver.*{estimator}|{estimator}.*dynamics\.solver"):
                gradients(engine, estimator)
            continue
        expected = gradients(ring("tanh"), estimator) if expected is None else expected
        # Where parameters move from sweep to sweep, the gradient depends on the way.
        assert apart(gradients(engine, estimator), expected) <= (1e-4 if rule.changes_weights else 1e-8), name


@pytest.mark.parametrize("backend", [name for name, backend in BACKENDS.items() if not backend.compiled])
@pytest.mark.parametrize("name", MIXING)
def test_every_backend_computes_what_eager_does(name: str, backend: str) -> None:
    """In float32, at rest. ``inductor`` is left out: it compiles the sweep, which a solver does not change."""
    x, _ = batch()
    architecture = ring(solver=by_default(name)).architecture
    reason = BACKENDS[backend].unusable(ring().plan, torch.device("cpu"), torch.float32)
    if reason:
        pytest.skip(reason)
    one, other = (ep.compile(architecture, backend=b, seed=1).relax(x.float(), steps=40) for b in ("eager", backend))
    for state, expected in one.states.items():
        assert apart(other.states[state], expected) <= 1e-5, state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            ({"dynamics": {key: value}}, f"{key} cannot be used together with solver {{name}}")
            for key, value in (("flow", 0.1), ("noise", 0.1), ("state_bits", 4))
        ),
        ({"dynamics": {"anderson": 5}}, "anderson cannot be used together with solver"),
        ({"energy": "predictive"}, "solver {name} cannot be used: .* mixed sweeps need not descend"),
    ],
)
@pytest.mark.parametrize("name", MIXING)
def test_what_no_solver_that_mixes_states_goes_with(name: str, change: dict[str, Any], message: str) -> None:
    dynamics = {"solver": by_default(name), **change.get("dynamics", {})}
    with pytest.raises(ep.EpgraphError, match=message.format(name=name)):
        ep.compile(ep.Architecture.model_validate({**RING, **change, "dynamics": dynamics}))


@pytest.mark.parametrize("name", MIXING)
def test_no_solver_that_mixes_states_is_emitted(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(ep.to_yaml(ring(solver=by_default(name)).architecture), encoding="utf-8")
    assert run(["compile", str(path), "-o", str(tmp_path / "e.py")]) == 1
    said = capsys.readouterr().err
    assert f"and dynamics.solver is {name}; set dynamics.solver to plain" in said
    assert not (tmp_path / "e.py").exists()


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
