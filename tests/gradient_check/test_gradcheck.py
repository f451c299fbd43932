"""``epgraph gradcheck``: what it prints, and that its verdict is right on networks where the truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.cli import run
from epgraph.gradient_check.agreement import agree, compare, named_by_edge
from epgraph.gradient_check.check import Check
from epgraph.gradient_check.pipeline import make_report
from epgraph.gradient_check.sections import SECTIONS, Report
from epgraph.gradient_check.verdict import percent, verdict
from epgraph.graph import load
from epgraph.testing.oracle import Reference

SMOOTH = """\
epgraph: 2
name: smooth
input:  {name: x, shape: [6]}
output: {name: y, classes: 3}
defaults: {activation: tanh, gain: 0.6}
states:
  h1: {shape: [8]}
  h2: {shape: [5]}
edges:
  - {from: x,  to: h1, dense: {}}
  - {from: h1, to: h2, dense: {}}
  - {from: h2, to: y,  dense: {}}
  - {from: h1, to: y,  dense: {}}
dynamics: {schedule: coloring, free_steps: 40, nudged_steps: 20}
learning: {beta: 0.01}
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(SMOOTH)
    return path


def check(*overrides: str, text: str = SMOOTH, **options: Any) -> tuple[ep.Engine, Report]:
    """Report on a network on noise."""
    engine = ep.compile(load(text, overrides), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, *engine.graph.input.shape, generator=generator, dtype=torch.float64)
    y = torch.randint(engine.graph.output.units, (4,), generator=generator)
    if engine.architecture.output.classes is None:
        y = torch.randn(4, *engine.graph.output.shape, generator=generator, dtype=torch.float64)
    return engine, make_report(Check(engine, x, y, **options))


def said(report: Report) -> str:
    return "\n".join(report["verdict"]["lines"])


def test_agreement_of_two_vectors() -> None:
    exact = torch.tensor([[3.0, 0.0], [-4.0, 0.0]])
    found = agree(torch.tensor([[3.0, 1.0], [4.0, 0.0]]), exact)
    assert found.cosine == pytest.approx((9 - 16) / (26**0.5 * 5))
    assert found.error == pytest.approx(65**0.5 / 5)
    assert found.signs == 0.5
    assert agree(exact, exact) == agree(2 * exact, 2 * exact)
    assert agree(exact, 0 * exact).error is None
    assert agree(0 * exact, exact).cosine is None
    assert agree(0 * exact, exact).error == 1


def test_an_edge_may_be_called_all() -> None:
    """Under that name stand all parameters at once."""
    exact = named_by_edge({"edges.all.weight": torch.ones(2), "edges.b.weight": torch.ones(2)})
    found = {**exact, "b": torch.zeros(2)}
    errors = {name: agreement.error for name, agreement in compare(found, exact).items()}
    assert errors == {"weight of all": 0, "b": 1, "all": pytest.approx(0.5**0.5)}


def test_a_good_gradient_is_called_right_and_the_figures_are_those_of_the_oracle() -> None:
    engine, report = check(steps=6)
    assert list(report) == [*(name for name in SECTIONS if name not in ("feedback", "rest", "error_sweeps")), "verdict"]
    assert report["verdict"]["level"] == "right"
    assert "is right to " in said(report)
    assert "too" not in said(report)
    assert report["equilibrium"]["settled"]
    whole = report["agreement"]["estimator_implicit"]["all"]
    assert whole["error"] <= 1e-3
    assert report["agreement"]["unrolled_implicit"]["all"]["error"] <= 1e-6
    assert [row["error"] <= 1e-6 for row in report["stepwise"]["steps"]] == [True] * 6
    assert report["basin"]["positive"]["returned"] == report["basin"]["negative"]["returned"] == 4
    # The same by the oracle, edge by edge.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    y = torch.nn.functional.one_hot(torch.randint(3, (4,), generator=generator), 3).double()
    oracle = Reference(engine.graph, engine.state_dict())
    classes = engine.plan.schedule.classes
    exact = oracle.implicit_gradient(x, y, oracle.relax(x, classes, 200))
    found = oracle.ep_gradient(x, y, classes, 40, 20, 0.01)
    for name, label in (("edges.h1_h2.weight", "h1_h2"), ("states.h2.bias", "bias of h2")):
        expected: Tensor = (found[name] - exact[name]).norm() / exact[name].norm()
        assert report["agreement"]["estimator_implicit"][label]["error"] == pytest.approx(float(expected), rel=1e-4)
    rows = {row["beta"]: row["estimator"]["all"]["error"] for row in report["beta"]}
    assert rows[0.01] == pytest.approx(whole["error"], rel=1e-6)
    # O(β²) of a smooth network.
    assert rows[0.01] / min(rows.values()) > 50


