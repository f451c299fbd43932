"""Emitted modules of the predictive energy: one forward pass, sweeps and error sweeps, bit by bit."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given

import epgraph as ep
from epgraph.cli import run
from epgraph.compiler.export import module_text
from tests.helpers.directed import DirectedCase, directed_architectures
from tests.helpers.emitted import DRAWN, check, emitted

BACKENDS = ("eager", "channels_last", "onednn")

SOLVERS = ("plain", "error_sweeps")

POOLED = """\
epgraph: 2
name: pooled
energy: predictive
input: {shape: [1, 8, 8]}
output: {classes: 10}
states: {h1: {channels: 4}, h2: {channels: 4}, h3: {shape: [12], activation: tanh}}
edges:
  - {from: x, to: h1, conv: {kernel: 3, padding: 1}}
  - {from: h1, to: h2, conv: {kernel: 3, padding: 1, pool: max}}
  - {from: h1, to: h3, dense: {}}
  - {from: h2, to: h3, dense: {}}
  - {from: h3, to: y, dense: {}}
"""


def with_solver(data: dict[str, Any], solver: str) -> dict[str, Any]:
    return {**data, "dynamics": {**data["dynamics"], "solver": solver}}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("backend", BACKENDS)
@DRAWN
@given(data=directed_architectures(learnt=True))
def test_random_networks_give_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, backend: str, solver: str, data: dict[str, Any]
) -> None:
    case = DirectedCase(with_solver(data, solver))
    engine = ep.compile(case.architecture, dtype=torch.float32, backend=backend)
    engine.load_state_dict({**engine.state_dict(), **case.parameters})
    folder = tmp_path_factory.mktemp("emitted")
    check(engine, folder, case.x.float(), case.y.float(), nudged_steps=3, beta=0.1)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_tolerance_counts_in_nudged_phases(tmp_path: Path, solver: str) -> None:
    engine = ep.compile(ep.load(POOLED, [f"dynamics.solver={solver}", "dynamics.tolerance=1e-6"]), dtype=torch.float64)
    x = torch.rand(5, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    check(engine, tmp_path, x, torch.arange(5), nudged_steps=40)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_command_writes_a_program(tmp_path: Path, solver: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs without epgraph; the free phase is one step, from which nothing moves."""
    net, module = tmp_path / "net.yaml", tmp_path / "module.py"
    net.write_text(f"{POOLED}dynamics: {{solver: {solver}}}\n")
    assert run(["compile", str(net), "-o", str(module)]) == 0
    if solver == "plain":
        capsys.readouterr()
        with mock.patch.dict(sys.modules, {"epgraph": None}):
            runpy.run_path(str(module), run_name="__main__")
        shown = capsys.readouterr().out
    else:
        # In an interpreter that has never known it.
        code = f"import sys; sys.modules['epgraph'] = None; exec(open({str(module)!r}).read())"
        shown = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True).stdout
    head, *states, energy, gradient = shown.splitlines()
    assert head.endswith("4 random examples, one forward pass")
    assert [line.split()[0] for line in states] == ["h1", "h2", "h3", "y"]
    assert all(line.endswith("residual 0.0e+00") for line in states)
    assert float(energy.split()[-1]) == 0
    assert float(gradient.split()[-1]) > 0
    written = module.read_text()
    assert f"FREE_STEPS, NUDGED_STEPS = 1, {2 if solver == 'error_sweeps' else 5}\n" in written
    assert "# free phase, one forward pass\n" in written
    assert ("solver    error_sweeps\n" in written) == (solver == "error_sweeps")
    assert ("schedule  backward\n" in written) == (solver == "plain")
    capsys.readouterr()
    assert run(["compile", str(net), "--dump"]) == 0
    dumped = capsys.readouterr().out
    assert "# ==== free: " in dumped
    assert "# ==== pair: " in dumped
    assert "relu6(a) + ε" in dumped if solver == "error_sweeps" else "relu6(a[h1] + " in dumped


def test_a_module_follows_a_change_of_its_steps(tmp_path: Path) -> None:
    """More nudged sweeps bring the gradient nearer to backpropagation."""
    engine = ep.compile(ep.load(POOLED, ["learning.beta=0.001"]), dtype=torch.float64)
    module = emitted(engine, tmp_path)
    x = torch.rand(5, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    engine.backward(x, torch.arange(5), estimator="backprop")
    exact = {name: p.grad for name, p in engine.named_parameters()}

    def error(steps: int) -> float:
        found = module.gradient(x, torch.arange(5), nudged_steps=steps)
        return max(float((found[n] - g).norm() / g.norm()) for n, g in exact.items() if g is not None)

    assert error(30) < 1e-3 < error(1)
    assert "ONE_PASS = True" in module_text(engine.machine)
