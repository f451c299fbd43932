"""Replayed sweeps on the CPU: a stand-in for CUDA graphs does captured work again, and checks that memory stays."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from torch import Tensor

import epgraph as ep
from epgraph.compiler import cuda_graphs as replay
from tests.helpers.case import Case, apart
from tests.helpers.directed import DirectedCase, directed_architectures
from tests.helpers.replayed import FakeGraph
from tests.helpers.topologies import architectures

DRAWN = settings(
    deadline=None,
    max_examples=5,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGraph.made = FakeGraph.replayed = 0
    monkeypatch.setattr("epgraph.runtime.programs.capture_for", lambda device: FakeGraph)


def both(case: Case, schedule: str, dtype: torch.dtype = torch.float64, **options: Any) -> list[ep.Engine]:
    """Engines that replay and that do not."""
    made = []
    for cuda_graphs in (True, False):
        engine = ep.compile(case.architecture, dtype=dtype, schedule=schedule, cuda_graphs=cuda_graphs, **options)
        engine.load_state_dict({**engine.state_dict(), **case.parameters})
        made.append(engine)
    return made


def same(replayed: ep.Engine, plain: ep.Engine, x: Tensor, y: Tensor, **options: Any) -> ep.Estimate:
    """One training step of both, equal but for the order of sums, which depends on the layout of memory."""
    found, expected = (engine.backward(x, y, **options) for engine in (replayed, plain))
    bar = 1e-8 if replayed.dtype == torch.float64 else 0.0
    for a, b in zip((found.free, *found.nudged), (expected.free, *expected.nudged), strict=True):
        assert (a.steps, a.status) == (b.steps, b.status)
        for name, state in b.states.items():
            assert apart(a.states[name], state) <= bar, name
        torch.testing.assert_close(a.residuals, b.residuals, rtol=bar, atol=bar)
    for (name, p), q in zip(replayed.named_parameters(), plain.parameters(), strict=True):
        if not q.requires_grad:
            continue  # frozen
        assert p.grad is not None
        assert q.grad is not None
        assert apart(p.grad, q.grad) <= 10 * bar, name
    return found


@pytest.mark.parametrize("solver", ["plain", "error_sweeps"])
@DRAWN
@given(data=directed_architectures())
def test_replayed_sweeps_of_a_forward_energy_equal_plain_ones(solver: str, data: dict[str, Any]) -> None:
    """Sums that are carried, and errors, are at fixed addresses as well; the free phase is one pass, not captured."""
    case = DirectedCase({**data, "dynamics": {**data["dynamics"], "solver": solver}})
    engines = both(case, "coloring")
    for rows in (2, 2, 1):
        same(*engines, case.x[:rows], case.y[:rows], nudged_steps=4, beta=0.2)
        for engine in engines:
            change(engine, 0.9)
    same(*engines, case.x[:2], case.y[:2], nudged_steps=3, beta=0.2, estimator="positive")
    assert FakeGraph.replayed > 0


def change(engine: ep.Engine, factor: float) -> None:
    """Change the weights in place, as an optimizer does."""
    with torch.no_grad():
        for p in engine.parameters():
            p.mul_(factor)
    engine.zero_grad(set_to_none=True)


@pytest.mark.parametrize("backend", ["eager", "channels_last"])
@DRAWN
@given(data=architectures())
def test_replayed_sweeps_equal_plain_ones(backend: str, data: dict[str, Any]) -> None:
    """Three batches with changing weights, the last one short, free and paired phase."""
    case = Case(data)
    for schedule in ("even_odd", "sequential"):
        engines = both(case, schedule, backend=backend)
        kept = []
        for rows in (2, 2, 1):
            estimate = same(*engines, case.x[:rows], case.y[:rows], free_steps=23, nudged_steps=4, beta=0.2)
            kept += [(s, s.clone()) for s in estimate.free.states.values()]
            kept += [(s, s.clone()) for r in estimate.nudged for s in r.states.values()]
            for engine in engines:
                change(engine, 0.8)
        # Nothing that was returned is memory that a later run wrote into.
        assert all(torch.equal(state, copied) for state, copied in kept)


@pytest.mark.parametrize("backend", ["eager", "channels_last"])
@DRAWN
@given(data=architectures(smooth=True, gain=(0.1, 0.3)))
def test_replays_stop_on_the_tolerance(backend: str, data: dict[str, Any]) -> None:
    case = Case(data)
    engines = both(case, "coloring", backend=backend)
    for tolerance in (1e-2, 1e-6):
        found = same(*engines, case.x, case.y, free_steps=42, nudged_steps=13, beta=0.1, tolerance=tolerance)
        assert found.free.steps % 5 == 0 or found.free.steps == 42


@pytest.mark.parametrize(
    ("estimator", "options"),
    [
        ("centered", {"doubled": False}),
        ("positive", {}),
        ("negative", {}),
        ("centered", {"backend": "channels_last"}),
        ("continual", {}),
        ("contrastive", {}),
        ("coupled_centered", {"backend": "channels_last"}),
    ],
)
def test_every_estimator_replays(estimator: Any, options: dict[str, Any]) -> None:
    """β of either sign is a graph of its own."""
    data = ep.load("examples/digits.yaml").model_dump(by_alias=True, exclude_unset=True)
    engines = both(Case(data), "even_odd", **options)
    x, y = torch.rand(3, 1, 8, 8, dtype=torch.float64), torch.arange(3)
    for beta in (0.1, 0.3):
        same(*engines, x, y, estimator=estimator, beta=beta, free_steps=12, nudged_steps=11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dynamics", [{"over_relaxation": 1.4, "schedule": "coloring"}, {"anderson": 2}, {}])
def test_solvers_and_low_precision_replay(dtype: torch.dtype, dynamics: dict[str, Any]) -> None:
    from tests.helpers.networks import RING

    made = [
        ep.compile(ep.Architecture.model_validate({**RING, "dynamics": dynamics}), dtype=dtype, cuda_graphs=graphs)
        for graphs in (True, False)
    ]
    x, y = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(1)), torch.arange(3)
    same(made[0], made[1], x, y, free_steps=14, nudged_steps=7)
    assert (FakeGraph.made == 0) == ("anderson" in dynamics)


def test_few_graphs_serve_many_batches() -> None:
    engine = ep.compile("examples/digits.yaml", backend="eager")
    x, y = torch.rand(2, 1, 8, 8), torch.tensor([1, 2])
    for _ in range(2):
        engine.backward(x, y, free_steps=21, nudged_steps=2)
    # The pair needs twice the memory, so the free phase was captured once more: two graphs each time, and one for it.
    assert FakeGraph.made == 5
    engine.backward(x, y, free_steps=21, nudged_steps=2)
    engine.backward(x[:1], y[:1], free_steps=21, nudged_steps=2)
    engine.backward(x, y, free_steps=21, nudged_steps=2)
    assert FakeGraph.made == 5 + 3
    made = engine.machine.replay
    assert made is not None
    for steps in range(1, 2 * replay.KEPT):
        engine.relax(x[:1, :, :, :], steps=steps % replay.CHUNK + 1, target=y[:1], beta=steps / 10)
    assert len(made._graphs) <= replay.KEPT
    assert not copy.deepcopy(made)._graphs


def test_another_precision_is_another_machine() -> None:
    engine = ep.compile("examples/digits.yaml", dtype=torch.float32, backend="eager")
    x = torch.rand(2, 1, 8, 8)
    first = engine.relax(x, steps=12).states
    engine.to(torch.float64)
    second = engine.relax(x, steps=12).states
    for name, state in first.items():
        torch.testing.assert_close(second[name], state.double(), rtol=1e-4, atol=1e-5)


def test_recording_takes_single_sweeps() -> None:
    engine = ep.compile("examples/digits.yaml", backend="eager")
    assert len(engine.relax(torch.rand(2, 1, 8, 8), steps=3, record=True).trajectory) == 3
    assert FakeGraph.made == 0
    assert engine.relax(torch.rand(2, 1, 8, 8), steps=0).steps == 0
    assert engine.relax(torch.rand(2, 1, 8, 8), steps=1).steps == 1
    assert FakeGraph.made == 1


@pytest.mark.parametrize("allowed", [True, False])
def test_settings_that_choose_kernels_are_part_of_a_graph(allowed: bool) -> None:
    """A graph captured with TF32 would go on in TF32."""
    engine = ep.compile("examples/digits.yaml", backend="eager")
    x = torch.rand(2, 1, 8, 8)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=allowed):
        engine.relax(x, steps=3)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=not allowed):
        engine.relax(x, steps=3)
    assert FakeGraph.made == 2


def test_work_that_cannot_be_captured_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(work: Callable[[], None], beside: replay.Graph | None) -> replay.Graph:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr("epgraph.runtime.programs.capture_for", lambda device: refuse)
    with pytest.raises(ep.EpgraphError, match="cuda_graphs=False"):
        ep.compile("examples/digits.yaml", backend="eager").relax(torch.rand(2, 1, 8, 8), steps=3)


def test_what_was_captured_within_inference_mode_serves_outside_of_it() -> None:
    engine = ep.compile("examples/digits.yaml", backend="eager")
    x, y = torch.rand(2, 1, 8, 8), torch.tensor([1, 2])
    with torch.inference_mode():
        first = engine.relax(x, steps=12).states
    assert FakeGraph.made > 0
    for name, state in engine.relax(x, steps=12).states.items():
        assert torch.equal(first[name], state)
    engine.backward(x, y, free_steps=12, nudged_steps=2)
