"""Memory that runs out is an error that names the batch that would fit."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

import epgraph as ep
from epgraph.runtime import memory

FILE = "examples/digits.yaml"


def scarce(engine: ep.Engine, monkeypatch: pytest.MonkeyPatch, largest: int, error: Exception) -> None:
    """Let every relaxation of more than ``largest`` examples fail."""
    run = engine.executor.run

    def limited(clamped: Any, *arguments: Any, **options: Any) -> Any:
        if len(clamped.x) > largest:
            raise error
        return run(clamped, *arguments, **options)

    monkeypatch.setattr(engine.executor, "run", limited)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: ..."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4096 bytes."),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
    ],
)
def test_the_batch_that_would_fit_is_named(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ep.compile(FILE)
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8)
    engine.backward(x, y, free_steps=2, nudged_steps=1)
    before = [p.grad.clone() for p in engine.parameters() if p.grad is not None]
    scarce(engine, monkeypatch, 4, error)
    monkeypatch.setattr(memory, "_room", lambda device: 2**20)
    found = []
    for act in (lambda: engine.backward(x, y, free_steps=2, nudged_steps=1), lambda: engine.relax(x, steps=2)):
        with pytest.raises(ep.EpgraphError, match=r"out of memory on cpu with a batch of 8; a batch of \d+") as caught:
            act()
        found.append(int(re.findall(r"a batch of (\d+) should", str(caught.value))[0]))
    assert 1 <= found[0] <= found[1] <= 7
    # What was measured left the gradients alone.
    assert all(torch.equal(a, p.grad) for a, p in zip(before, engine.parameters(), strict=True) if p.grad is not None)


def test_other_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ep.compile(FILE)
    scarce(engine, monkeypatch, 0, RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        engine.relax(torch.rand(1, 1, 8, 8), steps=1)


def test_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ep.compile(FILE)
    scarce(engine, monkeypatch, 0, MemoryError())
    with pytest.raises(ep.EpgraphError, match="not even one example"):
        engine.relax(torch.rand(2, 1, 8, 8), steps=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_real_shortage_on_the_cpu(dtype: torch.dtype) -> None:
    """More than any machine has: the input is one example, expanded, and may be in another precision."""
    engine = ep.compile(FILE)
    with pytest.raises(ep.EpgraphError, match="a batch of 200000000000; a batch of"):
        engine.relax(torch.rand(1, 1, 8, 8, dtype=dtype).expand(200_000_000_000, 1, 8, 8), steps=1)


def test_values_of_an_expanded_input_are_checked_once() -> None:
    engine = ep.compile(FILE)
    x = torch.rand(1, 1, 8, 8)
    x[0, 0, 3, 3] = float("nan")
    with pytest.raises(ep.EpgraphError, match="holds NaN in example 0, and in 199999999999 more"):
        engine.relax(x.expand(200_000_000_000, 1, 8, 8), steps=1)
    with pytest.raises(ep.EpgraphError, match="holds NaN in example 1; "):
        engine.relax(torch.tensor([0.0, float("nan"), 1.0]).view(3, 1, 1, 1).expand(3, 1, 8, 8), steps=1)


def test_an_expanded_input_gives_the_states_and_gradients_of_a_copied_one() -> None:
    module = ep.Equilibrium(ep.compile(FILE, dtype=torch.float64), free_steps=8, nudged_steps=8)
    for whole in (torch.rand(1, 1, 8, 8), torch.rand(3, 1, 1, 8)):
        found = []
        for copied in (False, True):
            leaf = whole.clone().requires_grad_()
            x = leaf.expand(3, 1, 8, 8)
            output = module(x.contiguous() if copied else x)
            (gradient,) = torch.autograd.grad(output.square().sum(), leaf)
            found.append((output.detach(), gradient))
        for one, other in zip(*found, strict=True):
            assert torch.equal(one, other)


def test_live_bytes_are_counted_until_they_are_freed() -> None:
    with memory.Live() as live:
        kept = torch.empty(100)
        for _ in range(3):
            torch.empty(1000).add_(1).view(10, 100)
        kept.view(10, 10)
    assert live.peak == 4 * 1100
    assert live.now == 4 * 100
