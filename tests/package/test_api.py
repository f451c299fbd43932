"""The functions of Python: what they return is what the command line prints, and misuse is refused by name."""

from __future__ import annotations

import ast
import doctest
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph import api, api_predict, api_report, api_studies
from epgraph.cli import run
from tests.helpers.runs import NET, assert_same_runs, given, lines, stopped_after
from tests.helpers.runs import train as train_by_command

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "examples" / "digits.yaml")


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.yaml"
    path.write_text(NET)
    return path


# Names


def _names_for_type_checkers() -> set[str]:
    """Public names that a reader of ``epgraph/__init__.py`` sees without running it."""
    tree = ast.parse((ROOT / "epgraph" / "__init__.py").read_text(encoding="utf-8"))
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in [*branch.body, *tree.body] if isinstance(node, ast.ImportFrom)]
    names = {alias.asname or alias.name for node in imports for alias in node.names}
    return names - {"annotations", "import_module", "TYPE_CHECKING", "Any"}


def test_every_name_is_listed_resolved_and_typed() -> None:
    assert set(dir(ep)) == _names_for_type_checkers() == {*ep.__all__, "topologies"}
    for name in dir(ep):
        assert getattr(ep, name) is not None
    from epgraph.kinds import KINDS

    assert {kind.__name__ for kind in KINDS.values()} <= set(dir(ep))


def test_the_list_of_names_loads_nothing() -> None:
    code = "import epgraph, sys; assert 'Conv' in dir(epgraph) and 'epgraph.kinds' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.slow
def test_mypy_sees_every_name(tmp_path: Path) -> None:
    lines = ["import epgraph as ep", *(f"x{i} = ep.{name}" for i, name in enumerate(dir(ep)))]
    (tmp_path / "snippet.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(tmp_path / "snippet.py")], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


# Examples; the README has those of load, compile and render


OWN = [name for name in api.__all__ if getattr(ep, name).__module__ == api.__name__]


FURTHER = ["converge", "explore", *api_predict.__all__, *api_studies.__all__, *api_report.__all__]


@pytest.mark.parametrize("name", [*OWN, *FURTHER])
def test_the_example_of_a_docstring_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    tests = doctest.DocTestFinder(recurse=False).find(getattr(ep, name), name, globs={})
    assert sum(len(test.examples) for test in tests) > 0, f"{name} has no example"
    for test in tests:
        assert doctest.DocTestRunner().run(test).failed == 0


# Training


def test_a_training_from_python_is_that_of_the_command(net: Path, tmp_path: Path) -> None:
    assert train_by_command(net, tmp_path / "command", "--no-pictures") == 0
    result = ep.train(net, "digits", out=tmp_path / "python", limit=170, pictures=False, warn=lambda _: None)
    assert_same_runs(tmp_path / "command", tmp_path / "python")
    assert (result.folder, result.epoch) == (tmp_path / "python", 2)
    assert result.metrics == json.loads((tmp_path / "python" / "metrics.jsonl").read_text().splitlines()[-1])
    assert result.options["backend"] == "eager"
    weights = ep.load_checkpoint(result.folder)["model"]
    assert all(torch.equal(value, weights[name]) for name, value in result.engine.state_dict().items())
    command, python = (json.loads((tmp_path / n / "run.json").read_text()) for n in ("command", "python"))
    for key in ("settings", "given", "options", "data", "finished"):
        assert command[key] == python[key]


def test_networks_data_and_folders_of_ones_own(net: Path, tmp_path: Path) -> None:
    """An architecture in place of a file, examples in place of a name, and the folder that follows from both."""
    architecture = ep.load(net)
    data = ep.load_data(architecture, "digits", limit=170)
    options: dict[str, Any] = {"pictures": False, "warn": lambda _: None}
    result = ep.train(architecture, data, epochs=1, seed=3, **options)
    assert result.folder == Path("runs/tiny-digits")
    assert result.engine.architecture == ep.load(net, ["training.epochs=1", "training.seed=3", *given()])
    further = ep.train(result.folder, data, resume=True, epochs=2, **options)
    whole = ep.train(NET, "digits", out="whole", limit=170, overrides=["training.seed=3"], **options)
    assert further.epoch == whole.epoch == 2
    finished = ep.train(result.folder, resume=True, **options)
    assert (finished.metrics, finished.epoch) == ({}, 2)
    with pytest.raises(ep.EpgraphError, match=r"holds a finished run; train it further with --resume"):
        ep.train(architecture, data, **options)


class Recorder(ep.Callback):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self, engine: ep.Engine, data: ep.Data) -> None:
        self.calls.append(f"start {engine.architecture.name} {data.name}")

    def epoch(self, metrics: dict[str, float]) -> None:
        self.calls.append(f"epoch {metrics['epoch']}")

    def end(self) -> None:
        self.calls.append("end")


