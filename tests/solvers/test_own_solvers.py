"""Solvers by name: those that are built in, the keys of earlier versions, and the documentation's own as a plugin."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.cli import run
from epgraph.graph import guaranteed
from epgraph.runtime.relaxation import Status
from epgraph.solvers import SOLVERS
from tests.helpers.case import Case, apart
from tests.helpers.networks import RING
from tests.helpers.snippets import plugins, registered
from tests.helpers.topologies import random_architecture

OWN = registered("solver")
"""Name of the documentation's solver."""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The documentation's solver as a file, beside a network that uses it."""
    text = plugins()[OWN]
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(text, encoding="utf-8")
    Path("net.yaml").write_text(ep.to_yaml(network("plain")), encoding="utf-8")
    return text


def network(solver: Any = None, **dynamics: Any) -> ep.Architecture:
    chosen = {} if solver is None else {"solver": solver}
    return ep.Architecture.model_validate({**RING, "dynamics": {"schedule": "coloring", **chosen, **dynamics}})


def register(text: str) -> type[ep.Solver]:
    exec(text, {"__name__": OWN})
    return SOLVERS[OWN]


def test_a_solver_of_ones_own_finds_the_fixed_point_of_the_oracle_in_fewer_sweeps(
    plugin: str, note: Callable[[str], None]
) -> None:
    """Heavy-ball momentum on random networks that plain sweeps settle; counts of sweeps, not timings.

    The gains are low: a network that has several equilibria may end in another one, as it may under any solver.
    """
    register(plugin)
    rng, sweeps = random.Random(0), {"plain": 0, OWN: 0}
    settled = 0
    while settled < 12:
        data = random_architecture(rng, gain=(0.2, 0.6))
        found, case = {}, None
        for solver in sweeps:
            case = Case({**data, "dynamics": {"schedule": "coloring", "solver": solver}}, settled)
            engine = case.engine("coloring")
            found[solver] = engine.relax(case.x, steps=300, tolerance=1e-12)
            if found["plain"].status is not Status.CONVERGED:
                break
        else:
            assert case is not None
            settled += 1
            heavy = found[OWN]
            assert heavy.status is Status.CONVERGED
            oracle = case.oracle(engine)
            expected = oracle.relax(case.x, engine.plan.schedule.classes, found["plain"].steps)
            for name, state in expected.items():
                assert apart(heavy.states[name], state) <= 1e-9, name
            assert oracle.residual(case.x, heavy.states) <= 1e-10
            for solver, relaxation in found.items():
                sweeps[solver] += relaxation.steps
    note(f"solvers: {sweeps['plain']} plain sweeps to 1e-12 on {settled} networks, {sweeps[OWN]} of {OWN}")
    assert sweeps[OWN] <= 0.85 * sweeps["plain"]


def test_no_proposal_raises_the_energy(plugin: str) -> None:
    """Far from a contraction, with a momentum that overshoots; the same without the safeguard does rise."""
    heavy = register(plugin)

    class Reckless(heavy):  # type: ignore[misc, valid-type]
        def accept(self, proposed: Tensor, swept: Tensor) -> Tensor:
            return torch.ones_like(proposed, dtype=torch.bool)

    ep.register_solver("reckless", Reckless)
    rises = {}
    for name in (OWN, "reckless"):
        architecture = network({name: 0.95})
        engine = ep.compile(architecture, dtype=torch.float64)
        with torch.no_grad():
            for parameter in engine.parameters():
                parameter.mul_(3)
        x = torch.randn(4, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        trajectory = engine.relax(x, steps=60, record=True).trajectory
        energies = torch.stack([sweep.energy for sweep in trajectory])
        rises[name] = float(energies.diff(dim=0).max() / energies.abs().max())
    assert rises[OWN] <= 1e-9
    assert rises["reckless"] > 1e-6
    said = {name: "\n".join(guarantees(name)) for name in rises}
    assert "free phase: F never rises" in said[OWN]
    assert "F may rise: reckless may use states of higher energy" in said["reckless"]
    assert f"{OWN} watches the energy in the free phase alone" in said[OWN]


def guarantees(solver: str) -> list[str]:
    engine = ep.compile(network(solver))
    return guaranteed(engine.graph, engine.plan.schedule)


def test_a_plugin_brings_a_solver_to_every_command(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``check`` names it, ``schema`` and ``expand`` have its options, and what mixes states is not exported."""
    chosen = ["--plugin", "own.py", "--set", f"dynamics.solver={{{OWN}: {{momentum: 0.5}}}}"]
    assert run(["check", "net.yaml", *chosen]) == 0
    assert f"\nsolver      {OWN} (momentum 0.5)\n" in capsys.readouterr().out
    assert run(["check", "net.yaml", *chosen, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["solver"] == {OWN: {"momentum": 0.5}}
    assert run(["schema", "--plugin", "own.py"]) == 0
    assert f'"{OWN}"' in capsys.readouterr().out
    assert run(["compile", "net.yaml", "-o", "e.py", *chosen]) == 1
    refused = f"an emitted module has no {OWN}, and dynamics.solver is {OWN}; set dynamics.solver to plain"
    assert refused in capsys.readouterr().err
    for value, message in (
        (f"{{{OWN}: {{momentun: 1}}}}", "unknown key 'momentun'; did you mean 'momentum'?"),
        (f"{{{OWN}: 1}}", "'momentum' must be < 1, found 1"),
        (OWN[:-1], f"did you mean '{OWN}'?"),
    ):
        assert run(["check", "net.yaml", *chosen[:2], "--set", f"dynamics.solver={value}"]) == 1
        assert message in capsys.readouterr().err


SAME: list[tuple[Any, dict[str, Any]]] = [
    ("plain", {}),
    ({"over_relaxed": 1.5}, {"over_relaxation": 1.5}),
    ({"over_relaxed": {"factor": 0.6}}, {"over_relaxation": 0.6}),
    ("anderson", {"anderson": 5}),
    ({"anderson": 3}, {"anderson": 3}),
]


@pytest.mark.parametrize(("solver", "old"), SAME)
def test_the_keys_of_earlier_versions_mean_the_same(solver: Any, old: dict[str, Any]) -> None:
    new, before = network(solver), network(**old)
    assert new.dynamics.chosen_solver == before.dynamics.chosen_solver
    for architecture in (new, before):
        assert ep.load(ep.to_yaml(architecture)) == architecture
        assert ep.Architecture.model_validate(architecture.to_dict(complete=True)) == architecture
    x = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(0)
    engine = ep.compile(new)
    other = ep.compile(before)
    other.load_state_dict(engine.state_dict())
    one, two = (e.relax(x, steps=12).states for e in (engine, other))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("dynamics", "message"),
    [
        ("solver: plain, anderson: 5", r":57: anderson cannot be used together with solver; leave one of them out"),
        ("solver: {anderson: 5}, over_relaxation: 1.5", "over_relaxation cannot be used together with solver"),
        ("solver: andersn", "'solver' expects .*'anderson'.*, found text 'andersn'; did you mean 'anderson'"),
        ("solver: {anderson: 5, plain: {}}", "'solver' holds exactly one solver, found 2"),
        ("solver: {anderson: 500}", "'memory' must be ≤ 50, found 500"),
        ("solver: over_relaxed", "missing key 'factor'; e.g. factor: 1.5"),
        ("solver: {anderson: 5}, flow: 0.1", "flow cannot be used together with solver anderson"),
        ("solver: {over_relaxed: 1.5}, flow: 0.1", "flow cannot be used together with solver over_relaxed"),
        ("solver: {anderson: 5}, noise: 0.1", "noise cannot be used together with solver anderson, which would mix"),
        ("solver: {over_relaxed: 1.5}, schedule: synchronous", "solver over_relaxed cannot be used: schedule 'sync"),
    ],
)
def test_what_is_wrong_is_said_at_the_key(dynamics: str, message: str) -> None:
    schedule = "" if "schedule" in dynamics else "schedule: coloring, "
    text = (
        "epgraph: 2\ninput: {shape: [4]}\noutput: {classes: 3}\nstates: {h: {shape: [5]}}\n"
        "edges: [{from: x, to: h, dense: {}}, {from: h, to: y, dense: {}}]\n"
        f"dynamics: {{{schedule}{dynamics}}}\n"
    )
    with pytest.raises(ep.EpgraphError, match=message):
        ep.load(text)


class Unwilling(ep.Solver):
    """Does without a network that has more than one state that moves."""

    weight: int = 1

    def refusals(self, network: Any, schedule: Any) -> Iterator[tuple[str, str]]:
        if len(network.dynamic) > self.weight:
            yield f"{len(network.dynamic)} states move", "write fewer"


def test_a_solver_refuses_networks_before_torch_is_needed() -> None:
    ep.register_solver("unwilling", Unwilling)
    with pytest.raises(ep.EpgraphError, match="solver unwilling cannot be used: 5 states move; write fewer"):
        ep.load(ep.to_yaml(network("unwilling")))
    assert ep.compile(network({"unwilling": 5})).architecture.dynamics.chosen_solver == Unwilling(weight=5)


class Wrong(ep.Solver):
    """Does not return what a solver returns."""

    mixes: ClassVar[bool] = True
    how: str = "tuple"

    def step(self, memory: Any, before: Tensor, after: Tensor) -> Any:
        return after if self.how == "tuple" else (memory, after[:, 1:])


def test_wrong_solvers_are_named() -> None:
    for name, cls, message in (
        ("anderson", Wrong, "it is built in"),
        ("wrong solver", Wrong, "it is not a name"),
        ("wrong", Wrong(), "pass the class Wrong"),
        ("wrong", dict, "expected a class derived from Solver"),
    ):
        with pytest.raises(ep.EpgraphError, match=message):
            ep.register_solver(name, cls)  # type: ignore[arg-type]
    ep.register_solver("wrong", Wrong)
    with pytest.raises(ep.EpgraphError, match="has the name 'wrong'; derive a class from it"):
        ep.register_solver("again", Wrong)
    x = torch.zeros(2, 2, 6, 6)
    for how, message in (
        ("tuple", "solver 'wrong': step returns .*expected what to remember, and a tensor or None"),
        ("shape", "solver 'wrong' proposes states of shape .* in place of"),
    ):
        with pytest.raises(ep.EpgraphError, match=message):
            ep.compile(network({"wrong": how})).relax(x, steps=3)
