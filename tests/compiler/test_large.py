"""Large networks: updates that are alike share a function, which changes nothing but the work of compiling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from torch import fx

import epgraph as ep
from epgraph.compiler.export import module_text
from epgraph.graph import SCHEDULES
from tests.helpers.case import Case, apart
from tests.helpers.emitted import DRAWN, check
from tests.helpers.networks import repeated
from tests.helpers.topologies import architectures

BACKENDS = ("eager", "channels_last")


def estimate(case: Case, schedule: str, backend: str, share_above: int) -> tuple[ep.Engine, Any]:
    engine = ep.compile(
        case.architecture, dtype=torch.float64, schedule=schedule, backend=backend, share_above=share_above
    )
    engine.load_state_dict({**engine.state_dict(), **case.parameters})
    return engine, engine.backward(case.x, case.y, free_steps=5, nudged_steps=3, beta=0.2, tolerance=0)


def compare(case: Case, schedule: str, backend: str) -> None:
    """Up to rounding: terms of the energy are added in another order, and memory may be laid out otherwise."""
    expected, apiece = estimate(case, schedule, backend, 10_000)
    energy = expected.energy(case.x, apiece.free.states)
    found, shared = estimate(case, schedule, backend, 0)
    assert apart(found.energy(case.x, shared.free.states), energy) <= 1e-12
    for name, state in apiece.free.states.items():
        assert apart(shared.free.states[name], state) <= 1e-12, (schedule, backend, name)
    for (name, p), q in zip(found.named_parameters(), expected.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert apart(p.grad, q.grad) <= 1e-10, (schedule, backend, name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_sharing_changes_nothing(schedule: str, backend: str) -> None:
    """Where states of a class see each other as well: they still move at once."""
    compare(Case(repeated(3)), schedule, backend)


@DRAWN
@given(data=architectures())
def test_sharing_changes_nothing_on_random_networks(data: dict[str, Any]) -> None:
    case = Case(data)
    for schedule in ("coloring", "synchronous", "even_odd"):
        compare(case, schedule, "channels_last")


@pytest.mark.parametrize("dynamics", [{}, {"output_step": "closed_form"}, {"schedule": "even_odd"}])
def test_emitted_module_of_a_large_network(tmp_path: Path, dynamics: dict[str, Any]) -> None:
    engine = ep.compile(ep.Architecture.model_validate(repeated(3, **dynamics)), dtype=torch.float32, share_above=0)
    assert "the first of 3 that are alike" in module_text(engine.machine)
    check(engine, tmp_path, torch.rand(2, 1, 4, 4), torch.tensor([0, 2]), free_steps=3, nudged_steps=2)


def recorded(blocks: int, schedule: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Nodes that are made from compiling to the first gradient."""
    count = 0
    create = fx.Graph.create_node

    def counting(*arguments: Any, **options: Any) -> fx.Node:
        nonlocal count
        count += 1
        return create(*arguments, **options)

    engine = ep.compile(ep.Architecture.model_validate(repeated(blocks)), schedule=schedule)
    with monkeypatch.context() as patch:
        patch.setattr(fx.Graph, "create_node", counting)
        engine.backward(torch.rand(1, 1, 4, 4), torch.tensor([1]), free_steps=1, nudged_steps=1)
    return count


@pytest.mark.parametrize("schedule", ["coloring", "even_odd"])
def test_the_work_of_recording_grows_with_the_network_at_most(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (recorded(blocks, schedule, monkeypatch) for blocks in (26, 52))
    assert small <= large <= 2 * small