def test_a_beta_far_too_large_isnamed_by_edge() -> None:
    _, report = check("learning.beta=0.9", "learning.estimator=positive")
    assert report["verdict"]["level"] in ("rough", "wrong")
    assert "beta = 0.9 is too large: at 0.03 the error is" in said(report)
    assert "; 0.1 to 0.4 are usual, and smaller values lose digits in float32" in said(report), (
        "where 'check' warns of 0.03"
    )
    best = min(report["beta"], key=lambda row: row["estimator"]["all"]["error"])
    best["beta"] = 0.2
    assert any(line.endswith("%") and "at 0.2 the error is" in line for line in verdict(report)["lines"])


def test_a_usual_beta_is_not_called_too_large() -> None:
    """Where a smaller one has a better gradient in double precision, and is no better to train with."""
    _, report = check("learning.beta=0.15", "learning.estimator=positive")
    assert "at beta = 0.005 the error would be " in said(report)
    assert "; 0.1 to 0.4 are usual, and smaller values lose digits in float32" in said(report)
    assert "too large" not in said(report)


def test_too_few_nudged_sweeps_arenamed_by_edge() -> None:
    _, report = check("dynamics.nudged_steps=1")
    assert report["verdict"]["level"] in ("rough", "wrong")
    assert "1 nudged sweep is too few: with 4 the error is" in said(report)
    assert "beta" not in said(report).split("\n", 1)[1]


def test_too_few_free_sweeps_arenamed_by_edge() -> None:
    """One-sided EP contrasts with the free state itself; the centered one does not mind if it has not settled."""
    _, report = check("dynamics.free_steps=4", "learning.estimator=positive")
    assert report["verdict"]["level"] in ("rough", "wrong")
    assert "4 free sweeps are too few: with 8 the error is" in said(report)
    _, report = check("dynamics.free_steps=1", "dynamics.nudged_steps=80")
    assert report["verdict"]["level"] == "right"
    assert "after 1 free sweeps the states are still" in said(report)


TWO_BASINS = """\
epgraph: 2
name: bistable
input:  {name: x, shape: [1]}
output: {name: y, classes: 1, activation: tanh}
defaults: {activation: tanh}
states: {h: {shape: [1]}}
edges:
  - {from: x, to: h, dense: {}}
  - {from: h, to: y, dense: {}}
dynamics: {schedule: coloring, free_steps: 60, nudged_steps: 60}
learning: {beta: 0.5}
"""


def bistable(beta: float) -> Report:
    """Two states that hold each other up or down; the target is at the other end from where the input puts them."""
    engine = ep.compile(load(TWO_BASINS, [f"learning.beta={beta}"]), dtype=torch.float64)
    with torch.no_grad():
        for parameter in engine.parameters():
            parameter.zero_()
        engine.edges["x_h"].weight.fill_(0.1)
        engine.edges["h_y"].weight.fill_(1.3)
    x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    return make_report(Check(engine, x, torch.tensor([[-1.0], [1.0]], dtype=torch.float64)))


def test_another_basin_isnamed_by_edge() -> None:
    near, far = bistable(0.02), bistable(0.5)
    assert near["basin"]["positive"] == near["basin"]["positive"] | {"returned": 2, "elsewhere": 0, "undecided": 0}
    assert "another equilibrium" not in said(near)
    assert far["basin"]["positive"]["elsewhere"] == 2
    assert "nudged by +beta, 2 of 2 examples end in another equilibrium" in said(far)
    assert far["verdict"]["level"] == "wrong"


