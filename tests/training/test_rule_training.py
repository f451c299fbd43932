"""Every rule through the command line: trained, resumed, and what check and compile say of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.estimators import ESTIMATORS
from epgraph.training import load_checkpoint
from tests.helpers.runs import lines, same, stopped_after, train

NET = """\
epgraph: 2
name: ruled
input:  {name: x, shape: [1, 8, 8]}
output: {name: y, classes: 10}
defaults: {activation: tanh, gain: 1.0}
states:
  h1: {channels: 4}
  h2: {channels: 6}
edges:
  - {from: x,  to: h1, conv: {kernel: 3, padding: 1, pool: max}}
  - {from: h1, to: h2, conv: {kernel: 3, padding: 1, stride: 2}, learning_rate: 0.02}
  - {from: h2, to: y,  dense: {}}
dynamics: {free_steps: 6, nudged_steps: 3}
learning: {beta: 0.2}
training: {batch_size: 20, learning_rate: 0.05}
"""
FEW = ("--limit", "50")


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(NET)
    return path


@pytest.mark.parametrize("setting", [f"estimator={name}" for name in ESTIMATORS] + ["feedback=untied"])
def test_every_rule_trains_and_resumes(
    setting: str, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut within its second epoch and resumed, a run ends where the whole one does, to the bit."""
    options = (*FEW, "--set", f"learning.{setting}", "--epochs", "2")
    assert train(net, tmp_path / "whole", *options) == 0
    with stopped_after(monkeypatch, 4):  # the first batch of the second epoch
        assert train(net, tmp_path / "cut", *options) == 130
    assert train(net, tmp_path / "cut", *options, "--resume") == 0
    assert same(tmp_path / "whole", tmp_path / "cut")
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")
    energies = [json.loads(line)["energy"] for line in (tmp_path / "cut" / "batches.jsonl").read_text().splitlines()]
    rule = ESTIMATORS.get(setting.removeprefix("estimator="))
    none = rule is None or rule.feedforward  # untied feedback has no F, and here no state relaxes
    assert all((energy is None) == none for energy in energies)


def test_feedback_weights_learn_at_the_rate_of_their_edge(net: Path, tmp_path: Path) -> None:
    options = (*FEW, "--set", "learning.feedback=untied", "--epochs", "1", "--set", "training.momentum=0.0")
    options = (*options, "--set", "training.nesterov=false", "--set", "training.weight_decay=0.0")
    assert train(net, tmp_path / "run", *options) == 0
    engine = ep.compile(ep.load(net, ["learning.feedback=untied"]))
    after = load_checkpoint(tmp_path / "run")["model"]
    for name, start in engine.state_dict().items():
        if name.endswith(".feedback"):
            weight = name.replace(".feedback", ".weight")
            moved = after[weight] - engine.state_dict()[weight]
            torch.testing.assert_close(after[name] - start, moved, rtol=1e-4, atol=1e-6)
            assert moved.norm() > 0
    assert {n for n in after if n.endswith("feedback")} == {"edges.h1_h2.feedback", "edges.h2_y.feedback"}


def test_check_says_what_untied_feedback_costs(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(net), "--set", "learning.feedback=untied"]) == 0
    told = capsys.readouterr()
    assert "feedback is untied (edges h1_h2, h2_y): the update descends no energy" in told.err
    assert "not the gradient of the loss until feedback has aligned with the weights" in told.err
    assert run(["check", str(net), "--set", "learning.feedback=untied", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert (found["severity"], found["at"]) == ("warning", "learning.feedback")
    assert run(["check", str(net)]) == 0
    assert capsys.readouterr().err == ""


def test_a_rule_that_cannot_be_used_is_located(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net.write_text(NET.replace("activation: tanh", "activation: relu6").replace("beta: 0.2", "estimator: holomorphic"))
    assert run(["check", str(net)]) == 1
    assert capsys.readouterr().err == (
        f"{net}:14:23: estimator holomorphic cannot be used: state 'h1' has the activation relu6, which has no "
        "holomorphic continuation; use tanh or logistic, or learning.estimator: centered\n"
        "  14 | learning: {estimator: holomorphic}\n"
        "     |                       ^^^^^^^^^^^\n"
    )


def test_an_emitted_module_says_that_its_gradient_is_the_centered_one(
    net: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compile", str(net)]) == 0
    assert "learning" not in capsys.readouterr().out
    assert run(["compile", str(net), "--set", "learning.estimator=coupled_positive"]) == 0
    text = capsys.readouterr().out
    assert "asks for the estimator coupled_positive, which this module does not have: its gradient is the" in text
    assert run(["compile", str(net), "--set", "learning.feedback=untied"]) == 1
    assert "edge 'h1_h2' has a feedback weight of its own; set learning.feedback: tied" in capsys.readouterr().err


@pytest.mark.slow
def test_every_rule_trains_the_digits(tmp_path: Path) -> None:
    """As the table of docs/learning.md, whose rows all are of this program: 95 % with each seed."""
    root = Path(__file__).parents[2]
    found = tmp_path / "rules.json"
    subprocess.run([sys.executable, str(root / "benchmarks" / "rules.py"), "--json", str(found)], check=True, cwd=root)
    runs = json.loads(found.read_text(encoding="utf-8"))["runs"]
    assert set(runs) >= set(ESTIMATORS)
    low = {name: run for name, rows in runs.items() for run in rows if run["accuracy"] < 0.95}
    assert low == {}
    section = (root / "docs" / "learning.md").read_text(encoding="utf-8").split("\n## Every rule trains\n")[1]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in section.splitlines() if line.startswith("| ")]
    names = set(rows[2:])
    assert len(names) >= 23, "all that were there when it was written"
    assert names <= runs.keys()
