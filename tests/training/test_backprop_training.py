"""Runs of ``backprop``: resumed to the bit, and equal to a loop of torch's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import epgraph as ep
from epgraph.cli import run
from epgraph.data import load_data
from epgraph.language import Architecture
from epgraph.training import load_checkpoint
from epgraph.training.batches import batches, shuffled
from epgraph.training.optimizer import learning_rate
from tests.helpers.modules import Module
from tests.helpers.runs import assert_same_runs, lines, stopped_after, train

NET = """\
epgraph: 2
name: tiny
input:  {name: x, shape: [1, 8, 8]}
output: {name: y, classes: 10}
defaults: {activation: relu1, gain: 1.0}
states:
  h1: {channels: 4NORM}
  h2: {channels: 6}
edges:
  - {from: x,  to: h1, conv: {kernel: 3, padding: 1, stride: 2}}
  - {from: h1, to: h2, conv: {kernel: 3, padding: 1, pool: max}}
  - {from: h2, to: y,  dense: {}}
learning: {estimator: backprop}
training: {epochs: 2, batch_size: 50, learning_rate: 0.05}
"""


@pytest.mark.parametrize("norm", ["", ", norm: batch"])
def test_a_run_that_was_cut_goes_on_to_the_bit(norm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = tmp_path / "net.yaml"
    net.write_text(NET.replace("NORM", norm))
    assert train(net, tmp_path / "whole") == 0
    with stopped_after(monkeypatch, 6):
        assert train(net, tmp_path / "cut") == 130
    assert train(net, tmp_path / "cut", "--resume") == 0
    assert_same_runs(tmp_path / "whole", tmp_path / "cut")
    checkpoint = load_checkpoint(tmp_path / "whole")
    assert checkpoint["warm"] is None
    assert ("states.h1.running_var" in checkpoint["model"]) == bool(norm)
    # Evaluation takes the same pass as the test of the last epoch.
    engine = ep.load_run(tmp_path / "whole").engine
    result = ep.evaluate(engine, "digits", limit=170)
    assert result.error == pytest.approx(lines(tmp_path / "whole")[-1]["test_error"], abs=1e-12)
    assert result.residual == 0.0


def test_the_digits_are_learnt_as_torch_learns_them(tmp_path: Path, note: Callable[[str], None]) -> None:
    """``epgraph train`` and a loop of torch's own, from the same weights over the same batches: the same losses."""
    source = Path(__file__).parents[2] / "examples" / "digits.yaml"
    options = ["--set", "learning.estimator=backprop", "--epochs", "2", "--out", str(tmp_path / "run")]
    assert run(["train", str(source), "--data", "digits", "--no-pictures", *options]) == 0
    architecture = ep.load(source, ["learning.estimator=backprop", "training.epochs=2"])
    engine = ep.compile(architecture)
    data = architecture.to_dict()
    edges = [{**edge, "name": name} for edge, name in zip(data["edges"], engine.graph.edges, strict=True)]
    states = {name: {"activation": "relu1"} for name in data["states"]}
    module = Module({"states": states, "output": {}, "edges": edges}, engine.state_dict())
    optimizer = torch.optim.SGD(module.values.values(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=2e-3)
    losses = torch_losses(module, optimizer, architecture)
    ours = [json.loads(line)["loss"] for line in (tmp_path / "run" / "batches.jsonl").read_text().splitlines()]
    apart = max(abs(a - b) for a, b in zip(ours, losses, strict=True))
    note(f"backprop of digits.yaml, 2 epochs: the loss of a batch differs from torch's own by at most {apart:.1e}")
    assert apart <= 1e-4
    assert lines(tmp_path / "run")[-1]["test_error"] < 0.15


def torch_losses(module: Module, optimizer: torch.optim.Optimizer, architecture: Architecture) -> list[float]:
    """Train with the batches and rates of ``training``; the loss of every batch."""
    training = architecture.training
    examples = load_data("digits", shape=(1, 8, 8), classes=10).train
    losses = []
    for epoch in range(training.epochs):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(training.learning_rate, epoch, training)
        order = shuffled(len(examples), training.seed, epoch)
        for x, y in batches(examples, training.batch_size, device=torch.device("cpu"), order=order):
            optimizer.zero_grad()
            loss = (0.5 * (module(x) - F.one_hot(y, 10)).square().sum(1)).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(module.values.values()), training.clip_norm or float("inf"))
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses
