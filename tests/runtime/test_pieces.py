"""A batch in pieces gives what the whole batch gives, and what is not kept is not there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.estimators import Estimate
from epgraph.estimators import microbatches as pieces

ROWS = 7
FILE = "examples/digits.yaml"


def made(**options: Any) -> tuple[Estimate, dict[str, Tensor]]:
    engine = ep.compile(FILE, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(ROWS, 1, 8, 8, generator=generator)
    start = {n: torch.rand(ROWS, *engine.graph.states[n].shape, generator=generator) for n in engine.graph.free[:2]}
    y = torch.arange(ROWS)
    estimate = engine.backward(x, y, start=start, free_steps=8, nudged_steps=4, energy=True, **options)
    return estimate, {name: p.grad for name, p in engine.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("estimator", ["centered", "positive", "negative"])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_pieces_are_the_whole(estimator: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, expected = made(estimator=estimator)
    monkeypatch.setattr(pieces, "VALUES", 1)
    monkeypatch.setattr(pieces, "ROWS", rows)
    cut, found = made(estimator=estimator)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-10, atol=1e-14), name
    assert whole.energies is not None
    assert cut.energies is not None
    for a, b in ((cut.losses, whole.losses), (cut.output, whole.output), (cut.energies, whole.energies)):
        assert torch.allclose(a, b, rtol=1e-12)
    for ours, theirs in zip((cut.free, *cut.nudged), (whole.free, *whole.nudged), strict=True):
        assert (ours.steps, ours.status) == (theirs.steps, theirs.status)
        assert ours.residuals.shape == (ROWS,)
        for name, state in theirs.states.items():
            assert torch.allclose(ours.states[name], state, rtol=1e-10, atol=1e-14), name


def test_a_batch_is_cut_evenly_and_a_gpu_takes_it_whole() -> None:
    graph = ep.build(ep.load("examples/vgg5.yaml"))
    for batch in (1, 7, 8, 9, 64, 100):
        found = pieces.cut(graph, batch, torch.device("cpu"))
        sizes = [piece.stop - piece.start for piece in found]
        assert sum(sizes) == batch
        assert max(sizes) - min(sizes) <= 1
        assert [piece.start for piece in found[1:]] == [piece.stop for piece in found[:-1]]
        assert pieces.cut(graph, batch, torch.device("cuda")) == [slice(0, batch)]
    assert len(pieces.cut(graph, 64, torch.device("cpu"))) > 1


def test_what_is_not_kept_is_dropped_and_the_rest_is_the_same() -> None:
    kept, expected = made()
    dropped, found = made(keep=False)
    assert set(dropped.free.states) == {"y"}
    assert dropped.nudged[1].states == {}
    for name, state in kept.nudged[0].states.items():
        assert torch.equal(dropped.nudged[0].states[name], state), name
    assert torch.equal(dropped.output, kept.output)
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


def test_a_start_of_another_batch_size_is_refused_before_anything_runs() -> None:
    engine = ep.compile(FILE)
    with pytest.raises(ep.EpgraphError, match=r"start: state 'h1' has shape \(3, .*expected \(20, "):
        engine.backward(
            torch.rand(20, 1, 8, 8),
            torch.arange(20) % 10,
            start={"h1": torch.zeros(3, *engine.graph.states["h1"].shape)},
        )
    assert all(p.grad is None for p in engine.parameters())
