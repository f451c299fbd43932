"""Run folders: they say what a run was, go on as asked, belong to one process, and are never lost."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import epgraph as ep
from epgraph.callbacks import Callback
from epgraph.cli import run
from epgraph.runs import RunFolder, locked
from epgraph.runs.folder import REPLACED, WriteError
from epgraph.training import Run, Trainer, load_checkpoint
from epgraph.training.checkpoint import save_checkpoint
from epgraph.training.optimizer import learning_rate
from tests.crash import main as crash
from tests.helpers import processes
from tests.helpers.runs import NET, assert_same_runs, content, given, lines, record, same, stopped_after, train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(NET)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "net.yaml").write_text(NET)
    assert train(folder / "net.yaml", folder / "run", "--pictures") == 0
    return folder / "run"


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A finished run of two epochs, four batches each."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def resumed(net: Path, out: Path, *options: str) -> int:
    return run(["train", str(net), "--out", str(out), "--resume", "--no-pictures", *options])


# What is on record


def test_run_json_says_what_the_run_was(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(net, out, "--seed", "7", "--set", "learning.beta=0.25", "--threads", "1", "--workers", "0") == 0
    found = record(out)
    assert found["settings"]["learning"]["beta"] == 0.25
    assert found["settings"]["training"]["seed"] == 7
    assert found["settings"]["training"]["momentum"] == 0.9  # a default
    assert found["given"]["settings"]["learning"]["beta"] == 0.2  # of the file alone
    assert found["options"] == {
        "dtype": "float32", "device": "cpu", "backend": "eager", "threads": 1, "workers": 0,
    }  # fmt: skip
    assert found["settings"]["data"] == {
        "name": "digits", "root": str(Path("data").absolute()), "augment": "published", "normalization": "published",
        "limit": 170, "seed": 0,
    }  # fmt: skip
    assert found["finished"] is True
    (start,) = found["history"]
    assert start["versions"]["torch"] == torch.__version__.split("+")[0]
    assert start["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert (start["epoch"], start["batch"], start["changed"]) == (0, 0, {})
    assert start["machine"]["cores"] == os.cpu_count()
    assert found["data"]["name"] == "digits"
    assert found["data"]["train"] == 170


def test_the_commit_of_the_working_directory_is_on_record(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.chdir(tmp_path)
    assert train(net, tmp_path / "run", "--epochs", "1") == 0
    assert record(tmp_path / "run")["history"][0]["git"] == commit


def test_the_network_of_a_run_is_complete(out: Path, net: Path) -> None:
    written = yaml.safe_load((out / "architecture.yaml").read_text())
    for section in ("dynamics", "learning", "data", "training", "init", "defaults"):
        fields = type(getattr(ep.load(net), section)).model_fields
        nothing = {name for name, field in fields.items() if field.default is None}
        assert written[section].keys() >= fields.keys() - nothing
    assert written["edges"][2]["frozen"] is False
    assert written["edges"][0]["conv"]["dilation"] == 1
    assert ep.load(out) == ep.load(out / "architecture.yaml")
    assert ep.load(out) == ep.load(net, given())


def test_a_run_folder_stands_for_its_network(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(out)]) == 0
    assert run(["render", str(out), "-o", str(tmp_path / "net.dot")]) == 0
    assert run(["compile", str(out), "-o", str(tmp_path / "engine.py")]) == 0
    assert "h1_h2" in (tmp_path / "engine.py").read_text()
    assert run(["check", str(tmp_path)]) == 1
    assert f"{tmp_path}: cannot be read: it is a directory" in capsys.readouterr().err


def test_a_run_in_python(out: Path) -> None:
    found = ep.load_run(out)
    weights = load_checkpoint(out)["model"]
    assert all(torch.equal(value, weights[name]) for name, value in found.engine.state_dict().items())
    assert [row["epoch"] for row in found.metrics] == [1, 2]
    assert found.record.settings["data"]["name"] == "digits"
    assert found.epoch == 2
    assert repr(found) == "LoadedRun('tiny', data='digits', epoch=2)"
    best = min(found.metrics, key=lambda row: row["test_error"])
    assert ep.load_run(out, checkpoint="best.pt").epoch == best["epoch"]
    with pytest.raises(ep.EpgraphError, match=r"is no run folder: it has no run\.json"):
        ep.load_run(out.parent)


# Going on


@pytest.mark.parametrize("by_folder", [True, False])
def test_a_run_from_before_a_key_of_the_language_goes_on(by_folder: bool, net: Path, out: Path) -> None:
    """A record and a checkpoint that lack it stand for its default: runs are older than ``training.optimizer``."""
    content, checkpoint = record(out), torch.load(out / "last.pt", weights_only=True)
    for settings in (content["settings"], content["given"]["settings"], checkpoint["architecture"]):
        del settings["training"]["optimizer"]
    (out / "run.json").write_text(json.dumps(content))
    torch.save(checkpoint, out / "last.pt")
    file = out / "architecture.yaml"
    assert "optimizer: {sgd: {dampening: 0.0}}, " in file.read_text()
    file.write_text(file.read_text().replace("optimizer: {sgd: {dampening: 0.0}}, ", ""))
    assert resumed(out if by_folder else net, out, "--epochs", "3") == 0
    assert record(out)["settings"]["training"]["optimizer"] == {"sgd": {"dampening": 0.0}}
    assert record(out)["history"][1]["changed"] == {"training.epochs": [2, 3]}


def test_the_rate_is_a_function_of_progress(net: Path, out: Path) -> None:
    """More epochs stretch the cosine; the rate of the start never comes back."""
    assert resumed(net, out, "--epochs", "5") == 0
    rates = [line["learning_rate"] for line in lines(out)]
    training = ep.load(net, ["training.epochs=5"]).training
    assert rates[2:] == [learning_rate(0.05, epoch, training) for epoch in (2, 3, 4)]
    low = 2e-6
    assert rates[3] == pytest.approx(low + (0.05 - low) * (1 + math.cos(math.pi * 3 / 5)) / 2)
    assert record(out)["history"][1]["changed"] == {"training.epochs": [2, 5]}
    assert (record(out)["history"][1]["epoch"], record(out)["finished"]) == (2, True)


def test_what_is_not_given_again_comes_from_the_run(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--set", "training.learning_rate=0.02", "--seed", "5", "--epochs", "1", "--dtype", "float64")
    assert train(net, out, *options, "--no-augment") == 0
    assert resumed(net, out, "--epochs", "2") == 0
    found = record(out)
    assert found["settings"]["training"]["learning_rate"] == 0.02
    assert found["settings"]["training"]["seed"] == 5
    assert found["options"]["dtype"] == "float64"
    assert found["settings"]["data"].items() >= {"limit": 170, "augment": "none"}.items()
    assert lines(out)[1]["learning_rate"] == pytest.approx(0.01, rel=1e-3)  # half of 0.02 after one epoch of two
    assert load_checkpoint(out)["model"]["states.h1.bias"].dtype == torch.float64


def test_a_run_goes_on_by_its_folder_alone(net: Path, out: Path) -> None:
    assert run(["train", str(out), "--resume", "--epochs", "3", "--no-pictures"]) == 0
    assert len(lines(out)) == 3
    text = (out / "architecture.yaml").read_text()
    (out / "architecture.yaml").write_text(text.replace("epochs: 3", "epochs: 4"))
    assert run(["train", str(out / "architecture.yaml"), "--resume", "--out", str(out), "--no-pictures"]) == 0
    assert record(out)["history"][2]["changed"] == {"training.epochs": [3, 4]}


def test_an_edit_of_the_file_is_applied(net: Path, out: Path) -> None:
    net.write_text(NET.replace("learning_rate: 0.05", "learning_rate: 0.01").replace("epochs: 2", "epochs: 3"))
    assert resumed(net, out) == 0
    changed = record(out)["history"][1]["changed"]
    assert changed == {"training.epochs": [2, 3], "training.learning_rate": [0.05, 0.01]}
    # Given with the value of the file, against an override of the run.
    assert resumed(net, out, "--epochs", "4") == 0
    assert resumed(net, out, "--set", "training.epochs=3") == 0
    assert record(out)["history"][3]["changed"] == {"training.epochs": [4, 3]}


@pytest.mark.parametrize(
    ("setting", "before", "now"),
    [
        ("training.learning_rate", 0.05, 0.07),
        ("training.min_learning_rate", 2e-6, 1e-4),
        ("training.momentum", 0.9, 0.5),
        ("training.weight_decay", 2.5e-4, 0.0),
        ("training.batch_size", 50, 30),
        ("training.clip_norm", 1.0, 0.25),
        ("training.warm_start", True, False),
        ("training.checkpoint_minutes", 5.0, 1.0),
        ("dynamics.free_steps", 10, 12),
        ("dynamics.nudged_steps", 5, 6),
        ("dynamics.tolerance", 0.0, 0.1),
        ("learning.beta", 0.2, 0.3),
    ],
)
def test_settings_that_may_change(setting: str, before: float, now: float, net: Path, out: Path) -> None:
    """Each is used from the next epoch on, which ends elsewhere than that of the run with the old value."""
    other = out.with_name("other")
    shutil.copytree(out, other)
    assert resumed(net, other, "--epochs", "3") == 0
    assert resumed(net, out, "--epochs", "3", "--set", f"{setting}={json.dumps(now)}") == 0
    assert record(out)["history"][1]["changed"] == {"training.epochs": [2, 3], setting: [before, now]}
    section, key = setting.split(".")
    assert record(out)["settings"][section][key] == now
    assert same(out, other) == (setting == "training.checkpoint_minutes")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dtype", "float64"), "dtype is float32 in the run and float64 now"),
        (("--limit", "100"), "data.limit is 170 in the run and 100 now"),
        (("--seed", "3"), "training.seed is 0 in the run and 3 now"),
        (("--no-augment",), "data.augment is published in the run and none now"),
        (("--data", "mnist"), "data.name is digits in the run and mnist now"),
        (("--schedule", "coloring"), "dynamics.schedule is even_odd in the run and coloring now"),
        (("--set", "learning.estimator=positive"), "learning.estimator is centered in the run and positive now"),
        (("--set", "states.h2.channels=8"), "states.h2.channels is 6 in the run and 8 now"),
        (("--set", "edges.1.gain=0.5"), "edges[1].gain is not given in the run and 0.5 now"),
        (("--set", "init.rule=graph_aware"), "init.rule is published in the run and graph_aware now"),
    ],
)
def test_settings_that_make_another_run(
    options: tuple[str, ...], message: str, net: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(out)
    capsys.readouterr()
    assert resumed(net, out, *options) == 1
    assert capsys.readouterr().err.startswith(f"{out} cannot be resumed: {message}; ")
    assert content(out) == before


def test_data_that_have_changed_are_refused(net: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = record(out)
    found["data"]["train"] = 171
    (out / "run.json").write_text(json.dumps(found))
    assert resumed(net, out, "--epochs", "3") == 1
    assert "data.train is 171 in the run and 170 now" in capsys.readouterr().err


def test_resume_without_a_checkpoint_starts(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(net, out, "--resume") == 0
    assert len(lines(out)) == 2
    # Stopped after the record and before the first checkpoint.
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(out / "run.json", other)
    assert train(net, other, "--resume") == 0
    assert same(out, other)


def test_resume_without_a_checkpoint_in_a_folder_of_others(net: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    assert train(net, tmp_path / "home", "--resume") == 1
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("batches", "number"),
    [(1, signal.SIGINT), (3, signal.SIGTERM), (4, signal.SIGHUP), (5, signal.SIGTERM), (8, signal.SIGINT)],
)
def test_a_signal_leaves_a_run_that_goes_on_to_the_bit(
    batches: int,
    number: signal.Signals,
    net: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut = out.with_name("cut")
    capsys.readouterr()
    with stopped_after(monkeypatch, batches, number):
        assert train(net, cut) == 128 + number
    epoch, batch = divmod(batches - 1, 4)
    place = f"epoch {epoch + 1}, batch {batch + 1}"
    assert f"stopped by {number.name} at {place}; {cut / 'last.pt'} holds {place}; continue" in capsys.readouterr().err
    checkpoint = load_checkpoint(cut)
    assert (checkpoint["epoch"], checkpoint["batch"]) == (epoch, batch + 1)
    assert resumed(net, cut) == 0
    assert_same_runs(out, cut)
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def test_hanging_up_is_ignored_where_it_was(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_after(monkeypatch, 2, signal.SIGHUP):
            assert train(net, tmp_path / "run") == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("batches", [3, 4, 5])
def test_noise_goes_on_to_the_bit(batches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = tmp_path / "noisy.yaml"
    net.write_text(NET.replace("nudged_steps: 5}", "nudged_steps: 5, noise: 0.05}"))
    assert train(net, tmp_path / "whole") == 0
    with stopped_after(monkeypatch, batches):
        assert train(net, tmp_path / "cut") == 130
    assert resumed(net, tmp_path / "cut") == 0
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")


def test_noise_goes_on_to_the_bit_between_epochs(tmp_path: Path) -> None:
    net = tmp_path / "noisy.yaml"
    net.write_text(NET.replace("nudged_steps: 5}", "nudged_steps: 5, noise: 0.05}"))
    settings = ("--set", "training.min_learning_rate=0.05")  # the rate does not depend on the number of epochs
    assert train(net, tmp_path / "whole", *settings) == 0
    assert train(net, tmp_path / "cut", *settings, "--epochs", "1") == 0
    assert resumed(net, tmp_path / "cut", "--epochs", "2") == 0
    assert same(tmp_path / "whole", tmp_path / "cut")


class Coins(torch.utils.data.Dataset[Any]):
    """Examples whose augmentation is all there is to them."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        return torch.rand(1), index


