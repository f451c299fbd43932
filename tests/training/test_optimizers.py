"""Optimizers and schedules of the learning rate: built in or registered, chosen by name in ``training``."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.graph.load import inspect
from epgraph.rates import RATE_SCHEDULES
from epgraph.training import load_checkpoint, make_optimizer
from epgraph.training.optimizer import learning_rate
from tests.helpers.runs import NET, lines

PLUGIN = """\
import torch
import epgraph as ep

ep.register_optimizer("own_adam", torch.optim.Adam, betas=(0.8, 0.99))
"""


def test_the_built_in_optimizer_is_sgd_as_configured() -> None:
    optimizer = make_optimizer(ep.compile(NET))
    assert type(optimizer) is torch.optim.SGD
    training = ep.load(NET).training
    for group in optimizer.param_groups:
        assert (group["momentum"], group["nesterov"]) == (training.momentum, training.nesterov)
        assert group["weight_decay"] == training.weight_decay


@pytest.mark.parametrize("name", ["own_adam", "adam", "adamw"])
def test_an_optimizer_trains_and_goes_on_to_the_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One from a plugin, and the built-in ones beside SGD."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(PLUGIN)
    Path("net.yaml").write_text(NET)
    options = ["--data", "digits", "--limit", "60", "--plugin", "own.py", "--no-pictures"]
    adam = ["--set", f"training.optimizer={name}", "--set", "training.learning_rate=0.002"]
    floor = ["--set", "training.min_learning_rate=0.002"]  # the rate does not depend on the number of epochs
    assert run(["train", "net.yaml", "--out", "whole", "--epochs", "2", *options, *adam, *floor]) == 0
    assert run(["train", "net.yaml", "--out", "half", "--epochs", "1", *options, *adam, *floor]) == 0
    assert run(["train", "half", "--resume", "--epochs", "2", "--plugin", "own.py", "--no-pictures"]) == 0
    whole, half = (load_checkpoint(Path(name)) for name in ("whole", "half"))
    for parameter, value in whole["model"].items():
        assert torch.equal(value, half["model"][parameter]), parameter
    for parameter, state in whole["optimizer"].items():
        for key, value in state.items():
            assert torch.equal(value, half["optimizer"][parameter][key]), (parameter, key)
    assert {key for state in whole["optimizer"].values() for key in state} == {"step", "exp_avg", "exp_avg_sq"}
    assert [row["learning_rate"] for row in lines(Path("whole"))] == [0.002, 0.002]
    capsys.readouterr()
    assert run(["train", "half", "--resume", "--plugin", "own.py", "--set", "training.optimizer=sgd"]) == 1
    assert f"training.optimizer is {name} in the run and sgd now" in capsys.readouterr().err


def test_options_schedule_and_what_the_class_has_arguments_for() -> None:
    def linear(first: float, last: float, progress: float) -> float:
        return first + (last - first) * progress

    ep.register_optimizer("own_adamw", torch.optim.AdamW, schedule=linear, betas=(0.8, 0.99))
    engine = ep.compile(ep.load(NET, ["training.optimizer=own_adamw", "training.min_learning_rate=0.01"]))
    (group,) = make_optimizer(engine).param_groups
    training = engine.architecture.training
    assert (group["betas"], group["weight_decay"]) == ((0.8, 0.99), training.weight_decay)
    assert learning_rate(0.05, 1, training) == pytest.approx(0.05 + (0.01 - 0.05) / training.epochs)


@pytest.mark.parametrize("name", ["own_adam", "adam"])
def test_keys_that_an_optimizer_has_no_argument_for_are_warned_of(name: str) -> None:
    ep.register_optimizer("own_adam", torch.optim.Adam)
    settings = [f"training.optimizer={name}", "training.momentum=0.5", "training.weight_decay=0.001"]
    _, diagnostics = inspect(NET, settings)
    messages = [one.message for one in diagnostics]
    assert f"'momentum' has no effect: optimizer {name} does not use it" in messages
    assert not any("'weight_decay'" in message for message in messages)


@pytest.mark.parametrize(
    ("name", "build", "message"),
    [
        ("sgd", torch.optim.Adam, "'sgd' cannot be registered: it is built in"),
        ("adam", torch.optim.Adam, "'adam' cannot be registered: it is built in"),
        ("mine", None, "'mine' cannot be registered: expected a class of torch.optim, found None"),
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


# Schedules of the learning rate

OPTIONS: dict[str, dict[str, Any]] = {"step": {"every": 4, "factor": 0.5}}
"""Options that a schedule cannot do without."""


@pytest.mark.parametrize("name", RATE_SCHEDULES)
def test_every_schedule_begins_at_the_first_rate_and_ends_where_it_says(name: str) -> None:
    schedule = RATE_SCHEDULES[name](**OPTIONS.get(name, {}))
    rates = [schedule.rate(0.1, 0.001, p, 10) for p in range(11)]
    assert rates[0] == pytest.approx(0.004 if name == "one_cycle" else 0.1)
    assert rates[-1] == pytest.approx(0.001 if schedule.falls else {"step": 0.025}.get(name, 0.1))
    assert (name == "one_cycle") == (rates != sorted(rates, reverse=True))


def test_schedules_in_the_middle() -> None:
    middle = {
        "cosine": 0.0505,
        "linear": 0.0505,
        "exponential": 0.01,
        "constant": 0.1,
        "step": 0.05,
        "one_cycle": 0.001 + 0.0495 * (1 + math.cos(math.pi * 2 / 7)),
    }
    for name, rate in middle.items():
        schedule = RATE_SCHEDULES[name](**OPTIONS.get(name, {}))
        assert schedule.rate(0.1, 0.001, 5, 10) == pytest.approx(rate), name


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ([], [0.05, 0.0275, 0.005]),
        (["training.schedule=linear"], [0.05, 0.0275, 0.005]),
        (["training.schedule=exponential"], [0.05, (0.05 * 0.005) ** 0.5, 0.005]),
        (["training.schedule=constant"], [0.05, 0.05, 0.05]),
        (["training.schedule=half"], [0.05, 0.025, 0.0]),
        (["training.optimizer=own"], [0.05, 0.025, 0.0]),
        (["training.optimizer=own", "training.schedule=constant"], [0.05, 0.05, 0.05]),
    ],
)
def test_the_schedule_is_that_of_training_or_else_of_the_optimizer(settings: list[str], rates: list[float]) -> None:
    def falling(first: float, last: float, progress: float) -> float:
        return first * (1 - progress)

    ep.register_schedule("half", falling)
    ep.register_optimizer("own", torch.optim.SGD, schedule=falling)
    training = ep.load(NET, ["training.min_learning_rate=0.005", *settings]).training
    assert [learning_rate(0.05, epoch, training) for epoch in (0, 1, 2)] == pytest.approx(rates)


def test_a_training_follows_the_schedule_and_may_change_it_when_it_goes_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {"limit": 60, "pictures": False, "warn": lambda _: None}
    out = tmp_path / "run"
    ep.train(NET, "digits", out=out, overrides=["training.schedule=constant"], **options)
    assert [row["learning_rate"] for row in lines(out)] == [0.05, 0.05]
    ep.train(out, resume=True, epochs=4, overrides=["training.schedule=linear"], pictures=False, warn=lambda _: None)
    assert [row["learning_rate"] for row in lines(out)] == pytest.approx([0.05, 0.05, 0.025, 0.0125], rel=1e-3)


def test_a_last_rate_that_is_not_reached_has_no_effect() -> None:
    settings = ["training.schedule=constant", "training.min_learning_rate=0.1"]
    architecture, diagnostics = inspect(NET, settings)
    assert [one.message for one in diagnostics] == [
        "'min_learning_rate' has no effect: the constant schedule does not end there"
    ]
    assert architecture is not None
    assert make_optimizer(ep.compile(architecture)).param_groups[0]["base_rate"] == 0.05
    with pytest.raises(ep.EpgraphError, match=r"min_learning_rate 0.1, where the linear schedule ends"):
        ep.load(NET, ["training.schedule=linear", "training.min_learning_rate=0.1"])


def test_schedules_that_cannot_be_registered_or_chosen() -> None:
    with pytest.raises(ep.EpgraphError, match=r"'cosine' cannot be registered: it is built in"):
        ep.register_schedule("cosine", lambda first, last, progress: first)
    with pytest.raises(ep.EpgraphError, match=r"'half' cannot be registered: expected a function of first rate"):
        ep.register_schedule("half", 0.5)  # type: ignore[arg-type]
    with pytest.raises(
        ep.EpgraphError,
        match=r"'schedule' expects 'cosine', 'linear', 'exponential', 'constant', 'step'.* 'one_cycle'.*, found",
    ):
        ep.load(NET, ["training.schedule=stairs"])
