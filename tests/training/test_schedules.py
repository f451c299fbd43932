"""Warm-up, schedules, averages and smoothed labels, against torch's own and against equations written out."""

from __future__ import annotations

import copy
import inspect
import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

import epgraph as ep
from epgraph.graph import inspect as inspect_network
from epgraph.language import to_yaml
from epgraph.optimizers import KEYS, OPTIMIZERS
from epgraph.training import load_checkpoint, make_optimizer
from epgraph.training.checkpoint import engine_from_checkpoint
from epgraph.training.optimizer import learning_rate, load_optimizer_state, optimizer_state
from tests.helpers.runs import NET, lines, same, stopped_after
from tests.helpers.runs import train as train_command

BASE, LEAST, EPOCHS = 0.1, 0.003, 24


def rates(*settings: str, per_epoch: int = 1) -> list[float]:
    """Rates of all batches of a training of 24 epochs."""
    fixed = [f"training.epochs={EPOCHS}", f"training.min_learning_rate={LEAST}"]
    training = ep.load(NET, [*fixed, *(f"training.{setting}" for setting in settings)]).training
    return [learning_rate(BASE, step / per_epoch, training) for step in range(EPOCHS * per_epoch)]


def of_torch(make: Any, steps: int = EPOCHS) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def cosine(optimizer: Any, steps: int = EPOCHS) -> Any:
    return lr_scheduler.CosineAnnealingLR(optimizer, steps, LEAST)


def warmed(optimizer: Any) -> Any:
    """Half an epoch's worth of steps less than four epochs of warm-up at 3 steps each, then a cosine."""
    warm = lr_scheduler.LinearLR(optimizer, 0.2, total_iters=12)
    then = lr_scheduler.CosineAnnealingLR(optimizer, 60, LEAST)
    return lr_scheduler.SequentialLR(optimizer, [warm, then], [12])


@pytest.mark.parametrize(
    ("settings", "per_epoch", "make"),
    [
        (["schedule=cosine"], 1, cosine),
        (["schedule={cosine: {per: step}}"], 5, lambda o: cosine(o, 5 * EPOCHS)),
        (["schedule={cosine: {period: 6}}"], 1, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 6, 1, LEAST)),
        (
            ["schedule={cosine: {period: 2, growth: 3, per: step}}"],
            5,
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, 3, LEAST),
        ),
        (["schedule=linear"], 1, lambda o: lr_scheduler.LinearLR(o, 1.0, LEAST / BASE, EPOCHS)),
        (["schedule=exponential"], 1, lambda o: lr_scheduler.ExponentialLR(o, (LEAST / BASE) ** (1 / EPOCHS))),
        (["schedule=constant"], 1, lambda o: lr_scheduler.ConstantLR(o, 1.0)),
        (["schedule={step: {every: 7, factor: 0.5}}"], 1, lambda o: lr_scheduler.StepLR(o, 7, 0.5)),
        (["schedule={step: {at: [5, 20]}}"], 1, lambda o: lr_scheduler.MultiStepLR(o, [5, 20])),
        (
            ["schedule={one_cycle: {rise: 0.25, divisor: 10}}"],
            5,
            # torch reaches both ends with a step: it divides by one step less.
            lambda o: lr_scheduler.OneCycleLR(
                o, BASE, 5 * EPOCHS + 1, pct_start=31 / 121, div_factor=10, final_div_factor=BASE / 10 / LEAST
            ),
        ),
        (["warmup_epochs=4", "warmup_factor=0.2", "schedule={cosine: {per: step}}"], 3, warmed),
    ],
)
def test_the_rates_are_those_of_torch(settings: list[str], per_epoch: int, make: Any) -> None:
    expected = of_torch(make, EPOCHS * per_epoch)
    assert rates(*settings, per_epoch=per_epoch) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_schedule_per_epoch_changes_with_epochs_alone_and_a_warm_up_with_every_batch() -> None:
    found = rates("warmup_epochs=2", "warmup_factor=0", "schedule=linear", per_epoch=4)
    assert found[:8] == pytest.approx([BASE * k / 8 for k in range(8)])
    assert found[8:12] == [BASE] * 4
    assert found[12:16] == [pytest.approx(BASE + (LEAST - BASE) / 22)] * 4


