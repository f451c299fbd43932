"""``--dtype auto`` and ``--threads auto``: what is chosen is said and recorded, and a run that goes on keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

import epgraph as ep
from epgraph.cli import run
from epgraph.probes import NetworkProbe, ThreadChoice
from epgraph.probes.precision import Agreement
from epgraph.training import load_checkpoint, session
from epgraph.training.probing import check_is_due

NET = "examples/digits.yaml"
OPTIONS = ("--data", "digits", "--limit", "64", "--no-pictures", "--device", "cpu", "--set", "training.batch_size=32")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


Measured = Callable[[float, float], list[str]]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    """Return what sets the speed and the lowest cosine of bfloat16; what is asked for is in its result."""

    def set_to(speed: float, cosine: float) -> list[str]:
        asked: list[str] = []

        def seconds(self: NetworkProbe, dtype: str, *, whole: bool) -> tuple[float, float]:
            asked.append(f"{len(self.x)} examples")
            return 1.0 / speed, 1.0

        def agreement(self: NetworkProbe, dtype: str) -> Agreement:
            asked.append(dtype)
            return Agreement(1.0 if dtype == "float32" else cosine, "states.h3.bias")

        monkeypatch.setattr(NetworkProbe, "seconds", seconds)
        monkeypatch.setattr(NetworkProbe, "agreement", agreement)
        return asked

    return set_to


def train(out: Path, *options: str) -> int:
    return run(["train", NET, "--out", str(out), *OPTIONS, *options])


def record(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_text())
    return found


@pytest.mark.parametrize(
    ("speed", "cosine", "sentence"),
    [
        (1 / 12, 1.0, "float32: bfloat16 is 12 times slower here"),
        (1.5, 0.9931, "bfloat16: 1.5 times as fast as float32, lowest cosine to float64 0.9931 (states.h3.bias)"),
    ],
)
def test_the_choice_is_said_and_on_record(
    speed: float, cosine: float, sentence: str, measured: Measured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = measured(speed, cosine)
    assert train(tmp_path / "run", "--dtype", "auto", "--epochs", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == sentence
    dtype = sentence.partition(":")[0]
    assert f"{dtype} on cpu" in "\n".join(lines)
    found = record(tmp_path / "run")
    assert found["options"]["dtype"] == dtype
    assert found["measured"]["dtype"]["why"] == sentence
    assert found["measured"]["dtype"]["candidates"][0]["speed"] == pytest.approx(speed)
    assert found["measured"]["dtype"]["batch"] == 32
    assert found["measured"]["dtype"]["examples"] == "the first training examples of digits"
    assert "32 examples" in asked


def test_a_run_that_goes_on_keeps_the_choice(measured: Measured, tmp_path: Path) -> None:
    whole, parts, named = (tmp_path / name for name in ("whole", "parts", "named"))
    measured(2.0, 0.995)
    assert train(whole, "--dtype", "auto", "--epochs", "2", "--threads", "1") == 0
    assert train(parts, "--dtype", "auto", "--epochs", "1", "--threads", "1") == 0
    asked = measured(0.1, 0.992)  # bfloat16 would not be chosen now
    before = record(parts)["measured"]
    assert train(parts, "--dtype", "auto", "--epochs", "2", "--threads", "1", "--resume") == 0
    assert asked == ["bfloat16"]  # no time was measured
    assert record(parts)["options"]["dtype"] == "bfloat16"
    assert record(parts)["measured"] == before
    assert train(named, "--dtype", "bfloat16", "--epochs", "2", "--threads", "1") == 0
    assert asked == ["bfloat16"]  # a precision that was named is not judged
    models = [load_checkpoint(out)["model"] for out in (whole, parts, named)]
    for name, value in models[0].items():
        assert torch.equal(value, models[1][name]), name
        assert torch.equal(value, models[2][name]), name


LOST = "after epoch 1 bfloat16 has a lowest cosine to float64 of 0.9500 (states.h3.bias), below 0.99"


def test_a_run_whose_gradient_a_precision_loses_goes_on_in_float32(
    measured: Measured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ("--dtype", "auto", "--threads", "1")
    measured(2.0, 0.995)
    assert train(parts, *options, "--epochs", "1") == 0
    first = load_checkpoint(parts)["model"]
    asked = measured(2.0, 0.95)
    assert train(parts, *options, "--epochs", "3", "--resume") == 0
    assert f"{LOST}; the run goes on in float32\n" in capsys.readouterr().out
    assert asked == ["bfloat16"]
    found = record(parts)
    assert (found["options"]["dtype"], found["finished"]) == ("float32", True)
    assert found["measured"]["dtype"]["chosen"] == "bfloat16"
    assert found["measured"]["dtype"]["later"] == f"{LOST}; the run goes on in float32"
    assert [json.loads(line)["epoch"] for line in (parts / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3]

    # The same without a stop: good before the first epoch, lost after it.
    measured(2.0, 0.995)
    asked = []
    before_epochs = NetworkProbe.agreement

    def worse(self: NetworkProbe, dtype: str) -> Agreement | None:
        trained = any(not torch.equal(value, start[name]) for name, value in self.engine.state_dict().items())
        asked.append(dtype)
        return Agreement(0.95, "states.h3.bias") if trained else before_epochs(self, dtype)

    start = ep.compile(NET, seed=0, dtype="float32").state_dict()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetworkProbe, "agreement", worse)
        assert train(whole, *options, "--epochs", "3") == 0
    assert asked == ["bfloat16", "bfloat16"]
    models = [load_checkpoint(out)["model"] for out in (whole, parts)]
    for name, value in models[0].items():
        assert torch.equal(value, models[1][name]), name
        assert not torch.equal(value, first[name]), name
    for key in ("train_loss", "test_loss"):
        rows = [[json.loads(line)[key] for line in (out / "metrics.jsonl").open()] for out in (whole, parts)]
        assert rows[0] == rows[1]


def test_a_run_in_a_named_precision_stays_in_it(measured: Measured, tmp_path: Path) -> None:
    asked = measured(2.0, 0.995)
    assert train(tmp_path / "run", "--epochs", "1", "--dtype", "float64") == 0
    assert record(tmp_path / "run")["measured"] == {}
    assert train(tmp_path / "run", "--epochs", "2", "--dtype", "auto", "--resume") == 0
    assert record(tmp_path / "run")["options"]["dtype"] == "float64"
    assert asked == []


def test_threads_are_measured_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[int] = []

    def measure(engine: ep.Engine, x: torch.Tensor, y: torch.Tensor) -> ThreadChoice:
        calls.append(len(x))
        return ThreadChoice(2, {1: 2.0, 2: 1.0}, "2 threads")

    monkeypatch.setattr(session, "measure_threads", measure)
    assert train(tmp_path / "run", "--threads", "auto", "--epochs", "1") == 0
    assert capsys.readouterr().out.splitlines()[0] == "threads: 2 threads"
    assert calls == [32]
    found = record(tmp_path / "run")
    assert found["options"]["threads"] == 2
    assert found["measured"]["threads"] == {
        "chosen": 2,
        "why": "2 threads",
        "seconds": {"1": 2.0, "2": 1.0},
        "batch": 32,
    }
    assert train(tmp_path / "run", "--threads", "auto", "--epochs", "2", "--resume") == 0
    assert calls == [32]
    assert record(tmp_path / "run")["options"]["threads"] == 2


def test_what_python_gets(tmp_path: Path, measured: Measured) -> None:
    measured(2.0, 0.995)
    result = ep.train(
        NET, "digits", out=tmp_path / "run", limit=32, epochs=1, pictures=False, dtype="auto", device="cpu"
    )
    assert result.engine.dtype == torch.bfloat16
    assert result.options["dtype"] == "bfloat16"
    assert result.measured["dtype"]["chosen"] == "bfloat16"


def test_a_real_measurement(tmp_path: Path) -> None:
    """Whatever this machine is, the choice is consistent with the figures on record."""
    assert train(tmp_path / "run", "--dtype", "auto", "--threads", "auto", "--epochs", "1") == 0
    found = record(tmp_path / "run")
    half = found["measured"]["dtype"]["candidates"][0]
    good = half["speed"] >= 1.05 and half.get("cosine", 0.0) >= 0.99
    assert found["options"]["dtype"] == ("bfloat16" if good else "float32")
    assert found["options"]["threads"] == found["measured"]["threads"]["chosen"]


def test_where_nothing_can_be_measured_auto_is_refused(tmp_path: Path) -> None:
    message = "dtype 'auto' is measured on training examples, and here are none"
    with pytest.raises(ep.EpgraphError, match=message):
        ep.compile(NET, dtype="auto")
    with pytest.raises(ep.EpgraphError, match="dtype: a sweep cannot take 'auto', because each trial would choose"):
        ep.sweep(NET, "digits", seeds=[0], out=tmp_path / "sweep", dtype="auto")
    with pytest.raises(ep.EpgraphError, match="threads expects a whole number, found text 'automatic'"):
        ep.train(NET, "digits", out=tmp_path / "run", threads="automatic")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "0"], "0 is not in the range 1<=x<=256"),
        (["--threads", "many"], "'many' is no number of threads, nor auto"),
        (["--dtype", "half"], "'half' is not one of 'auto', 'float32'"),
    ],
)
def test_other_words_are_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", *options) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


SMALL = """
epgraph: 2
input: {shape: [8]}
output: {classes: 4}
defaults: {activation: tanh, gain: 0.8}
states: {a: {shape: [12]}, b: {shape: [12]}}
edges:
  - {from: x, to: a, dense: {}}
  - {from: a, to: b, dense: {}}
  - {from: b, to: y, dense: {}}
