"""An emitted module beside the engine that it was written from."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from hypothesis import HealthCheck, settings

import epgraph as ep
from epgraph.compiler.export import module_text

DRAWN = settings(
    deadline=None, max_examples=4, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def imported(path: Path) -> ModuleType:
    """Import a file where epgraph cannot be imported."""
    spec = importlib.util.spec_from_file_location("emitted", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, {"epgraph": None}):
        spec.loader.exec_module(module)
    return module


def emitted(engine: ep.Engine, folder: Path) -> Any:
    """The emitted engine with the parameters of an engine."""
    path = folder / "engine.py"
    path.write_text(module_text(engine.machine), encoding="utf-8")
    return imported(path).Engine(engine.state_dict())


def check(engine: ep.Engine, folder: Path, x: torch.Tensor, y: torch.Tensor, **options: Any) -> None:
    """Free states, energy, output and gradient, with and without a start, are equal."""
    standalone = emitted(engine, folder)
    expected = engine.backward(x, y, estimator="centered", **options)
    steps = {"steps": options["free_steps"]} if "free_steps" in options else {}
    states = standalone.relax(x, **steps)
    assert list(states) == list(expected.free.states)
    for name, state in expected.free.states.items():
        assert torch.equal(states[name], state), name
    assert torch.equal(standalone.energy(x, states), engine.energy(x, states))
    assert torch.equal(standalone.readout(states), expected.output)
    again = engine.relax(x, start=states, steps=2).states
    for name, state in standalone.relax(x, start=states, steps=2).items():
        assert torch.equal(again[name], state), name
    found = standalone.gradient(x, y, **options)
    wanted = {name: p.grad for name, p in engine.named_parameters() if p.requires_grad}
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert gradient is not None
        assert torch.equal(found[name], gradient), name
