"""Trainings of the predictive energy: stopped and resumed to the bit, evaluated, drawn; E along nudged phases."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from tests.helpers.runs import assert_same_runs, lines, stopped_after, train

NET = """\
epgraph: 2
name: tiny
energy: predictive
input:  {{shape: [1, 8, 8]}}
output: {{classes: 10}}
defaults: {{activation: relu6}}
states: {{h1: {{channels: 6}}, h2: {{channels: 6}}}}
edges:
  - {{from: x,  to: h1, conv: {{kernel: 3, padding: 1, stride: 2}}}}
  - {{from: h1, to: h2, conv: {{kernel: 3, padding: 1, pool: max}}}}
  - {{from: h1, to: y, dense: {{}}}}
  - {{from: h2, to: y, dense: {{}}}}
dynamics: {{solver: {solver}}}
learning: {{beta: 0.02, estimator: {estimator}}}
training: {{epochs: 3, batch_size: 50, learning_rate: 0.02}}
"""

RULES = [("plain", "centered"), ("error_sweeps", "centered"), ("plain", "random_sign"), ("error_sweeps", "random_sign")]


@pytest.mark.parametrize(("solver", "estimator"), RULES)
def test_a_stopped_run_goes_on_to_the_bit(
    tmp_path: Path, solver: str, estimator: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net, whole, cut = tmp_path / "net.yaml", tmp_path / "whole", tmp_path / "cut"
    net.write_text(NET.format(solver=solver, estimator=estimator))
    assert train(net, whole, "--pictures") == 0
    with stopped_after(monkeypatch, 6, signal.SIGTERM):
        assert train(net, cut, "--no-pictures") != 0
    assert run(["train", str(net), "--out", str(cut), "--resume", "--no-pictures"]) == 0
    assert_same_runs(whole, cut)
    made = lines(whole)
    assert made[-1]["train_loss"] < made[0]["train_loss"]
    assert all(line["train_residual"] == line["test_residual"] == 0 for line in made)
    assert all(0 < line["nudged_residual"] < 0.1 for line in made)
    assert (whole / "curves.png").stat().st_size > 10_000
    capsys.readouterr()
    assert run(["eval", str(whole), "--data", "digits"]) == 0
    assert "residual 0.0e+00" in capsys.readouterr().out


@pytest.mark.parametrize("solver", ["plain", "error_sweeps"])
def test_the_energy_along_a_nudged_phase(solver: str) -> None:
    """E is 0 where it starts, of order β² then, and that of the states recorded."""
    engine = ep.compile(ep.load(NET.format(solver=solver, estimator="centered")), dtype=torch.float64)
    x, y = torch.rand(4, 1, 8, 8, dtype=torch.float64), torch.arange(4)
    free = engine.relax(x, record=True)
    assert [float(sweep.energy.abs().max()) for sweep in free.trajectory] == [0]
    largest = []
    for beta in (1e-3, 2e-3):
        nudged = engine.relax(x, start=free.states, steps=6, tolerance=0, target=y, beta=beta, record=True)
        assert len(nudged.trajectory) == 6
        for sweep in nudged.trajectory:
            torch.testing.assert_close(sweep.energy, engine.energy(x, sweep.states))
            assert bool((sweep.energy > 0).all())
        assert nudged.trajectory[-1].residual == pytest.approx(nudged.residual)
        largest.append(float(nudged.trajectory[-1].energy.max()))
    assert largest[1] / largest[0] == pytest.approx(4, rel=0.05)
