"""``epgraph gradcheck`` on networks whose free equilibrium is one forward pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.gradient_check.check import Check
from epgraph.gradient_check.pipeline import make_report
from epgraph.gradient_check.sections import Report, tasks
from epgraph.gradient_check.text import text
from epgraph.graph import load

NET = """\
epgraph: 2
name: chain
energy: predictive
input:  {shape: [6]}
output: {classes: 3}
defaults: {activation: tanh, gain: 0.8}
states: {h1: {shape: [8]}, h2: {shape: [7]}, h3: {shape: [6]}}
edges:
  - {from: x,  to: h1, dense: {}}
  - {from: h1, to: h2, dense: {}}
  - {from: h2, to: h3, dense: {}}
  - {from: h1, to: h3, dense: {}}
  - {from: h3, to: y,  dense: {}}
learning: {beta: 0.01}
"""

GROWING = ("defaults.gain=4", "defaults.activation=identity")


def check(*overrides: str, quick: bool = False, steps: int = 0) -> Report:
    """Report on the network on noise, with as many ticks as announced."""
    engine = ep.compile(load(NET, overrides), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    ticks: list[str] = []
    made = Check(engine, x, torch.arange(4) % 3, quick, steps, ticks.append)
    report = make_report(made)
    assert len(ticks) == tasks(made)
    report["network"] |= {"data": None, "weights": "initial"}
    return report


def said(report: Report) -> str:
    return "\n".join(report["verdict"]["lines"])


def test_a_right_gradient_is_held_to_backpropagation() -> None:
    report = check("dynamics.nudged_steps=40")
    assert report["verdict"]["level"] == "right"
    assert "(against backpropagation)" in said(report)
    assert list(report["agreement"]) == ["estimator_backprop"]
    left_out = {"curvature", "basin", "free_steps", "stepwise", "feedback"}
    assert not left_out & report.keys()
    rows = {row["beta"]: row["estimator"]["all"]["error"] for row in report["beta"]}
    assert rows[0.03] / rows[0.01] == pytest.approx(9, rel=0.1), "O(β²)"
    lines = text(report)
    assert lines[0] == "chain: 'centered', beta 0.01, one forward pass and 40 nudged sweeps, backward"
    shown = "\n".join(lines)
    assert "free sweeps" not in shown
    assert "settle" not in shown
    assert "one forward pass is the free equilibrium, exactly" in shown
    assert "kink" not in shown


def test_the_residual_is_that_of_the_nudged_phases() -> None:
    few, many = check("dynamics.nudged_steps=1", quick=True), check("dynamics.nudged_steps=50", quick=True)
    for name in ("positive", "negative"):
        assert few["rest"][name]["residual"] > 1e-4
        assert many["rest"][name]["residual"] < 1e-8
        assert 0 < many["rest"][name]["displacement"] < 0.05
        assert many["rest"][name]["crossed"] == 0


def test_too_few_sweeps_and_what_error_sweeps_would_do() -> None:
    """A forward order carries the error one state a sweep."""
    report = check("dynamics.nudged_steps=1", "dynamics.schedule=sequential")
    assert report["verdict"]["level"] in ("rough", "wrong")
    assert "1 nudged sweep is too few: with 4 the error is" in said(report)
    assert "with 2 error sweeps in their place (dynamics.solver: error_sweeps) the error is" in said(report)
    assert report["error_sweeps"]["estimator"]["all"]["error"] < 0.01


def test_error_sweeps_are_called_so() -> None:
    report = check("dynamics.solver=error_sweeps", "dynamics.nudged_steps=1", "learning.beta=0.3", "defaults.gain=2")
    assert "error_sweeps" not in report
    assert "with 1 error sweep" in said(report)
    assert "\nerror sweeps  " in "\n".join(text(report))
    assert "nudged sweep" not in said(report)


def test_a_beta_far_too_large() -> None:
    report = check("learning.beta=0.9", "learning.estimator=positive", "dynamics.nudged_steps=50")
    assert report["verdict"]["level"] in ("rough", "wrong")
    assert "beta = 0.9 is too large: at 0.03 the error is" in said(report)
    assert "trained stably" not in said(report), "the range of this energy contains 0.03"


def test_kinks() -> None:
    report = check(
        "defaults.activation=relu1", "learning.beta=0.3", "dynamics.nudged_steps=50", "output.activation=relu1"
    )
    assert max(part["crossed"] for part in report["rest"].values()) > 0
    assert "of the units across a kink of σ, where σ′ jumps" in said(report)
    assert "of the units cross a kink" in "\n".join(text(report))


def test_phases_without_rest_and_phases_that_diverge() -> None:
    restless = check("defaults.activation={tanh: {slope: 3}}", "defaults.gain=2", "dynamics.schedule=synchronous")
    assert restless["verdict"]["level"] == "wrong"
    assert "nudged phases come to no rest (residual" in said(restless)
    assert "use schedule: backward, or dynamics.solver: error_sweeps" in said(restless)
    assert "suffice" not in said(restless)
    for quick in (False, True):
        diverged = check(*GROWING, "dynamics.nudged_steps=300", quick=quick)
        assert diverged["verdict"]["level"] == "diverged"
        assert said(diverged).startswith("nudged by +beta, the states diverge (")
        assert ("error_sweeps" in said(diverged)) != quick


@pytest.mark.parametrize("estimator", ["backprop", "implicit", "unrolled", "truncated"])
def test_what_differentiates_is_backpropagation(estimator: str) -> None:
    report = check(f"learning.estimator={estimator}")
    assert report["agreement"]["estimator_backprop"]["all"]["error"] <= 1e-12
    assert "sweep" not in said(report)
    assert "beta" not in said(report)


@pytest.mark.parametrize("estimator", ["random_sign", "negative", "holomorphic"])
def test_other_estimators(estimator: str) -> None:
    report = check(f"learning.estimator={estimator}", "dynamics.nudged_steps=30", quick=True)
    assert report["verdict"]["level"] == "right"


def test_a_match_step_by_step_is_refused() -> None:
    with pytest.raises(ep.EpgraphError, match="which is one forward pass with energy predictive; leave --stepwise out"):
        check(steps=3)


def test_the_command_prints_it_and_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, figure = tmp_path / "net.yaml", tmp_path / "figure.svg"
    net.write_text(NET)
    assert run(["gradcheck", str(net), "--output", str(figure)]) == 0
    shown = capsys.readouterr().out
    assert "centered – backpropagation" in shown
    # matplotlib writes a text as a comment beside its outlines.
    assert "against backpropagation -->" in figure.read_text()
