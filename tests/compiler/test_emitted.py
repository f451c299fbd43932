"""Emitted modules: torch alone runs them, and they give the engine's numbers to the bit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given

import epgraph as ep
from epgraph.compiler.export import module_text
from tests.helpers.case import Case
from tests.helpers.emitted import DRAWN, check, emitted
from tests.helpers.networks import OPTIONS, RING
from tests.helpers.topologies import architectures

BACKENDS = ("eager", "channels_last", "onednn")
EXAMPLES = ("examples/digits.yaml", "examples/mlp.yaml", "examples/vgg5.yaml")


@pytest.mark.parametrize("backend", BACKENDS)
@DRAWN
@given(data=architectures())
def test_random_networks_give_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, backend: str, data: dict[str, Any]
) -> None:
    case = Case(data)
    engine = ep.compile(case.architecture, dtype=torch.float32, schedule="even_odd", backend=backend)
    engine.load_state_dict({**engine.state_dict(), **case.parameters})
    folder = tmp_path_factory.mktemp("emitted")
    check(engine, folder, case.x.float(), case.y.float(), free_steps=6, nudged_steps=4, beta=0.2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_option_of_the_edge_kinds_gives_the_same_bits(tmp_path: Path, backend: str) -> None:
    case = Case(OPTIONS)
    engine = ep.compile(case.architecture, dtype=torch.float32, schedule="coloring", backend=backend)
    check(engine, tmp_path, case.x.float(), case.y.float(), free_steps=4, nudged_steps=3, beta=0.2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("file", EXAMPLES)
def test_examples_give_the_same_bits(tmp_path: Path, file: str, backend: str) -> None:
    engine = ep.compile(file, dtype=torch.float32, backend=backend)
    x = torch.rand(3, *engine.graph.input.shape, generator=torch.Generator().manual_seed(1))
    options = {"free_steps": 4, "nudged_steps": 3} if "vgg5" in file else {}
    check(engine, tmp_path, x, torch.tensor([1, 2, 0]), **options)


@pytest.mark.parametrize(
    "dynamics",
    [
        {"over_relaxation": 1.5},
        {"output_step": "closed_form"},
        {"tolerance": 1e-4},
        {"output_step": "closed_form", "over_relaxation": 0.7, "tolerance": 1e-3},
    ],
)
def test_solvers_and_tolerances_give_the_same_bits(tmp_path: Path, dynamics: dict[str, Any]) -> None:
    data = {**RING, "defaults": {"activation": "relu6"}, "dynamics": {"schedule": "coloring", **dynamics}}
    engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    check(engine, tmp_path, x, torch.tensor([0, 1, 2, 0]))


def test_half_precision_keeps_its_parameters(tmp_path: Path) -> None:
    engine = ep.compile("examples/digits.yaml", dtype=torch.bfloat16, backend="eager")
    x = torch.rand(2, 1, 8, 8)
    check(engine, tmp_path, x, torch.tensor([3, 4]), free_steps=3, nudged_steps=2)
    assert {g.dtype for g in emitted(engine, tmp_path).gradient(x, torch.tensor([3, 4])).values()} == {torch.float32}


def test_levels_that_print_alike_stay_apart(tmp_path: Path) -> None:
    """Both are 'relu1' in a diagram, and each has a function of its own."""
    data = {
        "epgraph": 2,
        "input": {"name": "x", "shape": [4]},
        "output": {"name": "y", "classes": 2},
        "states": {
            "a": {"shape": [3], "activation": {"relu": 1.0}},
            "b": {"shape": [3], "activation": {"relu": 1.0000001}},
        },
        "edges": [{"from": "x", "to": "a", "dense": {}}, {"from": "a", "to": "b", "dense": {}}]
        + [{"from": name, "to": "y", "dense": {}} for name in "ab"],
    }
    engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
    text = module_text(engine.machine)
    assert "1.0000001 - p" in text
    assert "1.0 - p" in text
    check(engine, tmp_path, torch.rand(2, 4, dtype=torch.float64), torch.tensor([0, 1]), free_steps=3, nudged_steps=2)


def test_it_runs_without_epgraph(tmp_path: Path) -> None:
    """In a fresh interpreter with no trace of the package, the same bits as here; and as a program."""
    engine = ep.compile("examples/digits.yaml", dtype=torch.float32, backend="onednn")
    x, y = torch.rand(3, 1, 8, 8), torch.tensor([1, 2, 0])
    (tmp_path / "engine.py").write_text(module_text(engine.machine), encoding="utf-8")
    torch.save({"parameters": engine.state_dict(), "x": x, "y": y}, tmp_path / "given.pt")
    code = (
        "import sys; sys.modules['epgraph'] = None; sys.path.insert(0, '.')\n"
        "import torch; from engine import Engine\n"
        "given = torch.load('given.pt'); made = Engine(given['parameters'])\n"
        "torch.save([made.relax(given['x']), made.gradient(given['x'], given['y'])], 'found.pt')\n"
        "assert [name for name in sys.modules if name.startswith('epgraph')] == ['epgraph']\n"
        "import runpy; runpy.run_path('engine.py', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True)
    states, gradient = torch.load(tmp_path / "found.pt")
    for name, state in engine.backward(x, y).free.states.items():
        assert torch.equal(states[name], state)
    for name, parameter in engine.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(gradient[name], parameter.grad)
    shown = done.stdout.splitlines()
    assert shown[0] == "digits (onednn, torch.float32): 4 random examples, at most 25 sweeps"
    assert [line.split()[0] for line in shown[1:]] == ["h1", "h2", "h3", "h4", "y", "mean", "gradient"]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    engine = ep.compile("examples/digits.yaml")
    made, parameters = emitted(engine, tmp_path), engine.state_dict()
    x = torch.rand(2, 1, 8, 8)
    with pytest.raises(ValueError, match="expects shape"):
        made.relax(x[:, :, 1:])
    with pytest.raises(ValueError, match="start: state 'h1' has shape"):
        made.relax(x, start={"h1": torch.zeros(3, 32, 4, 4)})
    with pytest.raises(ValueError, match=r"start: no state that moves: h9, x$"):
        made.relax(x, start={"h9": torch.zeros(2, 32, 4, 4), "x": x})
    with pytest.raises(ValueError, match=r"input 'x' expects floating-point numbers, found torch\.complex64"):
        made.relax(x + 1j)
    with pytest.raises(ValueError, match="expected 2 integer labels or targets"):
        made.gradient(x, torch.zeros(2))
    with pytest.raises(ValueError, match=r"expected labels or targets, found torch\.bool"):
        made.gradient(x, torch.tensor([True, False]))
    with pytest.raises(ValueError, match="without a nudged sweep every gradient would be zero"):
        made.gradient(x, torch.tensor([1, 2]), nudged_steps=0)
    with pytest.raises(ValueError, match=r"missing or unknown: edges\.x_h1\.weight$"):
        type(made)({name: value for name, value in parameters.items() if name != "edges.x_h1.weight"})
    with pytest.raises(ValueError, match=r"parameter 'states\.y\.bias' has shape \(3,\), expected \(10,\)"):
        type(made)({**parameters, "states.y.bias": torch.zeros(3)})


def test_the_states_given_are_left_alone(tmp_path: Path) -> None:
    made = emitted(ep.compile("examples/digits.yaml", dtype=torch.float32, backend="onednn"), tmp_path)
    x = torch.rand(2, 1, 8, 8)
    states = made.relax(x, steps=2)
    before = {name: state.clone() for name, state in states.items()}
    made.relax(x, start=states, steps=2)
    made.gradient(x, torch.tensor([0, 1]), start=states)
    assert all(torch.equal(states[name], state) for name, state in before.items())


def test_anderson_is_refused_with_the_alternative() -> None:
    data = {**ep.load("examples/digits.yaml").to_dict(), "dynamics": {"anderson": 5}}
    engine = ep.compile(ep.Architecture.model_validate(data))
    with pytest.raises(ep.EpgraphError, match=r"no Anderson acceleration.* is 5; set dynamics\.anderson to 0"):
        module_text(engine.machine)