# Optimizers


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_options_are_the_arguments_of_the_class(name: str) -> None:
    """With equal defaults; without the learning rate, the keys of training, and what makes no sense in a file."""
    row = OPTIMIZERS[name]
    arguments = inspect.signature(getattr(torch.optim, str(row.builder.build))).parameters
    own = {key for key in KEYS if key in row.builder.keys}
    left_out = {"params", "lr", "maximize", "capturable", "differentiable", *own}
    assert row.model_fields.keys() == arguments.keys() - left_out
    assert own <= arguments.keys()
    for key, field in row.model_fields.items():
        assert field.default == arguments[key].default, key


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_steps_and_goes_on_to_the_bit(name: str) -> None:
    """Its options read back from a file, and its state has the names and shapes that a checkpoint is checked by."""
    row = OPTIMIZERS[name]
    written = row().model_dump(mode="json", exclude_none=True)
    extra = {"amsgrad": True, "centered": True, "momentum": 0.5}
    options = {**written, **{key: value for key, value in extra.items() if key in row.model_fields}}
    architecture = ep.load(NET, [f"training.optimizer={json.dumps({name: options})}"])
    assert ep.load(to_yaml(architecture, complete=True)).training == architecture.training
    x, y = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 0, 7, 3])

    def step(engine: ep.Engine, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        engine.backward(x, y)
        optimizer.step()

    engine, twin = ep.compile(architecture), ep.compile(architecture)
    before = {key: value.clone() for key, value in engine.state_dict().items()}
    optimizer, second = make_optimizer(engine), make_optimizer(twin)
    step(engine, optimizer)
    assert any(not torch.equal(value, before[key]) for key, value in engine.state_dict().items())
    state = optimizer_state(optimizer, engine)
    assert row.builder.state is None or {key for values in state.values() for key in values} == row.builder.state
    twin.load_state_dict(engine.state_dict())
    load_optimizer_state(second, twin, copy.deepcopy(state))
    for _ in range(2):
        step(engine, optimizer)
        step(twin, second)
    for key, value in engine.state_dict().items():
        assert torch.equal(value, twin.state_dict()[key]), key


def test_edges_and_biases_have_decays_of_their_own() -> None:
    text = NET.replace("pool: max}}", "pool: max}, weight_decay: 0.5}").replace(
        "h1: {channels: 4}", "h1: {channels: 4, weight_decay: 0}"
    )
    engine = ep.compile(ep.load(text, ["training.weight_decay=0.125", "output.weight_decay=0.25"]))
    names = {parameter: name for name, parameter in engine.named_parameters()}
    found = {names[p]: group["weight_decay"] for group in make_optimizer(engine).param_groups for p in group["params"]}
    assert found == {
        "states.h1.bias": 0,
        "states.h2.bias": 0.125,
        "states.y.bias": 0.25,
        "edges.x_h1.weight": 0.125,
        "edges.h1_h2.weight": 0.5,
        "edges.h2_y.weight": 0.125,
    }
    settings = ["output.weight_decay=0.25", "training.optimizer=rprop"]
    _, found_by_check = inspect_network(text, settings)
    reasons = [d.message for d in found_by_check if d.rule == "no-effect"]
    assert len(reasons) == 3
    assert all("'weight_decay'" in reason and "optimizer rprop does not use it" in reason for reason in reasons)


# Averages, smoothed labels, kept checkpoints

EVERYTHING = """\
training: {epochs: 2, batch_size: 50, learning_rate: 0.01, optimizer: {adamw: {amsgrad: true}}, ema: 0.9,
           schedule: {cosine: {per: step}}, warmup_epochs: 0.7, label_smoothing: 0.1, checkpoint_epochs: 1}
"""


def tiny(tmp_path: Path, training: str = EVERYTHING) -> Path:
    net = tmp_path / "net.yaml"
    net.write_text(NET[: NET.index("training:")] + training)
    return net


@pytest.mark.parametrize("batches", [2, 4, 7])
def test_everything_goes_on_to_the_bit(batches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, whole, cut = tiny(tmp_path), tmp_path / "whole", tmp_path / "cut"
    assert train_command(net, whole) == 0
    with stopped_after(monkeypatch, batches):
        assert train_command(net, cut) == 130
    assert train_command(net, cut, "--resume") == 0
    assert lines(whole) == lines(cut)
    assert (whole / "batches.jsonl").read_text() == (cut / "batches.jsonl").read_text()
    for name in ("last.pt", "best.pt", "epoch-001.pt", "epoch-002.pt"):
        a, b = (load_checkpoint(folder / name) for folder in (whole, cut))
        for part in ("model", "average"):
            one, two = a.get(part, {}), b.get(part, {})
            assert one.keys() == two.keys()
            assert all(torch.equal(value, two[key]) for key, value in one.items()), (name, part)
        for key, values in a["optimizer"].items():
            assert all(torch.equal(value, b["optimizer"][key][name]) for name, value in values.items()), key
    assert "average" not in load_checkpoint(whole / "best.pt")
    # A run with kept checkpoints is still one that may be replaced.
    assert train_command(net, cut, "--overwrite", "--epochs", "1") == 0
    assert not (cut / "epoch-002.pt").exists()


@pytest.mark.parametrize("batches", [2, 6])
def test_a_stop_within_a_test_keeps_the_parameters_apart_from_their_average(
    batches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, whole, cut = tiny(tmp_path), tmp_path / "whole", tmp_path / "cut"
    assert train_command(net, whole) == 0
    original, seen = ep.Engine.predict, []

    def predict(*arguments: Any, **options: Any) -> Any:
        seen.append(1)
        if len(seen) == batches:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ep.Engine, "predict", predict)
        assert train_command(net, cut) == 130
    assert train_command(net, cut, "--resume") == 0
    assert same(whole, cut)
    assert lines(whole) == lines(cut)


def test_the_average_is_the_recurrence_and_is_what_is_evaluated_and_kept(tmp_path: Path) -> None:
    """θ̄ ← d θ̄ + (1 − d) θ from the parameters after the first step on, in float64."""
    decay, seen = 0.75, []

    class Watch(ep.Callback):
        def start(self, engine: ep.Engine, data: Any) -> None:
            step = torch.optim.SGD.step

            def watched(optimizer: Any, *args: Any, **more: Any) -> Any:
                result = step(optimizer, *args, **more)
                seen.append({name: p.detach().clone() for name, p in engine.named_parameters()})
                return result

            self.undo = pytest.MonkeyPatch()
            self.undo.setattr(torch.optim.SGD, "step", watched)

        def end(self) -> None:
            self.undo.undo()

    options: dict[str, Any] = {"limit": 170, "dtype": "float64", "pictures": False, "warn": lambda _: None}
    result = ep.train(
        NET, "digits", out=tmp_path / "run", overrides=[f"training.ema={decay}"], callbacks=[Watch()], **options
    )
    expected = dict(seen[0])
    for now in seen[1:]:
        expected = {name: decay * value + (1 - decay) * now[name] for name, value in expected.items()}
    last = load_checkpoint(tmp_path / "run")
    assert len(seen) == 8
    for name, value in expected.items():
        torch.testing.assert_close(last["average"][name], value, rtol=1e-13, atol=1e-15)
        assert torch.equal(last["model"][name], seen[-1][name])
        assert torch.equal(result.engine.state_dict()[name], last["average"][name])
    loaded = engine_from_checkpoint(last)
    evaluated = ep.evaluate(loaded, "digits", limit=170)
    assert evaluated.loss == pytest.approx(result.metrics["test_loss"], rel=1e-12)
    best = load_checkpoint(tmp_path / "run" / "best.pt")
    assert result.best is not None
    if result.best["epoch"] == 2:
        assert all(torch.equal(best["model"][name], last["average"][name]) for name in expected)
    own = ep.evaluate(ep.load_run(tmp_path / "run", checkpoint="best.pt").engine, "digits", limit=170)
    assert 1 - own.accuracy == pytest.approx(result.best["value"])


@pytest.mark.parametrize("cost", ["squared_error", "cross_entropy"])
def test_smoothed_labels_are_targets_by_the_equation(cost: str, tmp_path: Path) -> None:
    """One batch; its loss is C of y′ = (1 − ε) y + ε/K at the free state of the initial network."""
    part = 0.2
    overrides = [
        "training.epochs=1",
        "training.batch_size=60",
        f"training.label_smoothing={part}",
        f"output.cost={cost}",
    ]
    options: dict[str, Any] = {"limit": 60, "dtype": "float64", "pictures": False, "warn": lambda _: None}
    result = ep.train(NET, "digits", out=tmp_path / "run", overrides=overrides, **options)
    data = ep.load_data(NET, "digits", limit=60)
    pairs = [data.train[i] for i in range(60)]
    x, y = torch.stack([torch.as_tensor(a) for a, _ in pairs]).double(), torch.tensor([int(b) for _, b in pairs])
    engine = ep.compile(ep.load(NET, overrides), dtype=torch.float64)
    output = engine.relax(x).states["y"]
    target = (1 - part) * torch.nn.functional.one_hot(y, 10).double() + part / 10
    if cost == "squared_error":
        expected = 0.5 * (output - target).square().sum(1).mean()
    else:
        expected = torch.nn.functional.cross_entropy(output, y, label_smoothing=part)
    assert result.metrics["train_loss"] == pytest.approx(float(expected), rel=1e-6)  # means are kept in float32
    assert math.isfinite(result.metrics["test_loss"])