def test_a_saddle_and_minres_arenamed_by_edge() -> None:
    """Without input and bias the network rests at zero, where its coupling is too strong for a minimum."""
    engine = ep.compile(load(TWO_BASINS), dtype=torch.float64)
    with torch.no_grad():
        for parameter in engine.parameters():
            parameter.zero_()
        engine.edges["h_y"].weight.fill_(2.0)
    report = make_report(Check(engine, torch.zeros(2, 1), torch.ones(2, 1)))
    assert report["curvature"]["largest"] == pytest.approx(2.0)
    assert report["curvature"]["smallest"] == pytest.approx(-2.0)
    assert report["curvature"]["indefinite"] == 2
    assert "no minimum of F" in said(report)
    assert "MINRES" in said(report)


def test_an_output_that_hardly_depends_on_the_input_is_told_first() -> None:
    for cost, where in (("squared_error", "at y "), ("softmax_readout", "at h2, h1 ")):
        _, report = check(f"output.cost={cost}", quick=True)
        assert "hardly depends" not in said(report)
        _, report = check(f"output.cost={cost}", "edges.0.gain=1e-4", quick=True)
        assert report["verdict"]["lines"][0].startswith("the output hardly depends on the input: its signal is ")
        assert f"{where}over 4 examples" in report["verdict"]["lines"][0]
        assert "the gradient of 'centered' at beta" in report["verdict"]["lines"][1]


def test_a_gradient_that_vanishes_and_states_that_diverge() -> None:
    _, report = check("defaults.gain=0.0", "defaults.bias=false", "output.bias=false", quick=True)
    # Nothing but a zero output; its own edges have zero states at their other end.
    assert report["verdict"]["level"] == "none"
    _, report = check("defaults.activation=identity", "defaults.gain=8.0")
    assert report["verdict"]["level"] == "diverged"
    assert "lower the gains" in said(report)
    assert set(report) == {"network", "equilibrium", "verdict"}


def test_the_verdict_on_a_network_that_does_not_settle_or_oscillates() -> None:
    """Where there is no equilibrium the implicit gradient is no reference, and unrolled backpropagation stands in."""
    _, report = check("dynamics.schedule=synchronous")
    assert "against implicit differentiation" in said(report)
    report["curvature"]["smallest"] = -1.2
    assert "synchronous sweeps oscillate" in "\n".join(verdict(report)["lines"])
    report["equilibrium"]["settled"] = False
    report["agreement"]["estimator_unrolled"]["all"] = {"cosine": 0.5, "error": 0.9, "signs": 0.6}
    found = verdict(report)
    assert found["level"] == "wrong"
    assert "off by 90 % (against unrolled backpropagation)" in found["lines"][0]
    assert "has not settled" in found["lines"][1]
    assert not any("suffice" in line for line in found["lines"])


@pytest.mark.parametrize("estimator", ["implicit", "unrolled"])
def test_reference_estimators_are_checked_like_any(estimator: str) -> None:
    _, report = check(f"learning.estimator={estimator}", "learning.solver_tolerance=1e-10", "dynamics.free_steps=120")
    assert report["agreement"]["estimator_implicit"]["all"]["error"] <= 1e-6
    assert said(report).startswith(f"the gradient of '{estimator}' is right to")
    assert report["network"]["nudging"] == "centered"


def test_anderson_leaves_unrolled_out() -> None:
    _, report = check("dynamics.anderson=3")
    assert set(report["agreement"]) == {"estimator_implicit"}
    assert "unrolled" not in report["free_steps"][0]
    assert report["verdict"]["level"] == "right"