def test_callbacks_are_called_in_order(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    options: dict[str, Any] = {"limit": 170, "pictures": False, "callbacks": [recorder], "warn": lambda _: None}
    ep.train(net, "digits", out="run", **options)
    assert recorder.calls == ["start tiny digits", "epoch 1", "epoch 2", "end"]
    recorder.calls.clear()
    with (
        stopped_after(monkeypatch, batches=6),
        pytest.raises(ep.Stopped, match=r"stopped by SIGINT .*--resume") as caught,
    ):
        ep.train(net, "digits", out="cut", **options)
    assert caught.value.exit_code == 128 + signal.SIGINT
    assert recorder.calls == ["start tiny digits", "epoch 1", "end"]
    ep.train(net, "digits", out="cut", resume=True, **options)
    assert_same_runs(Path("run"), Path("cut"))


def test_a_training_on_another_thread_leaves_signals_alone(net: Path) -> None:
    results = []

    def train() -> None:
        results.append(ep.train(net, "digits", limit=64, epochs=1, pictures=False, warn=lambda _: None))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert results[0].epoch == 1


def test_warn_is_called_only_where_there_is_something_to_say(net: Path) -> None:
    told: list[Any] = []
    made = ep.train(net, "digits", limit=64, epochs=1, pictures=False, callbacks=[], warn=told.append)
    ep.evaluate(made.engine, "digits", limit=64, warn=told.append)
    assert all(told)


def test_what_is_doubtful_is_a_python_warning(net: Path) -> None:
    with pytest.warns(UserWarning, match="the accuracy is at chance"):
        ep.train(net, "digits", limit=170, epochs=1, pictures=False)


# What the other commands print


def test_evaluate_returns_what_the_command_prints(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = ep.train(net, "digits", out="run", limit=170, epochs=1, pictures=False, warn=lambda _: None)
    capsys.readouterr()
    assert run(["eval", "run", "--data", "digits", "--limit", "170", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    data = ep.load_data(net, "digits", limit=170)
    for network in ("run", Path("run/last.pt"), trained.engine):
        assert json.loads(json.dumps(ep.evaluate(network, data).to_dict())) == printed
    assert ep.evaluate("run", "digits", limit=170).accuracy == 1 - lines(Path("run"))[-1]["test_error"]


def test_gradcheck_returns_what_the_command_prints(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gradcheck", str(net), "--examples", "2", "--quick", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    result = ep.gradcheck(net, examples=2, quick=True)
    assert result.to_dict() == printed
    assert (result.level, list(result.verdict)) == (printed["verdict"]["level"], printed["verdict"]["lines"])
    engine = ep.compile(net, dtype=torch.float64)
    # Nobody knows whether those are initial.
    named = {**printed, "network": {**printed["network"], "weights": "those of the engine"}}
    assert ep.gradcheck(engine, examples=2, quick=True).to_dict() == named
    assert run(["gradcheck", str(net), "--examples", "2", "--quick"]) == 0
    assert capsys.readouterr().out.splitlines() == result.lines()
    with pytest.raises(ep.EpgraphError, match="the report does not say how the gradient varies"):
        result.draw("check.png")


def test_check_returns_mistakes_and_prints_as_the_command(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = ep.check(net)
    assert run(["check", str(net), "--json"]) == 0
    assert result.to_dict() == json.loads(capsys.readouterr().out)
    assert run(["check", str(net)]) == 0
    assert capsys.readouterr().out.splitlines() == result.lines()
    assert ep.check(ep.load(net)).report == result.report
    broken = ep.check(net, ["states.h1.channels=0"])
    assert (broken.ok, broken.report, broken.lines()) == (False, None, [])
    assert [d.severity for d in broken.diagnostics] == ["error"]


def test_tune_records_what_the_command_would(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(net.parent))
    monkeypatch.setattr("epgraph.tuning.ROUNDS", 1)
    result = ep.tune(net, batch=2, backends=["eager"], device="cpu")
    assert (result.backend, result.batch, len(result.timings)) == ("eager", 2, 1)
    assert result.record is not None
    assert json.loads(result.record.read_text())["batch"] == 2
    assert result.lines()[-1] == f"eager is on record: {result.record}"
    assert ep.tune(result.engine, batch=3, backends=["eager"]).record is None


# Misuse


MISUSE: list[tuple[Callable[[], Any], str]] = [
    (lambda: ep.train(None, "digits"), "expected the path of a YAML file or YAML text, found None"),  # type: ignore[arg-type]
    (lambda: ep.train(None, resume=True), "expected the path of a YAML file or YAML text, found None"),  # type: ignore[arg-type]
    (lambda: ep.gradcheck({}), "expected the path of a YAML file or YAML text, found a dict"),  # type: ignore[arg-type]
    (lambda: ep.load_data(3, "digits"), "expected the path of a YAML file or YAML text, found 3"),  # type: ignore[arg-type]
    (lambda: ep.train(DIGITS, 3), "data expects a name, Data, or two data sets, found 3; write (train, test)"),
    (
        lambda: ep.train(str(ROOT / "examples" / "mlp.yaml")),
        "no data set is named; write data: {name: digits} in the file, or pass",
    ),
    (lambda: ep.train(DIGITS, "digits", epochs=0), "epochs must be at least 1, found 0"),
    (lambda: ep.train(DIGITS, "digits", seed=-1), "seed must be from 0 to 4294967295, found -1"),
    (lambda: ep.train(DIGITS, "digits", limit=True), "limit expects a whole number, found True"),
    (lambda: ep.train(DIGITS, "digits", dtype="float31"), "unknown dtype 'float31'; did you mean 'float32'?"),
    (
        lambda: ep.train(DIGITS, "digits", schedule="colouring"),
        "unknown schedule 'colouring'; did you mean 'coloring'?",
    ),
    (lambda: ep.train(DIGITS, "digits", overrides="training.epochs=1"), "overrides expects a list"),
    (lambda: ep.train(DIGITS, "digits", callbacks=[print]), "an entry of callbacks expects a Callback"),  # type: ignore[list-item]
    (lambda: ep.train(DIGITS, "digits", resume="yes"), "resume expects True or False, found text 'yes'"),  # type: ignore[arg-type]
    (lambda: ep.train(DIGITS, "digits", resume=True, overwrite=True), "--overwrite and --resume exclude each other"),
    (lambda: ep.train(DIGITS, "digits", out=b"run"), "out expects a path, found bytes"),  # type: ignore[arg-type]
    (lambda: ep.train(DIGITS, "digits", device=3), "device expects text, found 3"),  # type: ignore[arg-type]
    (lambda: ep.train("nowhere", resume=True), "there is no run folder nowhere; give the run folder"),
    (lambda: ep.evaluate("nowhere", "digits"), "nowhere: there is no checkpoint"),
    (lambda: ep.evaluate(3, "digits"), "path expects a path, found 3"),  # type: ignore[arg-type]
    (lambda: ep.evaluate(DIGITS, "digits", free_steps=0), "free_steps must be at least 1, found 0"),
    (lambda: ep.gradcheck(DIGITS, examples=0), "examples must be at least 1, found 0"),
    (lambda: ep.gradcheck(DIGITS, quick=1), "quick expects True or False, found 1"),  # type: ignore[arg-type]
    (lambda: ep.gradcheck(DIGITS, dtype="float16"), "unknown dtype 'float16'"),
    (lambda: ep.tune(DIGITS, backends=["onedn"]), "unknown backend 'onedn'; did you mean 'onednn'?"),
    (lambda: ep.tune(DIGITS, batch=1.5), "batch expects a whole number, found 1.5"),  # type: ignore[arg-type]
    (lambda: ep.check(DIGITS, schedule="x"), "unknown schedule 'x'"),
    (lambda: ep.check(DIGITS, verify="no"), "verify expects True or False, found text 'no'"),  # type: ignore[arg-type]
    (lambda: ep.load_data(DIGITS, "mnits"), "there is no data set 'mnits'; did you mean 'mnist'?"),
    (lambda: ep.load_data(DIGITS, "digits", augment=1), "augment expects True or False, found 1"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("call", "message"), MISUSE, ids=[message for _, message in MISUSE])
def test_misuse_is_refused_by_name(
    call: Callable[[], Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        call()
    assert list(tmp_path.iterdir()) == []


def test_what_runs_from_the_command_line_goes_on_from_a_folder_only(
    net: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    for folder, message in (
        ("runs/nothere", "there is no run folder runs/nothere"),
        ("empty", "empty is no run folder: it has no architecture.yaml"),
    ):
        assert run(["train", folder, "--resume"]) == 1
        hint = "give the run folder that 'epgraph train' left, or the network file"
        assert capsys.readouterr().err == f"{message}; {hint}\n"


def test_a_schema_replaces_a_schema_only(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema", "-o", "net.yaml"]) == 1
    assert capsys.readouterr().err == (
        "net.yaml: exists and is no schema of epgraph; name another file, or delete it\n"
    )
    assert net.read_text() == NET
    Path("empty.json").touch()
    for name in ("net.json", "net.json", "empty.json"):
        assert run(["schema", "-o", name]) == 0
        assert json.loads(Path(name).read_text())["title"] == "epgraph architecture"
