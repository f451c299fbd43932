"""Optimizers of the user's own: registered by name, chosen by ``training.optimizer``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.graph.load import inspect
from epgraph.optimizers import OPTIMIZERS
from epgraph.training import load_checkpoint, make_optimizer
from epgraph.training.optimizer import learning_rate
from tests.helpers.runs import NET, lines


@pytest.fixture(autouse=True)
def _own_registry() -> Iterator[None]:
    before = dict(OPTIMIZERS)
    yield
    OPTIMIZERS.clear()
    OPTIMIZERS.update(before)


PLUGIN = """\
import torch
import epgraph as ep

ep.register_optimizer("adam", torch.optim.Adam, betas=(0.8, 0.99))
"""


def test_the_built_in_optimizer_is_sgd_as_configured() -> None:
    optimizer = make_optimizer(ep.compile(NET))
    assert type(optimizer) is torch.optim.SGD
    training = ep.load(NET).training
    for group in optimizer.param_groups:
        assert (group["momentum"], group["nesterov"]) == (training.momentum, training.nesterov)
        assert group["weight_decay"] == training.weight_decay


def test_an_optimizer_from_a_plugin_trains_and_goes_on_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(PLUGIN)
    Path("net.yaml").write_text(NET)
    options = ["--data", "digits", "--limit", "60", "--plugin", "own.py", "--no-pictures"]
    adam = ["--set", "training.optimizer=adam", "--set", "training.learning_rate=0.002"]
    floor = ["--set", "training.min_learning_rate=0.002"]  # the rate does not depend on the number of epochs
    assert run(["train", "net.yaml", "--out", "whole", "--epochs", "2", *options, *adam, *floor]) == 0
    assert run(["train", "net.yaml", "--out", "half", "--epochs", "1", *options, *adam, *floor]) == 0
    assert run(["train", "half", "--resume", "--epochs", "2", "--plugin", "own.py", "--no-pictures"]) == 0
    whole, half = (load_checkpoint(Path(name)) for name in ("whole", "half"))
    for name, value in whole["model"].items():
        assert torch.equal(value, half["model"][name]), name
    assert {key for state in whole["optimizer"].values() for key in state} == {"step", "exp_avg", "exp_avg_sq"}
    assert [row["learning_rate"] for row in lines(Path("whole"))] == [0.002, 0.002]
    capsys.readouterr()
    assert run(["train", "half", "--resume", "--plugin", "own.py", "--set", "training.optimizer=sgd"]) == 1
    assert "training.optimizer is adam in the run and sgd now" in capsys.readouterr().err


def test_options_schedule_and_what_the_class_has_arguments_for() -> None:
    def linear(first: float, last: float, progress: float) -> float:
        return first + (last - first) * progress

    ep.register_optimizer("adamw", torch.optim.AdamW, schedule=linear, betas=(0.8, 0.99))
    engine = ep.compile(ep.load(NET, ["training.optimizer=adamw", "training.min_learning_rate=0.01"]))
    (group,) = make_optimizer(engine).param_groups
    training = engine.architecture.training
    assert (group["betas"], group["weight_decay"]) == ((0.8, 0.99), training.weight_decay)
    assert learning_rate(0.05, 1, training) == pytest.approx(0.05 + (0.01 - 0.05) / training.epochs)


def test_keys_that_an_optimizer_has_no_argument_for_are_warned_of() -> None:
    ep.register_optimizer("adam", torch.optim.Adam)
    settings = ["training.optimizer=adam", "training.momentum=0.5", "training.weight_decay=0.001"]
    _, diagnostics = inspect(NET, settings)
    messages = [one.message for one in diagnostics]
    assert "'momentum' has no effect: optimizer adam does not use it" in messages
    assert not any("'weight_decay'" in message for message in messages)


@pytest.mark.parametrize(
    ("name", "build", "message"),
    [
        ("sgd", torch.optim.Adam, "'sgd' cannot be registered: it is built in"),
        ("my adam", torch.optim.Adam, "'my adam' cannot be registered: it is not a name"),
        ("mine", "Adam", "'mine' cannot be registered: expected a class of torch.optim, found text 'Adam'"),
    ],
)
def test_what_cannot_be_registered(name: str, build: Any, message: str) -> None:
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        ep.register_optimizer(name, build)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda groups, rate: None, "the optimizer 'own' cannot be made: TypeError: "),
        (lambda groups: None, "the optimizer 'own' is no torch.optim.Optimizer but of type NoneType"),
    ],
)
def test_optimizers_that_cannot_be_made(build: Any, message: str) -> None:
    ep.register_optimizer("own", build)
    with pytest.raises(ep.EpgraphError, match=re.escape(message)):
        make_optimizer(ep.compile(ep.load(NET, ["training.optimizer=own"])))
