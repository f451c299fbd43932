"""Replayed graphs and generated kernels on a CUDA device: the same numbers, flat memory, few launches."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from tests.helpers.networks import RING

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
BACKENDS = ["eager", "channels_last", "triton"]


@pytest.fixture(autouse=True)
def full_precision() -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def narrow() -> ep.Architecture:
    """Hopfield-ResNet13 with an eighth of the channels."""
    data = ep.load("examples/hopfield_resnet13.yaml").model_dump(by_alias=True, exclude_unset=True)
    for state in data["states"].values():
        state["channels"] //= 8
    return ep.Architecture.model_validate(data)


def compiled(architecture: ep.Architecture, dtype: torch.dtype = torch.float32, **options: Any) -> ep.Engine:
    return ep.compile(architecture, device="cuda", dtype=dtype, **options)


def batch(architecture: ep.Architecture, rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    x = torch.rand(rows, *architecture.input.shape, generator=generator)
    return x.cuda(), (torch.arange(rows) % architecture.output.classes).cuda()


def apart(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm())


def cosine(a: Tensor, b: Tensor) -> float:
    a, b = a.double().flatten().cpu(), b.double().flatten().cpu()
    return float(a @ b / (a.norm() * b.norm()))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("file", ["narrow", "examples/vgg5.yaml", "examples/digits.yaml"])
@pytest.mark.parametrize("tolerance", [0.0, 1e-3])
def test_replays_equal_launches(backend: str, file: str, tolerance: float) -> None:
    """Several batches, the weights changed in between, the last one short."""
    architecture = narrow() if file == "narrow" else ep.load(file)
    engines = [compiled(architecture, backend=backend, cuda_graphs=graphs) for graphs in (True, False)]
    for rows in (8, 8, 3):
        x, y = batch(architecture, rows)
        found, expected = (
            e.backward(x, y, free_steps=23, nudged_steps=12, tolerance=tolerance, beta=0.1) for e in engines
        )
        assert found.free.steps == expected.free.steps
        for name, state in expected.free.states.items():
            assert apart(found.free.states[name], state) <= 1e-4, name
        for (name, p), q in zip(engines[0].named_parameters(), engines[1].parameters(), strict=True):
            assert p.grad is not None
            assert q.grad is not None
            assert cosine(p.grad, q.grad) >= 0.9999, name
            with torch.no_grad():
                # Equal steps: rounding in the gradient is not to add up.
                p.mul_(0.98)
                q.mul_(0.98)
            p.grad = q.grad = None


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 1e-4), (torch.float16, 3e-2), (torch.bfloat16, 1e-1)])
@pytest.mark.parametrize("what", ["narrow", "ring", "examples/vgg5.yaml"])
def test_kernels_agree_with_the_eager_backend(what: str, dtype: torch.dtype, bar: float) -> None:
    ring = {**RING, "dynamics": {"schedule": "coloring", "over_relaxation": 1.3}}
    made = {"narrow": narrow, "ring": lambda: ep.Architecture.model_validate(ring)}
    architecture = made[what]() if what in made else ep.load(what)
    x, y = batch(architecture, 5)
    eager, triton = (compiled(architecture, dtype, backend=backend) for backend in ("eager", "triton"))
    expected, found = (e.backward(x, y, free_steps=6, nudged_steps=4) for e in (eager, triton))
    for name, state in expected.free.states.items():
        assert apart(found.free.states[name], state) <= bar, name
    if dtype == torch.float32:
        for (name, p), q in zip(triton.named_parameters(), eager.parameters(), strict=True):
            assert p.grad is not None
            assert q.grad is not None
            assert cosine(p.grad, q.grad) >= 0.9999, name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_keeps_the_gradient(backend: str, dtype: torch.dtype) -> None:
    """Per edge, at equal sweeps, against float64 on the CPU."""
    architecture = narrow()
    x, y = batch(architecture, 16)
    steps = {"free_steps": 60, "nudged_steps": 25}
    exact = ep.compile(architecture, dtype=torch.float64, backend="eager")
    exact.backward(x.cpu().double(), y.cpu(), **steps)
    engine = compiled(architecture, dtype, backend=backend)
    engine.backward(x, y, **steps)
    due = dict(exact.named_parameters())
    found = {n: cosine(p.grad, due[n].grad) for n, p in engine.named_parameters() if n.startswith("edges.")}  # type: ignore[arg-type]
    print(backend, dtype, {name: round(value, 5) for name, value in found.items()})
    assert min(found.values()) >= 0.995, found


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_is_flat(backend: str) -> None:
    """From 20 to 500 sweeps no more memory is reserved."""
    architecture = narrow()
    engine = compiled(architecture, backend=backend)
    x, y = batch(architecture, 32)
    reserved = []
    for steps in (20, 20, 500):
        engine.backward(x, y, free_steps=steps, nudged_steps=steps)
        engine.zero_grad(set_to_none=True)
        reserved.append(torch.cuda.max_memory_reserved())
    assert reserved[2] == reserved[1]


@pytest.mark.parametrize("backend", ["channels_last", "triton"])
def test_memory_stays_below_that_of_the_official_code(backend: str) -> None:
    """1,612 MiB for an iteration on 128 images; the second batch captures anew in the memory of the pair."""
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    architecture = ep.load("examples/hopfield_resnet13.yaml")
    engine = compiled(architecture, backend=backend)
    x, y = batch(architecture, 128)
    for _ in range(2):
        engine.zero_grad(set_to_none=True)
        engine.backward(x, y, free_steps=20, nudged_steps=20)
    reserved = (torch.cuda.max_memory_reserved() - before) / 2**20
    print(f"{backend}: {reserved:.0f} MiB reserved")
    assert reserved <= 1612


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_chunk_is_one_launch(backend: str) -> None:
    """Per phase: the host launches graphs, not kernels, and waits once a chunk at most."""
    architecture = narrow()
    engine = compiled(architecture, backend=backend)
    x, _ = batch(architecture, 8)
    launches = []
    for steps in (20, 120):
        engine.relax(x, steps=steps)
        activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=activities) as profile:
            engine.relax(x, steps=steps)
            torch.cuda.synchronize()
        counted = {event.key: event.count for event in profile.key_averages()}
        kernels = sum(count for key, count in counted.items() if "LaunchKernel" in key)
        launches.append((counted.get("cudaGraphLaunch", 0), kernels))
    print(backend, "graphs and kernels launched for 20 and 120 sweeps:", launches)
    assert launches[1][0] - launches[0][0] == 10
    assert launches[1][1] == launches[0][1]


def test_a_batch_that_is_too_large_names_one_that_fits() -> None:
    architecture = ep.load("examples/hopfield_resnet13.yaml")
    engine = compiled(architecture)
    free = torch.cuda.mem_get_info()[0]
    rows = int(free // (4 * 1024 * 128))  # the first state alone fills the device
    x = torch.rand(1, 3, 32, 32, device="cuda").expand(rows, 3, 32, 32)
    with pytest.raises(ep.EpgraphError, match=r"a batch of \d+ should fit") as caught:
        engine.backward(x, torch.zeros(rows, dtype=torch.int64), free_steps=1, nudged_steps=1)
    print(caught.value)
    engine.backward(x[:64], torch.zeros(64, dtype=torch.int64), free_steps=1, nudged_steps=1)