def untied(aligned: bool, *overrides: str) -> Report:
    engine = ep.compile(load(SMOOTH, ["learning.feedback=untied", *overrides]), dtype=torch.float64)
    if aligned:
        with torch.no_grad():
            for name, parameter in engine.named_parameters():
                if name.endswith(".feedback"):
                    parameter.copy_(engine.get_parameter(name.replace("feedback", "weight")))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    return make_report(Check(engine, x, torch.randint(3, (4,), generator=generator)))


def test_untied_feedback_is_held_to_unrolled_backpropagation_alone() -> None:
    report = untied(aligned=False)
    assert "curvature" not in report
    assert set(report["agreement"]) == {"estimator_unrolled"}
    assert report["network"]["reference"] == "unrolled"
    assert "no energy and F has no Hessian" in report["network"]["why"]
    assert report["network"]["why"] in said(report)
    assert "is not the gradient of the loss" in said(report)
    assert "feedback has not aligned with the weights on 3 of 3 edges, least on h1_h2" in said(report)
    assert report["verdict"]["level"] == "unaligned"
    assert "implicit" not in said(report)


def test_aligned_feedback_gives_the_gradient_of_the_tied_network() -> None:
    report = untied(aligned=True)
    _, tied = check()
    assert report["verdict"]["level"] == "right"
    assert list(report["feedback"].values()) == pytest.approx([1.0] * len(report["feedback"]))
    for name, agreement in tied["agreement"]["estimator_unrolled"].items():
        assert report["agreement"]["estimator_unrolled"][name]["error"] == pytest.approx(agreement["error"], rel=1e-3)


def test_untied_feedback_leaves_nothing_to_compare_with(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["gradcheck", str(net), "--set", "learning.feedback=untied"]
    assert run([*command, "--quick"]) == 0
    assert "\nfeedback     edges h1_h2" in capsys.readouterr().out
    for more, message in ((["--stepwise"], "leave --stepwise out"), (["--set", "dynamics.anderson=3"], "anderson=0")):
        assert run([*command, *more]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("rule", ["contrastive", "coupled_positive", "coupled_negative", "coupled_centered"])
def test_rules_with_a_contrast_of_their_own_are_not_called_wrong(rule: str) -> None:
    _, report = check(f"learning.estimator={rule}")
    assert report["verdict"]["level"] == "own"
    assert said(report).startswith(f"'{rule}' follows the gradient of its own contrast")
    assert not any(word in said(report) for word in ("wrong", "is right", "off by", "suffice", "too few", "too large"))
    assert ("beta" in report) == (rule != "contrastive")
    expected = {"contrastive": ["target"], "coupled_positive": ["positive"], "coupled_negative": ["negative"]}
    assert list(report["basin"]) == expected.get(rule, ["positive", "negative"])


@pytest.mark.parametrize(("key", "value"), [("noise", 0.01), ("state_bits", 12)])
def test_references_are_those_of_the_network_without_noise(key: str, value: float) -> None:
    _, plain = check(quick=True)
    _, report = check(f"dynamics.{key}={value}", quick=True)
    _, again = check(f"dynamics.{key}={value}", quick=True)
    assert report == again
    assert f"dynamics.{key} {value:g}" in said(report)
    assert f"--set dynamics.{key}=0" in said(report)
    assert report["agreement"]["unrolled_implicit"]["all"]["error"] <= 1e-6
    assert report["curvature"]["largest"] == pytest.approx(plain["curvature"]["largest"], rel=1e-6)
    mine, theirs = (r["agreement"]["estimator_implicit"]["all"]["error"] for r in (report, plain))
    assert mine > 2 * theirs


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        (["learning.estimator=random_sign"], 0.05),
        (["learning.estimator=continual", "learning.continual_rate=1e-6"], 0.05),
        (["learning.estimator=holomorphic", "learning.beta=0.1"], 0.01),
        (["dynamics.weight_bits=4"], 1e-3),
        (["dynamics.flow=0.3", "dynamics.nudged_steps=200"], 1e-3),
        (["output={name: y, shape: [3]}"], 1e-3),
    ],
)
def test_other_rules_and_dynamics(overrides: list[str], error: float) -> None:
    _, report = check(*overrides, quick=True, steps=3)
    assert report["verdict"]["level"] == "right"
    assert report["agreement"]["estimator_implicit"]["all"]["error"] <= error
    assert all(row["error"] <= 1e-6 for row in report["stepwise"]["steps"])


