"""Choosing a backend by measurement: what is measured is recorded, and what is recorded is taken, where it can be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph import tuning
from epgraph.cli import run
from epgraph.compiler import BACKENDS
from epgraph.compiler.record import Record, read, record, recorded
from epgraph.probes import NetworkProbe
from epgraph.runtime.executor import Executor
from epgraph.timings import Timing, last_measured
from epgraph.tuning import break_even, measure, tune

DIGITS = "examples/digits.yaml"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tuning, "ROUNDS", 1)
    threads = torch.get_num_threads()
    yield tmp_path / "epgraph" / "backends"
    torch.set_num_threads(threads)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])


def test_the_fastest_is_recorded_and_taken_by_engines_of_the_same_network(cache: Path) -> None:
    engine = ep.compile(DIGITS)
    found, path = tune(engine, *batch(), candidates=["eager", "channels_last", "onednn"])
    assert path.parent == cache
    assert {t.backend for t in found} == {"eager", "channels_last", "onednn"}
    assert [t.iteration for t in found] == sorted(t.iteration for t in found)
    assert engine.machine.backend.name == found[0].backend
    assert json.loads(path.read_text())["timings"][0]["iteration"] == found[0].iteration
    record(engine.plan, engine.device, engine.dtype, "channels_last", {})
    assert ep.compile(DIGITS).machine.backend.name == "channels_last"
    # Another network, schedule or precision is another choice.
    assert ep.compile("examples/mlp.yaml").machine.backend.name == "eager"
    assert ep.compile(DIGITS, schedule="sequential").machine.backend.name == "eager"
    assert ep.compile(DIGITS, dtype=torch.float64).machine.backend.name == "eager"
    assert ep.compile(DIGITS, backend="onednn").machine.backend.name == "onednn"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"backend": "gone"}',
        b'{"backend": ["onednn"]}',
        b"\x00",
        b"[" * 100_000,
        b'{"backend": "\xff"}',
    ],
)
def test_a_damaged_record_is_named(content: bytes) -> None:
    engine = ep.compile(DIGITS)
    where = engine.plan, engine.device, engine.dtype
    path = record(*where, "onednn", {})
    path.write_bytes(content)
    with pytest.raises(ep.EpgraphError) as caught:
        _ = ep.compile(DIGITS).machine
    assert str(caught.value) == (
        f"{path}: the record of 'epgraph tune' is damaged; delete it; 'epgraph tune' makes a new one"
    )
    path.unlink()
    assert ep.compile(DIGITS).machine.backend.name == "eager"


def test_a_pipe_in_place_of_a_record_is_named() -> None:
    engine = ep.compile(DIGITS)
    where = engine.plan, engine.device, engine.dtype
    path = record(*where, "onednn", {})
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ep.EpgraphError, match="it is a pipe"):
        recorded(*where)


def test_a_record_of_what_cannot_be_used_here_is_ignored() -> None:
    engine = ep.compile(DIGITS, dtype=torch.float64)
    where = engine.plan, engine.device, engine.dtype
    record(*where, "onednn", {})  # which packs no float64
    assert recorded(*where) is None


def test_what_is_wrong_or_fails_is_never_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ep.compile(DIGITS)
    whole = Executor.run

    def broken(self: Any, *arguments: Any, **options: Any) -> Any:
        backend = self.programs.settings.backend
        if backend == "onednn":
            raise RuntimeError("no compiler\nat all")
        found = whole(self, *arguments, **options)
        if backend == "channels_last":
            for state in found.states.values():
                state.add_(1)
        return found

    monkeypatch.setattr(Executor, "run", broken)
    found = {t.backend: t for t in measure(engine, *batch(), candidates=["onednn", "channels_last", "eager"])}
    assert next(iter(found)) == "eager"
    assert found["onednn"].reason == "RuntimeError: no compiler"
    assert found["channels_last"].reason.startswith("its states differ from the eager ones by ")
    assert engine.backend == "auto"


def test_what_was_not_measured_again_stays_on_record(cache: Path) -> None:
    engine = ep.compile(DIGITS)
    where = engine.plan, engine.device, engine.dtype
    slow = Timing("eager", iteration=50.0, first=1.0).to_dict()
    fast = Timing("onednn", iteration=1e-9, first=1e9).to_dict()
    lost = Timing("triton", reason="no GPU").to_dict()
    path = record(*where, "onednn", {"batch": 4, "timings": [fast, slow, lost]})
    found, written = tune(engine, *batch(), candidates=["eager"])
    assert written == path
    assert [t.backend for t in found] == ["onednn", "eager", "triton"]
    assert found[1].iteration < 50
    assert read(*where) == Record("onednn", 4, tuple(found))
    # Measured again, what was the fastest is not any more.
    found, _ = tune(engine, *batch(), candidates=["onednn", "eager"])
    assert {t.backend for t in found} == {"onednn", "eager", "triton"}
    assert all(t.iteration > 1e-6 for t in found)


def test_part_of_a_measurement_does_not_replace_one_of_another_batch_size(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tune", DIGITS, "--device", "cpu"]
    both = ["--backend", "eager", "--backend", "channels_last"]
    assert run([*command, "--batch", "4", *both]) == 0
    (path,) = cache.iterdir()
    before = path.read_text()
    capsys.readouterr()
    assert run([*command, "--batch", "8", "--backend", "eager"]) == 0
    assert "the record holds another batch size and stays" in capsys.readouterr().out
    assert path.read_text() == before
    assert run([*command, "--batch", "8", "--backend", "eager", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record"] is None


TIMINGS = [
    Timing("onednn", iteration=0.01, first=30.0),
    Timing("channels_last", iteration=0.02, first=0.1),
    Timing("eager", iteration=0.03, first=0.2),
    Timing("triton", reason="no GPU"),
]


def test_a_short_training_does_not_pay_for_a_long_start(cache: Path) -> None:
    """30 s are made good after 2,990 batches that take 10 ms less each."""
    engine = ep.compile(DIGITS)
    where = engine.plan, engine.device, engine.dtype
    record(*where, "onednn", {"batch": 4, "timings": [t.to_dict() for t in TIMINGS]})
    assert break_even(TIMINGS) == (TIMINGS[1], pytest.approx(2990))
    assert [recorded(*where, n) for n in (1, 2989, 2991, float("inf"))] == [
        "channels_last",
        "channels_last",
        "onednn",
        "onednn",
    ]
    for batches, name in ((100, "channels_last"), (10_000, "onednn")):
        engine.batches = batches
        assert engine.machine.backend.name == name
    assert break_even(TIMINGS[1:]) is None
    assert break_even(TIMINGS[:1]) is None


def test_a_record_without_timings_names_a_backend() -> None:
    engine = ep.compile(DIGITS)
    where = engine.plan, engine.device, engine.dtype
    record(*where, "onednn", {})
    assert recorded(*where, 10) == "onednn"
    for damaged in ([{"backend": "eager", "iteration": "x"}], [{"name": "eager"}], [3], 3):
        record(*where, "onednn", {"timings": damaged})
        with pytest.raises(ep.EpgraphError, match="the record of 'epgraph tune' is damaged; delete it"):
            recorded(*where, 10)


def test_the_command_says_what_a_start_costs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "measure", lambda *arguments: list(TIMINGS))
    assert run(["tune", DIGITS, "--device", "cpu"]) == 0
    assert (
        "it takes 30.0 s to start, and channels_last 0.1 s: below 2,990 batches channels_last takes less, and is what "
        "'auto' takes for a training that short" in capsys.readouterr().out
    )


def test_the_command_prints_every_backend_and_records_one(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [name for name in BACKENDS if name != "inductor"]  # which compiles for a minute
    options = [part for name in names for part in ("--backend", name)]
    assert run(["tune", DIGITS, "--batch", "4", "--device", "cpu", "--dtype", "float64", *options]) == 0
    text = capsys.readouterr().out
    assert text.startswith("batch 4, float64 on cpu; an iteration has 25 free and 12 nudged sweeps; seconds")
    assert "oneDNN packs float32, not float64" in text
    assert all(f"\n{name} " in text for name in names)
    assert run(["tune", DIGITS, "--batch", "2", "--device", "cpu", "--backend", "eager", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backend"] == "eager"
    assert json.loads(Path(found["record"]).read_text())["batch"] == 2


def test_a_folder_that_cannot_be_written_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert run(["tune", DIGITS, "--batch", "2", "--device", "cpu", "--backend", "eager"]) == 1
    assert "set XDG_CACHE_HOME to a folder that can be written" in capsys.readouterr().err
    assert run(["tune", DIGITS, "--backend", "onedn"]) == 1
    assert "did you mean 'onednn'?" in capsys.readouterr().err


def test_nothing_is_recorded_where_nothing_can_be_used(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--batch", "2", "--device", "cpu", "--dtype", "float64", "--backend", "onednn"]
    assert run(["tune", DIGITS, *options]) == 1
    assert "onednn: oneDNN packs float32, not float64; measure 'eager'" in capsys.readouterr().err
    assert not cache.exists()


@pytest.mark.parametrize("solver", ["plain", "error_sweeps"])
def test_one_forward_pass_counts_once(solver: str) -> None:
    """An iteration is what is done per batch, a forward pass, and the nudged sweeps; each solver has its record."""
    overrides = [
        "energy=predictive",
        "defaults.activation=tanh",
        f"dynamics.solver={solver}",
        "dynamics.free_steps=999",
    ]
    engine = ep.compile(ep.load(DIGITS, overrides))
    found, path = tune(engine, *batch(), candidates=["eager", "channels_last"])
    assert path is not None
    steps = engine.architecture.dynamics.nudged_steps
    for t in found:
        assert t.sweep > 0
        assert t.iteration == pytest.approx(t.once + t.sweep + steps * t.pair_sweep)
    lines = tuning.TuneResult(engine, 4, tuple(found), path).lines()
    sweeps = "error sweeps" if solver == "error_sweeps" else "nudged sweeps"
    assert f"an iteration has one forward pass and {steps} {sweeps}; seconds" in lines[0]
    assert "forward pass" in lines[2]
    other = "plain" if solver == "error_sweeps" else "error_sweeps"
    assert recorded(engine.plan, engine.device, engine.dtype) in {t.backend for t in found}
    different = ep.compile(ep.load(DIGITS, [*overrides, f"dynamics.solver={other}"]))
    assert recorded(different.plan, different.device, different.dtype) is None


@pytest.mark.parametrize("rule", ["backprop", "implicit"])
def test_times_are_those_of_the_learning_rule(rule: str) -> None:
    """Those of EP were shown for a network by another rule, whose iteration was taken for that of EP too."""
    tune(ep.compile(DIGITS), *batch(), candidates=["eager"])
    assert last_measured(ep.compile(ep.load(DIGITS, ["learning.beta=0.3"])).plan) is not None
    engine = ep.compile(ep.load(DIGITS, [f"learning.estimator={rule}"]))
    assert last_measured(engine.plan) is None
    (found,), path = tune(engine, *batch(), candidates=["eager"])
    shown = last_measured(engine.plan)
    assert shown is not None
    assert (shown.iteration, shown.sweep) == (found.iteration, found.sweep)
    assert all(parameter.grad is None for parameter in engine.parameters())
    lines = tuning.TuneResult(engine, 4, (found,), path).lines()
    assert f"an iteration is a gradient by {rule}; seconds" in lines[0]
    assert ("nudged pair" in lines[2]) == (rule != "backprop")


def test_an_iteration_of_backprop_does_not_grow_with_free_sweeps() -> None:
    engine = ep.compile(ep.load(DIGITS, ["learning.estimator=backprop", "dynamics.free_steps=999999"]))
    (found,), _ = tune(engine, *batch(), candidates=["eager"])
    assert 0 < found.iteration < 1000 * found.sweep


@pytest.mark.parametrize("data", [False, True])
def test_a_precision_is_chosen_and_recorded(data: bool, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--batch", "4", "--device", "cpu", "--backend", "eager", "--threads", "auto"]
    assert run(["tune", DIGITS, *options, *(["--data", "digits"] if data else [])]) == 0
    examples = "the first training examples of digits" if data else tuning.NOISE
    lines = capsys.readouterr().out.splitlines()
    threads, precision = (
        next(line for line in lines if line.startswith(start)) for start in ("threads: ", "precision, ")
    )
    assert threads.startswith(f"threads: {torch.get_num_threads()} thread")
    assert precision.startswith(f"precision, on {examples}: ")
    (path,) = cache.iterdir()
    found = json.loads(path.read_text())["precision"]
    assert found["examples"] == examples
    assert precision.endswith(found["why"])
    assert found["candidates"][0]["dtype"] == "bfloat16"
    # What was added does not keep the record from being read.
    engine = ep.compile(DIGITS)
    assert recorded(engine.plan, engine.device, engine.dtype) == "eager"


def test_the_weights_of_an_engine_are_those_that_are_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def agreement(self: NetworkProbe, dtype: str) -> None:
        seen.append(float(self.engine.state_dict()["edges.x_h1.weight"].sum()))

    monkeypatch.setattr(NetworkProbe, "agreement", agreement)
    engine = ep.compile(DIGITS)
    with torch.no_grad():
        engine.edges["x_h1"].weight.fill_(0.25)
    total = 0.25 * engine.edges["x_h1"].weight.numel()
    assert ep.tune(engine, batch=2, backends=["eager"]).precision is not None
    assert seen
    assert all(one == pytest.approx(total) for one in seen)


def test_a_network_with_targets_that_are_no_labels_is_measured_on_noise() -> None:
    text = """epgraph: 2
input:  {name: x, shape: [4]}
output: {name: y, shape: [2]}
states: {h: {shape: [5]}}
edges: [{from: x, to: h, dense: {}}, {from: h, to: y, dense: {}}]
"""
    result = ep.tune(ep.load(text), batch=4, backends=["eager"], device="cpu")
    assert result.backend == "eager"
    assert result.timings[0].iteration > 0
