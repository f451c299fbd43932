"""Tiny trainings on real digits, and what they leave: shared by the tests of training and of run folders."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.cli import run
from epgraph.training import load_checkpoint
from epgraph.training.metrics import MEASURED

NET = """\
epgraph: 2
name: tiny
input:  {name: x, shape: [1, 8, 8]}
output: {name: y, classes: 10}
defaults: {activation: relu1, gain: 1.0}
states:
  h1: {channels: 4}
  h2: {channels: 6}
edges:
  - {from: x,  to: h1, conv: {kernel: 3, padding: 1, stride: 2}}
  - {from: h1, to: h2, conv: {kernel: 3, padding: 1, pool: max}}
  - {from: h2, to: y,  dense: {}}
dynamics: {free_steps: 10, nudged_steps: 5}
learning: {beta: 0.2}
training: {epochs: 2, batch_size: 50, learning_rate: 0.05}
"""


def given() -> list[str]:
    """Assignments that say what the options of ``train`` say."""
    return ["data.name=digits", "data.limit=170", f"data.root={Path('data').absolute()}"]


def train(net: Path, out: Path, *options: str) -> int:
    """Train; without pictures, which take longer than the rest, unless ``--pictures`` is among the options."""
    fixed = ["--data", "digits", "--limit", "170", "--out", str(out), "--no-pictures"]
    return run(["train", str(net), *fixed, *options])


def lines(out: Path, log: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """Rows of a log, but for what is measured on the machine."""
    found = [json.loads(line) for line in (out / log).read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in found]


def same(one: Path, two: Path) -> bool:
    a, b = (load_checkpoint(p)["model"] for p in (one, two))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def record(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run.json").read_text())
    return found


def content(out: Path) -> dict[str, bytes]:
    files = (p for p in out.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(out)): p.read_bytes() for p in files}


def assert_same_runs(one: Path, two: Path) -> None:
    """Weights, optimizer, metrics and every batch are equal to the bit."""
    a, b = (load_checkpoint(folder) for folder in (one, two))
    for part in ("model", "warm"):
        assert (a[part] is None) == (b[part] is None)  # type: ignore[literal-required]
        for name, value in (a[part] or {}).items():  # type: ignore[literal-required]
            assert torch.equal(value, b[part][name]), name  # type: ignore[literal-required]
    assert a["optimizer"].keys() == b["optimizer"].keys()
    for name, values in a["optimizer"].items():
        assert torch.equal(values["momentum_buffer"], b["optimizer"][name]["momentum_buffer"]), name
    assert lines(one) == lines(two)
    assert (one / "batches.jsonl").read_text() == (two / "batches.jsonl").read_text()
    assert a["best"] == b["best"]


@contextmanager
def stopped_after(monkeypatch: pytest.MonkeyPatch, batches: int, number: int = signal.SIGINT) -> Iterator[None]:
    """Raise a signal in this process while a training is at its batch with that number."""
    original, seen = ep.Engine.backward, 0

    def backward(*arguments: Any, **options: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == batches:
            signal.raise_signal(number)
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ep.Engine, "backward", backward)
        yield