dynamics: {schedule: coloring, free_steps: 20, nudged_steps: 20}
learning: {beta: 0.1}
training: {epochs: 2, batch_size: 2, learning_rate: 0.01, warm_start: false}
"""


def examples(count: int) -> tuple[TensorDataset, TensorDataset]:
    torch.manual_seed(0)
    x, y = torch.rand(count, 8), torch.randint(4, (count,))
    return TensorDataset(x, y), TensorDataset(x[:40], y[:40])


@pytest.mark.parametrize(
    ("epoch", "images", "due"), [(1, 799, True), (1, 798, False), (2, 500, True), (2, 300, False), (3, 300, True)]
)
def test_a_check_is_due_once_in_400_batches(epoch: int, images: int, due: bool) -> None:
    assert check_is_due(ep.compile(ep.load(SMALL)), epoch, images) is due


@pytest.mark.parametrize(
    "setting", ["dynamics.noise=0.1", "learning.estimator=unrolled", "learning.estimator=backprop"]
)
def test_a_gradient_that_needs_no_rest_is_not_checked(setting: str) -> None:
    assert not check_is_due(ep.compile(ep.load(SMALL, [setting])), 1, 10**6)


def test_a_training_whose_gradient_is_that_at_rest(tmp_path: Path) -> None:
    result = ep.train(ep.load(SMALL), examples(800), out=tmp_path / "run", epochs=1, pictures=False)
    assert result.metrics["gradient_cosine"] > 0.9999
    assert "gradient_cosine_float32" not in result.metrics


def test_a_training_whose_sweeps_are_too_few_is_told(tmp_path: Path) -> None:
    few = ep.load(SMALL, ["dynamics.free_steps=1", "dynamics.nudged_steps=1"])
    with pytest.warns(UserWarning, match=r"the gradient has a cosine of 0\.\d\d to that of the network at rest: raise"):
        result = ep.train(few, examples(800), out=tmp_path / "run", epochs=1, pictures=False)
    assert result.metrics["gradient_cosine"] < 0.9
