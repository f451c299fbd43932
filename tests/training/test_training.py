"""Training end to end on small real data: runs repeat, resume, stop before damage, and leave what they promise."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.training import load_checkpoint, make_optimizer
from epgraph.training.optimizer import set_learning_rates
from tests.helpers.runs import NET, given, lines, same, stopped_after, train


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(NET)
    return path


def test_a_run_leaves_what_it_promises(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(net, out, "--pictures") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("digits")
    assert printed[1].startswith("epoch 1/2: train loss ")
    assert printed[3].startswith("accuracy of the last epoch: ")
    assert "test examples of digits" in printed[3]
    promised = (
        "run.json architecture.yaml architecture.schema.json network.svg metrics.jsonl batches.jsonl curves.png "
        "last.pt best.pt tensorboard"
    )
    for name in (*promised.split(), "tensorboard"):
        assert (out / name).exists(), name
    assert ep.load(out / "architecture.yaml") == ep.load(net, given())
    assert [line["epoch"] for line in lines(out)] == [1, 2]
    assert set(lines(out)[0]) == {
        "epoch", "train_loss", "train_error", "train_residual", "nudged_residual",
        "test_loss", "test_error", "test_residual", "learning_rate",
    }  # fmt: skip
    assert list((out / "tensorboard").glob("events*"))
    assert not list(out.glob("*.partial"))


def test_the_seed_makes_runs_equal(net: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert train(net, tmp_path / name, "--seed", seed) == 0
    assert lines(tmp_path / "a") == lines(tmp_path / "b")
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_a_resumed_run_equals_one_that_never_stopped(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(net, tmp_path / "whole", "--set", "training.epochs=4") == 0
    with stopped_after(monkeypatch, batches=8):
        assert train(net, tmp_path / "cut", "--set", "training.epochs=4") == 130
    assert len(lines(tmp_path / "cut")) == 1  # batch 8 is the last of epoch 2, which has not been tested
    assert train(net, tmp_path / "cut", "--set", "training.epochs=4", "--resume") == 0
    assert same(tmp_path / "whole", tmp_path / "cut")
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")
    whole, cut = ((tmp_path / name / "batches.jsonl").read_text() for name in ("whole", "cut"))
    assert whole == cut


def test_every_batch_reports_its_relaxations(net: Path, tmp_path: Path) -> None:
    assert train(net, tmp_path / "run", "--set", "dynamics.tolerance=1e-3") == 0
    found = [json.loads(line) for line in (tmp_path / "run" / "batches.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["batch"]) for line in found] == [(e, b) for e in (1, 2) for b in (1, 2, 3, 4)]
    for line in found:
        assert 1 <= line["free_steps"] <= 10
        assert (line["free_status"] == "converged") == (line["free_residual"] <= 1e-3)
        assert 1 <= line["nudged_steps"] <= 5
    energies = {line["energy"] for line in found}
    assert len(energies) == len(found)
    assert all(energy < 0 for energy in energies)  # zeros, where every relaxation starts, have F = 0


def test_a_run_goes_on_with_the_backend_that_it_began_with(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(net, out, "--backend", "channels_last") == 0
    assert load_checkpoint(out)["backend"] == "channels_last"
    assert train(net, out, "--resume", "--epochs", "3") == 0
    assert load_checkpoint(out)["backend"] == "channels_last"
    assert train(net, out, "--resume", "--epochs", "4", "--backend", "eager") == 0
    assert load_checkpoint(out)["backend"] == "eager"


def test_a_finished_run_says_so(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(net, out) == 0
    capsys.readouterr()
    assert train(net, out, "--resume") == 0
    assert "is trained to epoch 2 already; raise --epochs to go on" in capsys.readouterr().out
    assert train(net, out, "--resume", "--epochs", "1") == 0
    assert "is trained to epoch 2 already; raise --epochs to go on" in capsys.readouterr().out


def test_a_device_that_is_not_there(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command names it, and none blames the program or the checkpoint."""
    out = tmp_path / "run"
    assert train(net, out) == 0
    capsys.readouterr()
    absent = ["--device", "cuda:99"]
    digits = ["--data", "digits", "--limit", "40"]
    commands = [
        ["train", str(net), *digits, "--out", str(tmp_path / "other")],
        ["train", str(net), *digits, "--out", str(tmp_path / "other"), "--from", str(out)],
        ["train", str(out), "--resume", "--epochs", "3"],
        ["eval", str(out), "--data", "digits"],
        ["gradcheck", str(net)],
        ["tune", str(net)],
        ["compile", str(net), "-o", str(tmp_path / "engine.py")],
    ]
    for command in commands:
        assert run([*command, *absent]) == 1, command
        printed = capsys.readouterr().err
        assert "device 'cuda:99' cannot be used: " in printed, printed
        assert printed.endswith("; use 'cpu'\n"), printed
    with pytest.raises(ep.EpgraphError, match="device 'cuda:99' cannot be used"):
        load_checkpoint(out, "cuda:99")


