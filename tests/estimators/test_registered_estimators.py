"""Estimators of the user's own: a function and its traits, used by engines, files and commands as built-in ones are."""

from __future__ import annotations

import json
import re
from math import log2
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.estimators import ESTIMATORS, Estimate, GradientTask
from epgraph.testing.oracle import Reference
from tests.helpers.networks import RING, batch
from tests.helpers.qualified import error
from tests.helpers.snippets import plugins, registered

NAME = registered("estimator")
PLUGIN = plugins()[NAME]
"""The example of docs/extending.md: the centered difference of fourth order."""

TANH: dict[str, Any] = {**RING, "defaults": {"activation": "tanh"}, "dynamics": {"schedule": "coloring"}}


def network(**learning: Any) -> ep.Engine:
    return ep.compile(ep.Architecture.model_validate({**TANH, "learning": learning}), dtype=torch.float64)


def test_a_difference_of_fourth_order_has_an_error_of_beta_to_the_fourth() -> None:
    exec(PLUGIN, {})
    engine = network(estimator=NAME)
    x, y = batch()
    errors: dict[str, list[float]] = {NAME: [], "centered": []}
    for name, measured in errors.items():
        for beta in (0.1, 0.05):
            engine.zero_grad()
            estimate = engine.backward(
                x, y, estimator=name, beta=beta, free_steps=500, nudged_steps=500, tolerance=1e-14
            )
            exact = Reference(engine.graph, engine.state_dict()).implicit_gradient(
                x, torch.nn.functional.one_hot(y, 3).double(), estimate.free.states
            )
            gradients = {n: p.grad for n, p in engine.named_parameters() if p.grad is not None}
            measured.append(error(*(torch.cat([g[n].flatten() for n in exact]) for g in (gradients, exact))))
    orders = {name: log2(first / second) for name, (first, second) in errors.items()}
    assert orders == pytest.approx({NAME: 4, "centered": 2}, abs=0.15)


def test_traits_decide_what_is_said_and_refused() -> None:
    def compute(task: GradientTask) -> Estimate:
        return ESTIMATORS["positive"](task)  # type: ignore[no-any-return]

    ep.register_estimator("mine", ep.Estimator(compute), reads=frozenset({"nudged_steps"}), needs_symmetric=True)
    architecture = ep.load(json.dumps({**TANH, "learning": {"estimator": "mine"}}))
    assert architecture.learning.estimator == "mine"
    with pytest.raises(ep.EpgraphError, match="estimator mine cannot be used: it contrasts energies"):
        network(estimator="mine", feedback="untied")
    with pytest.raises(ep.EpgraphError, match="estimator 'mine' cannot run inside autograd"):
        ep.Equilibrium(network(estimator="mine"))
    with pytest.raises(ep.EpgraphError, match=r"'estimator' expects .* found text 'mime'; did you mean 'mine'\?"):
        ep.load(json.dumps({**TANH, "learning": {"estimator": "mime"}}))


def test_options_reach_the_estimator_and_are_checked() -> None:
    seen: list[dict[str, Any]] = []

    def compute(task: GradientTask) -> Estimate:
        seen.append(dict(task.options))
        free = task.free_phase()
        return task.estimate(free, task.nudged_phase(task.nudge, free))

    ep.register_estimator("mine", compute, options={"depth": 3})
    engine, (x, y) = network(estimator="mine", points=6), batch()
    engine.backward(x, y)
    engine.backward(x, y, depth=5, points=8, truncation=2)
    assert [(o["depth"], o["points"], o["truncation"]) for o in seen] == [(3, 6, None), (5, 8, 2)]
    with pytest.raises(ep.EpgraphError, match="estimator 'mine' has no option 'dept'; did you mean 'depth'"):
        engine.backward(x, y, dept=4)
    with pytest.raises(ep.EpgraphError, match="truncation"):
        engine.backward(x, y, truncation=0)


@pytest.mark.parametrize(
    ("name", "value", "traits", "message"),
    [
        ("centered", len, {}, "'centered' cannot be registered: it is built in"),
        ("no name", len, {}, "'no name' cannot be registered: it is not a name"),
        ("mine", 3, {}, "'mine' cannot be registered: expected a function of a GradientTask, found 3"),
        ("mine", len, {"eror": ""}, "an Estimator has no trait 'eror'; did you mean 'error'?"),
        (
            "mine",
            len,
            {"options": {"points": 3}},
            "its option 'points' is a key of learning; name it in 'reads' instead",
        ),
    ],
)
def test_what_cannot_be_registered(name: str, value: Any, traits: dict[str, Any], message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        ep.register_estimator(name, value, **traits)


def test_what_returns_no_estimate_is_named() -> None:
    ep.register_estimator("mine", lambda task: None)
    with pytest.raises(ep.EpgraphError, match="estimator 'mine' returns None: expected an Estimate"):
        network(estimator="mine").backward(*batch())


def test_the_bridge_runs_it_for_any_loss() -> None:
    """For the squared error, whose force is not constant, an estimator of higher order is the better one."""
    exec(PLUGIN, {})
    engine, (x, _) = network(), batch()
    apart = {}
    for name in ("implicit", NAME, "centered"):
        layer = ep.Equilibrium(engine, estimator=name, beta=0.3, free_steps=500, nudged_steps=500, tolerance=1e-13)
        engine.zero_grad()
        layer(x).sin().sum().backward()
        apart[name] = torch.cat([p.grad.flatten() for p in engine.parameters() if p.grad is not None])
    off = {name: error(apart[name], apart["implicit"]) for name in (NAME, "centered")}
    assert off[NAME] < 0.1 * off["centered"] < 0.1


def test_commands_take_it_from_a_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(PLUGIN, encoding="utf-8")
    data = {
        "epgraph": 2,
        "input": {"shape": [1, 8, 8]},
        "output": {"classes": 10},
        "states": {"h": {"shape": [16], "activation": "tanh"}},
        "edges": [{"from": "x", "to": "h", "dense": {}}, {"from": "h", "to": "y", "dense": {}}],
        "learning": {"estimator": NAME, "beta": 0.2},
        "dynamics": {"free_steps": 40, "nudged_steps": 40},
        "training": {"epochs": 1},
    }
    Path("net.yaml").write_text(json.dumps(data), encoding="utf-8")
    assert run(["check", "net.yaml"]) == 1
    assert "'estimator' expects 'centered', " in capsys.readouterr().err
    assert run(["check", "net.yaml", "--plugin", "mine.py"]) == 0
    assert "with an error of O(β⁴)" in capsys.readouterr().out
    assert run(["gradcheck", "net.yaml", "--plugin", "mine.py"]) == 0
    assert f"the gradient of '{NAME}' at beta = 0.2 with 40 nudged sweeps is right to" in capsys.readouterr().out
    assert run(["train", "net.yaml", "--data", "digits", "--limit", "64", "--out", "run", "--plugin", "mine.py"]) == 0
    Path("broken.py").write_text(PLUGIN.replace("free, phase[1]", "free, phase[7]"), encoding="utf-8")
    capsys.readouterr()
    assert run(["gradcheck", "net.yaml", "--plugin", "broken.py"]) == 1
    assert f"estimator '{NAME}': five_point raises KeyError: 7" in capsys.readouterr().err