def test_a_readout_and_learnt_levels_step_by_step() -> None:
    _, report = check("output.cost=softmax_readout", steps=4)
    assert max(row["error"] for row in report["stepwise"]["steps"]) <= 1e-6
    level = "defaults.activation={relu: 0.15, learn: true}"
    _, report = check(level, "output.activation=identity", "defaults.gain=1.0", "dynamics.free_steps=200", steps=3)
    assert report["agreement"]["unrolled_implicit"]["alpha of h1"]["error"] <= 1e-6
    assert max(row["error"] for row in report["stepwise"]["steps"]) <= 1e-4


def test_noise_targets_of_a_network_with_a_shape(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net.write_text(SMOOTH.replace("classes: 3", "shape: [3]"))
    assert run(["gradcheck", str(net), "--quick"]) == 0
    assert "\nverdict      the gradient of 'centered'" in capsys.readouterr().out


def test_percentages_have_no_exponent() -> None:
    assert [percent(p) for p in (0.003, 0.12, 0.994, 0.997, 1.02, 1e-7)] == [
        "0.3 %", "12 %", "99 %", "100 %", "102 %", "less than 0.001 %"
    ]  # fmt: skip
    assert not any("e" in percent(1.001 * 10.0**-n).replace("less", "") for n in range(5))


def test_the_command(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "gradcheck.png"
    command = ["gradcheck", str(net), "--device", "cpu", "--examples", "3"]
    assert run([*command, "--stepwise", "-o", str(picture)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(
        "smooth: 'centered', beta 0.01, 40 free and 20 nudged sweeps, coloring\n3 examples of noise"
    )
    for part in (
        "equilibrium",
        "curvature",
        "same basin",
        "parameter ",
        "h1_h2 ",
        "beta ",
        "nudged sweeps",
        "free sweeps",
    ):
        assert f"\n{part}" in printed.out, part
    assert "\nverdict      the gradient of 'centered' at beta = 0.01 with 20 nudged sweeps is right to " in printed.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "\nstep by step" in printed.out
    assert run([*command, "--json", "--quick"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["network"]["data"] is None
    assert report["network"]["weights"] == "initial"
    assert {"equilibrium", "curvature", "basin", "agreement", "saturation", "verdict"} <= set(report)
    assert "beta" not in report
    edges = {*ep.build(ep.load(net)).edges, "bias of h1", "bias of h2", "bias of y", "all"}
    assert all(set(table) == edges for table in report["agreement"].values())


def test_a_diverged_network_is_printed_too(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["gradcheck", str(net), "--set", "defaults.activation=identity", "--set", "defaults.gain=8.0"]
    assert run(command) == 0
    assert "equilibrium  the states diverge: " in capsys.readouterr().out
    assert run([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert report["verdict"]["level"] == "diverged"


def test_a_figure_that_cannot_be_drawn_does_not_lose_the_report(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.svg").mkdir()
    assert run(["gradcheck", str(net), "-o", str(tmp_path / "a.svg"), "--examples", "2"]) == 1
    out, err = capsys.readouterr()
    assert out == ""  # refused before anything is computed
    assert "a.svg: cannot be written" in err
    command = ["gradcheck", str(net), "-o", str(tmp_path / "b.svg")]
    assert run([*command, "--set", "defaults.activation=identity", "--set", "defaults.gain=8.0"]) == 1
    out, err = capsys.readouterr()
    assert "equilibrium  the states diverge: " in out
    assert "b.svg is not drawn: the states diverge" in err


def test_the_commands_mistakes(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def message(*options: str) -> str:
        assert run(["gradcheck", str(net), *options]) == 1
        return capsys.readouterr().err

    bare = tmp_path / "bare.yaml"
    bare.write_text(
        "epgraph: 2\ninput: {shape: [3]}\noutput: {classes: 3, bias: false}\nedges: [{from: x, to: y, identity: {}}]\n"
    )
    assert run(["gradcheck", str(bare)]) == 1
    assert "no parameter that could learn" in capsys.readouterr().err
    assert "unknown suffix '.txt'" in message("-o", str(tmp_path / "a.txt"))
    with monkeypatch.context() as patched:
        patched.setattr("epgraph.gradient_check.pipeline.make_report", lambda check: pytest.fail("computed first"))
        assert "--quick leaves out what --output draws" in message("--quick", "-o", str(tmp_path / "a.png"))
    assert "there is no checkpoint" in message("--checkpoint", str(tmp_path))
    assert "net.yaml:3:" in message("--data", "digits")  # which has images


def test_the_data_that_the_file_names_are_used_where_they_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = (Path("examples") / "digits_tanh.yaml").read_text()
    options = ["--quick", "--examples", "2"]
    for name, used in (
        ("digits", "2 training examples of digits, weights"),
        ("mnist", "2 examples of noise (mnist is not in "),
    ):
        text = digits.replace("shape: [1, 8, 8]", "shape: [1, 28, 28]") if name == "mnist" else digits
        (tmp_path / "net.yaml").write_text(f"{text}data: {{name: {name}, root: {tmp_path / 'none'}}}\n")
        assert run(["gradcheck", str(tmp_path / "net.yaml"), *options]) == 0
        assert used in capsys.readouterr().out
    # What is asked for on the command line is not replaced.
    assert run(["gradcheck", str(tmp_path / "net.yaml"), *options, "--data", "mnist"]) == 1
    (tmp_path / "net.yaml").write_text(digits)
    assert run(["gradcheck", str(tmp_path / "net.yaml"), *options]) == 0
    assert "noise (neither --data nor data.name names a data set)" in capsys.readouterr().out


def test_weights_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    options = ["--set", "dynamics.free_steps=12", "--set", "dynamics.nudged_steps=6"]
    train = ["train", "examples/digits.yaml", "--data", "digits", "--limit", "128", "--epochs", "1", "--out", str(out)]
    assert run([*train, *options, "--no-pictures"]) == 0
    command = ["gradcheck", str(out / "architecture.yaml"), "--data", "digits", "--quick", "--examples", "2"]
    capsys.readouterr()
    assert run([*command, "--checkpoint", str(out), "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["curvature"] != trained["curvature"]
    assert trained["network"] == trained["network"] | {
        "weights": f"{out}, last.pt (epoch 1)",
        "data": "digits",
        "dtype": "float64",
    }
    # A folder means its weights.
    assert run(["gradcheck", str(out), *command[2:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == trained
    assert run(["gradcheck", "examples/mlp.yaml", "--checkpoint", str(out)]) == 1
    assert "is of another network: its 'edges.x_h1.weight'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["digits", "mlp"])
def test_the_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradcheck", f"examples/{name}.yaml", "--quick", "--examples", "2"]) == 0
    assert "\nverdict      the gradient of 'centered' at beta = " in capsys.readouterr().out


def test_what_training_with_a_reference_gradient_logs(tmp_path: Path) -> None:
    """No nudged phase: its figures are left out, and those of the solver are there."""
    out = tmp_path / "run"
    options = ["--limit", "96", "--epochs", "1", "--out", str(out), "--set", "dynamics.free_steps=8"]
    for estimator in ("implicit", "truncated"):
        keys = [
            *options,
            "--set",
            f"learning.estimator={estimator}",
            "--set",
            "training.warm_start=true",
            "--overwrite",
        ]
        assert run(["train", "examples/digits.yaml", "--data", "digits", "--no-pictures", *keys]) == 0
        batch = json.loads((out / "batches.jsonl").read_text().splitlines()[-1])
        epoch = json.loads((out / "metrics.jsonl").read_text())
        assert "nudged_residual" not in batch | epoch
        assert ("indefinite" in batch) == ("adjoint_residual" in batch) == (estimator == "implicit")