def test_a_folder_in_use_is_not_touched(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(net, out) == 0
    before = (out / "last.pt").read_bytes()
    capsys.readouterr()
    assert train(net, out) == 1
    assert capsys.readouterr().err == (
        f"the run folder {out} holds a finished run; train it further with --resume and more --epochs, "
        "start over with --overwrite, or name --out\n"
    )
    assert (out / "last.pt").read_bytes() == before
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("precious")
    assert train(net, foreign, "--overwrite") == 1
    assert (foreign / "thesis.tex").read_text() == "precious"
    assert "holds files but is no run folder" in capsys.readouterr().err


def test_overwriting_keeps_the_old_run_until_the_new_one_has_an_epoch(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(net, out) == 0
    before = (out / "last.pt").read_bytes()
    wild = tmp_path / "wild.yaml"
    wild.write_text(DIVERGING)
    assert train(wild, out, "--overwrite") == 1
    assert (out / "last.pt").read_bytes() == before
    assert len(lines(out)) == 2
    assert train(net, out, "--overwrite", "--epochs", "1") == 0
    assert len(lines(out)) == 1
    assert [p.name for p in tmp_path.iterdir() if "replaced" in p.name] == []


def test_another_network_cannot_be_resumed(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(net, out) == 0
    capsys.readouterr()
    assert train(net, out, "--resume", "--set", "states.h1.channels=5") == 1
    assert f"{out} cannot be resumed: states.h1.channels is 4 in the run and 5 now; leave it" in capsys.readouterr().err


DIVERGING = """\
epgraph: 2
name: diverging
input:  {name: x, shape: [64]}
output: {name: y, classes: 10}
defaults: {activation: identity, gain: 1.0}
states: {wild: {shape: [16]}, tame: {shape: [16]}}
edges:
  - {from: x,    to: wild, dense: {}}
  - {from: wild, to: tame, dense: {}}
  - {from: tame, to: y,    dense: {}}
dynamics: {free_steps: 200, nudged_steps: 20, schedule: coloring}
training: {epochs: 20, batch_size: 50, learning_rate: 5.0, clip_norm: null}
"""


def test_growing_states_stop_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Epoch, batch and state are named; the checkpoint holds the last good epoch, every number finite."""
    net = tmp_path / "wild.yaml"
    net.write_text(DIVERGING)
    out = tmp_path / "run"
    assert train(net, out) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err
    message = [line for line in err.splitlines() if line.startswith("training stopped in epoch ")]
    assert len(message) == 1
    assert ", batch " in message[0]
    assert "state '" in message[0]
    assert "grew without bound or became NaN; lower training.learning_rate" in message[0]
    checkpoint = load_checkpoint(out)
    assert all(bool(v.isfinite().all()) for v in checkpoint["model"].values())
    assert f"holds the end of epoch {checkpoint['epoch']}" in message[0]


def test_a_network_that_diverges_on_the_test_set_is_not_saved(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One batch an epoch: the absurd step is first felt by the test."""
    out = tmp_path / "run"
    options = ["--set", "training.learning_rate=1e12", "--set", "training.batch_size=170"]
    assert train(net, out, *options) == 1
    assert "the test of epoch 1 stopped in batch 1: state 'y' grew without bound" in capsys.readouterr().err
    assert load_checkpoint(out)["epoch"] == 0


def test_nan_in_the_data_stops_training(net: Path, tmp_path: Path) -> None:
    from epgraph.data import load_data
    from epgraph.training import Run, Trainer

    data = load_data("digits", shape=(1, 8, 8), classes=10, limit=100)

    class Poisoned(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 100

        def __getitem__(self, index: int) -> Any:
            x, y = data.train[index]
            return x * float("nan"), y

    engine = ep.compile(net)
    poisoned = type(data)(data.name, Poisoned(), data.test, data.classes, data.shape)  # type: ignore[arg-type]
    trainer = Trainer(engine, poisoned, Run(tmp_path, progress=False))
    with pytest.raises(ep.EpgraphError, match="input 'x' holds NaN in example 0"):
        trainer.train()
    assert load_checkpoint(tmp_path)["epoch"] == 0


def test_eval_agrees_with_training(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(net, out) == 0
    capsys.readouterr()
    assert run(["eval", str(out), "--data", "digits", "--limit", "170", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["error"] == pytest.approx(lines(out)[-1]["test_error"])
    assert found["loss"] == pytest.approx(lines(out)[-1]["test_loss"], rel=1e-5)


def test_learning_rates_per_edge(net: Path) -> None:
    text = NET.replace("gain: 1.0}", "gain: 1.0}").replace("dense: {}}", "dense: {}, learning_rate: 0.2}")
    text = text.replace("h1: {channels: 4}", "h1: {channels: 4, learning_rate: 0}")
    engine = ep.compile(text)
    optimizer = make_optimizer(engine)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: rates.get(id(p)) for name, p in engine.named_parameters()}
    assert found["edges.h2_y.weight"] == 0.2
    assert found["edges.h1_h2.weight"] == 0.05
    assert found["states.h1.bias"] is None
    engine.backward(torch.rand(4, 1, 8, 8), torch.arange(4))
    assert dict(engine.named_parameters())["states.h1.bias"].grad is None
    optimizer.step()
    set_learning_rates(optimizer, engine, 2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2e-6, 2e-6])


def test_a_checkpoint_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", str(tmp_path), "--data", "digits"]) == 1
    assert capsys.readouterr().err == (
        f"{tmp_path / 'last.pt'}: there is no checkpoint; give a run folder or a .pt file of it; "
        "of a sweep folder, one of the folders in trials/\n"
    )
    (tmp_path / "last.pt").write_bytes(b"junk")
    assert run(["eval", str(tmp_path), "--data", "digits"]) == 1
    assert "cannot be read as a checkpoint" in capsys.readouterr().err


def test_data_that_does_not_fit_names_the_line(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(net), "--data", "digits", "--set", "output.classes=7"]) == 1
    assert "--set output.classes=7: " in capsys.readouterr().err
    net.write_text(NET.replace("[1, 8, 8]", "[3, 8, 8]"))
    assert run(["train", str(net), "--data", "digits"]) == 1
    assert capsys.readouterr().err.startswith(f"{net}:3:26: digits has examples of shape [1, 8, 8]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "epgraph: Missing argument 'FILE'; see 'epgraph train --help'"),
        (["chekc"], "epgraph: No such command 'chekc'"),
        (["render", "examples/vgg5.yaml"], "epgraph: Missing option '-o' / '--output'"),
        (["check", "examples/vgg5.yaml", "--schedule", "x"], "epgraph: Invalid value for '--schedule'"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 1
    assert capsys.readouterr().err.startswith(message)


def test_an_internal_error_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("epgraph.checking.lower", lambda *_: 1 / 0)
    assert run(["check", "examples/vgg5.yaml"]) == 2
    assert "internal error: ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "render", "train", "eval", "schema"])
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert "Example:\n  " in capsys.readouterr().out


@pytest.mark.parametrize(
    "example", ["hopfield_resnet13_noskip", "hopfield_resnet_identity", "hopfield_resnet13", "vgg5", "pcn_vgg5"]
)
def test_examples_take_a_gradient_step(example: str) -> None:
    """Narrowed to a few channels, every image example relaxes and fills every gradient."""
    text = Path(f"examples/{example}.yaml").read_text()
    for wide in (512, 256, 128):
        text = text.replace(f"channels: {wide}", "channels: 4")
    engine = ep.compile(text)
    engine.backward(torch.rand(2, 3, 32, 32), torch.tensor([1, 2]), free_steps=4, nudged_steps=10)
    for name, parameter in engine.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


SMALL = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg.tar.xz"


def test_vgg5_at_a_small_width_trains_on_a_folder_of_real_images(tmp_path: Path) -> None:
    if not SMALL.exists():
        pytest.skip(f"no natural images at {SMALL}")
    import tarfile

    wanted = {"train": 240, "test": 60}
    with tarfile.open(SMALL) as archive:
        for member in archive:
            parts = Path(member.name).parts
            split = next((part for part in parts if part in wanted), None)
            if split is None or not member.isfile() or int(parts[-1].split(".")[0]) % (5000 // 24):
                continue
            target = tmp_path / "images" / split / parts[-2]
            target.mkdir(parents=True, exist_ok=True)
            source = archive.extractfile(member)
            assert source is not None
            (target / parts[-1]).write_bytes(source.read())
    text = Path("examples/vgg5.yaml").read_text()
    for wide in (512, 256, 128):
        text = text.replace(f"channels: {wide}", "channels: 16")
    net = tmp_path / "vgg5.yaml"
    net.write_text(text)
    options = ["--data", f"folder:{tmp_path / 'images'}", "--epochs", "1", "--set", "dynamics.free_steps=20",
               "--set", "dynamics.nudged_steps=8", "--workers", "0"]  # fmt: skip
    assert run(["train", str(net), *options, "--out", str(tmp_path / "run"), "--no-pictures"]) == 0
    (line,) = lines(tmp_path / "run")
    assert 0 <= line["test_error"] <= 1


def test_a_backend_that_cannot_be_used_leaves_no_run_folder(net: Path, tmp_path: Path) -> None:
    for options in (["--backend", "onednnn"], ["--backend", "onednn", "--dtype", "float64"]):
        assert train(net, tmp_path / "run", *options) == 1
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("clip", ["null", "1.0"])
def test_the_gradient_that_is_not_finite_is_named(
    clip: str, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = ep.Engine.backward

    def backward(engine: ep.Engine, *arguments: Any, **options: Any) -> Any:
        estimate = original(engine, *arguments, **options)
        gradient = dict(engine.named_parameters())["edges.h1_h2.weight"].grad
        assert gradient is not None
        gradient[(0,) * gradient.ndim] = math.inf
        return estimate

    monkeypatch.setattr(ep.Engine, "backward", backward)
    assert train(net, tmp_path / "run", "--set", f"training.clip_norm={clip}") == 1
    assert "batch 1: the gradient of edges.h1_h2.weight is not finite" in capsys.readouterr().err