def test_augmentation_depends_on_seed_epoch_and_example_alone() -> None:
    from epgraph.training.batches import Seeded, batches

    def drawn(seed: int, epoch: int, workers: int, order: list[int], size: int) -> dict[int, float]:
        loader = batches(Seeded(Coins(), seed, epoch), size, device=torch.device("cpu"), workers=workers, order=order)
        return {int(i): float(v) for x, y in loader for v, i in zip(x, y, strict=True)}

    forward, backward = list(range(12)), list(reversed(range(12)))
    torch.manual_seed(1)
    whole = drawn(0, 0, 0, forward, 4)
    assert len(set(whole.values())) == 12
    assert drawn(0, 0, 2, backward, 5) == whole
    assert drawn(0, 0, 0, backward[:6], 3).items() <= whole.items()
    assert not set(drawn(0, 1, 0, forward, 4).values()) & set(whole.values())
    assert not set(drawn(1, 0, 0, forward, 4).values()) & set(whole.values())
    before = torch.get_rng_state()
    drawn(0, 0, 0, forward, 4)
    assert torch.equal(torch.get_rng_state(), before)  # the noise of a training is not disturbed


def test_checkpoints_within_an_epoch(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from epgraph.training import trainer

    places = []
    original = trainer.save_checkpoint

    def save(path: Path, engine: Any, **progress: Any) -> None:
        if path.name == "last.pt":
            places.append((progress["epoch"], progress["batch"]))
        original(path, engine, **progress)

    monkeypatch.setattr(trainer, "save_checkpoint", save)
    assert train(net, tmp_path / "often", "--set", "training.checkpoint_minutes=1e-9") == 0
    assert places[0] == (0, 0)
    assert set(places) >= {(e, b) for e in (0, 1) for b in (1, 2, 3, 4)}
    places.clear()
    assert train(net, tmp_path / "seldom") == 0
    assert places == [(0, 0), (1, 0), (2, 0)]


def test_best_is_the_epoch_with_the_lowest_test_error(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(net, out, "--epochs", "6") == 0
    first = min(lines(out), key=lambda line: line["test_error"])
    best = load_checkpoint(out / "best.pt")
    assert best["epoch"] == first["epoch"]
    assert best["best"] == {"epoch": first["epoch"], "value": first["test_error"]}


def test_a_run_starts_from_weights(net: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in (out, out / "best.pt"):
        other = tmp_path / f"from-{source.name}"
        assert train(net, other, "--from", str(source), "--set", "training.learning_rate=1e-5", "--epochs", "1") == 0
        moved = load_checkpoint(other)["model"]
        for name, value in load_checkpoint(source)["model"].items():
            torch.testing.assert_close(moved[name], value, atol=1e-3, rtol=0)
        assert record(other)["weights_from"] == str(source)
        assert lines(other)[0]["epoch"] == 1
    net.write_text(NET.replace("h2: {channels: 6}", "h2: {channels: 7}"))
    capsys.readouterr()
    assert train(net, tmp_path / "another", "--from", str(out)) == 1
    assert "of another network: its 'edges.h1_h2.weight' is float32 of shape (6, 4, 3, 3), " in capsys.readouterr().err
    assert not (tmp_path / "another").exists()


# One process, and nothing lost


def test_a_second_process_is_refused_with_the_first_ones_number(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with locked(RunFolder(out)):
        (out / "run.json").write_text("{}")
        for option in ("--resume", "--overwrite"):
            arguments = ["train", str(net), "--data", "digits", "--out", str(out), option]
            code, said = processes.finished(partial(run, arguments), tmp_path / "said")
            assert code == 1
            assert f"the run folder {out} is being written by process {os.getpid()}; " in said
    assert not (out / ".lock.pid").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "down/..", "link", "dangling", "file"])
def test_paths_that_are_no_run_folder(
    name: str, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "down").mkdir()
    (tmp_path / "link").symlink_to("down")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").write_text("x")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    for option in ((), ("--overwrite",), ("--resume",)):
        assert run(["train", str(net), "--data", "digits", "--out", name, *option]) == 1
        message = capsys.readouterr().err
        assert "--out" in message
        assert message.count("\n") == 1
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("foreign", [".git/HEAD", "notes.txt", "tensorboard/mine.txt", "last.pt.txt", ".replaced/a"])
def test_overwrite_deletes_nothing_that_a_run_did_not_write(
    foreign: str, net: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = out / foreign
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    before = content(out)
    assert train(net, out, "--overwrite") == 1
    assert f"{out} holds files that no run of epgraph wrote: " in capsys.readouterr().err
    assert content(out) == before


def test_overwrite_does_not_follow_links(net: Path, out: Path) -> None:
    kept = out.with_name("kept.pt")
    shutil.move(out / "last.pt", kept)
    (out / "last.pt").symlink_to(kept)
    before = kept.read_bytes()
    assert train(net, out, "--overwrite") == 1
    assert kept.read_bytes() == before


def test_overwrite_demands_a_run(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of that name alone does not make a folder a run of ours."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "architecture.yaml").write_text("mine")
    assert train(net, tmp_path / "home", "--overwrite") == 1
    assert "holds files but is no run folder" in capsys.readouterr().err
    assert (tmp_path / "home" / "architecture.yaml").read_text() == "mine"


def test_killed_overwrites_do_not_lose_a_finished_run(net: Path, out: Path) -> None:
    before = load_checkpoint(out)["model"]
    long = net.with_name("long.yaml")
    long.write_text(NET.replace("epochs: 2", "epochs: 100000"))
    for _ in range(2):
        killed(long, out, lambda: (out / "batches.jsonl").exists() and lines(out) != [])
        kept = load_checkpoint(out / REPLACED)["model"]
        assert all(torch.equal(value, kept[name]) for name, value in before.items())
    # The run that finishes in the end takes its place.
    assert train(net, out, "--overwrite", "--epochs", "1") == 0
    assert not (out / REPLACED).exists()
    assert len(lines(out)) == 1


def killed(net: Path, out: Path, when: Callable[[], bool]) -> None:
    """Start a training over in a process of its own, and kill it as soon as ``when`` says so."""
    arguments = ["train", str(net), "--data", "digits", "--limit", "170", "--out", str(out), "--overwrite"]
    process = processes.start(partial(run, arguments), net.with_name("said"))
    started = record(out)["history"][0]["started"]
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if record(out)["history"][0]["started"] != started and when():
                break
        except FileNotFoundError:
            pass  # between two moves
        assert process.exitcode is None
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("moves", range(12))
def test_a_replacement_that_is_cut_short_is_undone(moves: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it stops, the next process finds either the old run in its place or the old run set aside."""
    folder, before = RunFolder(out), content(out)
    original, left = Path.rename, moves

    def rename(path: Path, target: Path) -> Path:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        return original(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        try:
            folder.set_aside(lambda path: True)
            finished = True
        except KeyboardInterrupt:
            finished = False
    folder.recover()
    assert content(out / REPLACED if finished else out) == before
    if finished:
        folder.restore_replaced()
        assert content(out) == before


def test_half_written_files_are_cleared_away(net: Path, out: Path) -> None:
    (out / "last.pt.partial").write_bytes(b"half")
    assert resumed(net, out, "--epochs", "3") == 0
    assert not list(out.glob("*.partial"))


# What does not end a training


def test_a_reader_that_goes_away(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stream closed, full or without a reader: the run is finished, and the exit code says so.

    Pictures are drawn where every stream is closed, and files get the numbers of streams.
    """
    program = f"{sys.executable} -c 'from epgraph.cli import main; main()'"
    # Arrays of a file: what loads the digits takes a third of the time of these five processes.
    labels = np.arange(170) % 10
    arrays = {"x_train": np.random.default_rng(0).random((170, 1, 8, 8)), "y_train": labels}
    np.savez(tmp_path / "a.npz", **arrays, x_test=arrays["x_train"][:20], y_test=labels[:20])
    data = f"tensors:{tmp_path / 'a.npz'}"
    for number, tail in enumerate(("| head -1 >{0}", ">/dev/full 2>{0}", ">&- 2>{0}", "2>&- >{0}", ">&- 2>&- <&-")):
        out, said = tmp_path / f"run{number}", tmp_path / f"said{number}"
        pictures = "--pictures" if "<&-" in tail else "--no-pictures"
        arguments = f"train {net} --data {data} --out {out} {pictures}"
        script = f"set -o pipefail; {program} {arguments} {tail.format(said)}"
        done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (tail, done.returncode) == (tail, 0)
        assert len(lines(out)) == 2
        assert load_checkpoint(out)["epoch"] == 2
        assert "Traceback" not in done.stderr
        if "head" in tail:
            assert said.read_text().startswith(data)
            assert done.stderr.count("warning: standard output cannot be written any more: Broken pipe") == 1
        if "full" in tail:
            assert said.read_text().count("warning: standard output cannot be written any more: No space left") == 1


@pytest.mark.parametrize("name", ["curves.png", "network.svg", "tensorboard"])
def test_a_picture_that_cannot_be_drawn(name: str, net: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder stands in the place of a picture, a file in that of TensorBoard's folder."""
    path = out / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.write_text("x") if name == "tensorboard" else path.mkdir()
    capsys.readouterr()
    assert resumed(net, out, "--pictures", "--epochs", "4") == 0
    said = capsys.readouterr().err
    what = "TensorBoard is not written any more" if name == "tensorboard" else f"{name} is not drawn"
    assert said.count(f"warning: {what}") == 1
    assert len(lines(out)) == 4


def test_pictures_are_optional(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(net, out, "--no-pictures") == 0
    assert not (out / "curves.png").exists()
    assert not (out / "network.svg").exists()


def test_training_at_chance_says_so(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frozen = ("--set", "training.learning_rate=1e-9", "--set", "training.min_learning_rate=0.0")
    assert train(net, tmp_path / "run", *frozen) == 0
    said = capsys.readouterr().err
    assert said.count("warning: after epoch 1 the accuracy is at chance: ") == 1
    assert "after epoch 2" not in said
    # The command runs as it is printed, on the data of the run.
    (command,) = re.findall(r"to check the gradient: epgraph (gradcheck .*)", said)
    assert run([*shlex.split(command), "--quick", "--examples", "2"]) == 0
    where = f"{tmp_path / 'run'}, last.pt (epoch 2)"
    assert f"2 training examples of digits, weights: {where}" in capsys.readouterr().out


# What ends it, with what is safe


def filled(work: Callable[[], int], largest: int) -> int:
    """Do it in this process, in which no file can become larger once a checkpoint is written.

    Not from the start: everything else that a process writes, such as caches, would be cut off as well.
    """
    from epgraph.training import trainer

    original = trainer.save_checkpoint

    def save(path: Path, engine: ep.Engine, **progress: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        original(path, engine, **progress)

    trainer.save_checkpoint = save
    return work()


def test_a_full_disk(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(net, out) == 0
    size = (out / "last.pt").stat().st_size
    before = content(out)
    arguments = ["train", str(net), "--out", str(out), "--resume", "--epochs", "4", "--no-pictures"]
    work = partial(filled, partial(run, arguments), size // 2)
    code, said = processes.finished(work, tmp_path / "said")
    assert code == 1, said
    assert "training stopped at the end of epoch 3: " in said
    assert "cannot be written: File too large; " in said
    assert f"{out / 'last.pt'} holds the end of epoch 2" in said
    assert (out / "last.pt").read_bytes() == before["last.pt"]
    assert not list(out.glob("*.partial"))
    assert resumed(net, out) == 0
    assert len(lines(out)) == 4


def reasons_of(checkpoint: Path, path: Path) -> int:
    """Write a checkpoint where there is less and less room; print the reasons why that fails."""
    content, engine, reasons = load_checkpoint(checkpoint), ep.compile(NET), set()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for largest in range(checkpoint.stat().st_size // 2, 0, -256):
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
        with pytest.raises(WriteError) as caught:
            save_checkpoint(path, engine, **content)
        reasons.add(str(caught.value))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    print(*reasons, sep="\n")
    return 0


def test_the_reason_is_the_systems_wherever_the_room_ends(out: Path, tmp_path: Path) -> None:
    """Between the system and us torch says that its positions differ."""
    work = partial(reasons_of, out / "last.pt", tmp_path / "new.pt")
    code, said = processes.finished(work, tmp_path / "said")
    assert (code, said) == (0, f"{tmp_path / 'new.pt'}: cannot be written: File too large\n")


def test_a_deleted_run_folder(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from epgraph.data import load_data

    out = tmp_path / "run"
    out.mkdir()
    data = load_data("digits", shape=(1, 8, 8), classes=10, limit=100)

    class Deleting(Callback):
        def epoch(self, metrics: dict[str, float]) -> None:
            shutil.rmtree(out)

    trainer = Trainer(ep.compile(net), data, Run(out, progress=False, callbacks=[Deleting()]))
    with pytest.raises(ep.EpgraphError, match=r"training stopped at .*cannot be written: No such file"):
        trainer.train()


class Deadly(torch.utils.data.Dataset[Any]):
    """Kills the process that loads its 60th example."""

    def __init__(self, examples: Any) -> None:
        self.examples, self.parent = examples, os.getpid()

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        if index == 60 and os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.examples[index]


def test_a_killed_data_worker(net: Path, tmp_path: Path) -> None:
    from epgraph.data import load_data

    data = load_data("digits", shape=(1, 8, 8), classes=10, limit=100)
    deadly = type(data)(data.name, Deadly(data.train), data.test, data.classes, data.shape)  # type: ignore[arg-type]
    engine = ep.compile(ep.load(net, ["training.batch_size=10"]))
    with pytest.raises(ep.EpgraphError, match=r"a process that loads data was killed, .*--workers 0"):
        Trainer(engine, deadly, Run(tmp_path, workers=1, progress=False)).train()
    checkpoint = load_checkpoint(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "batches.jsonl").read_text().splitlines()]
    assert (checkpoint["epoch"], checkpoint["batch"]) == (0, len(rows))


def test_killed_trainings_go_on_to_the_bit(tmp_path: Path) -> None:
    """The short form of ``make crash``, in a process of its own: it forks."""
    code, said = processes.finished(partial(crash, 6, 0), tmp_path / "said")
    assert code == 0, said
    assert re.search(r"6 kills \(seed 0\), [1-6] of them in a training under way; [1-9]", said)
