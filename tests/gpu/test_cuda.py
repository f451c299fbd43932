"""The engine on a CUDA device against the same engine on the CPU in float64."""

from __future__ import annotations

import pytest
import torch

import epgraph as ep

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("example", ["digits", "hopfield_resnet13", "vgg5"])
@pytest.mark.parametrize(
    ("dtype", "cosine"), [(torch.float64, 1 - 1e-12), (torch.float32, 0.9999), (torch.bfloat16, 0.9)]
)
def test_gradients_agree_with_the_cpu(example: str, dtype: torch.dtype, cosine: float) -> None:
    """Equal weights, inputs and sweeps; TF32 off, so that float32 means float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    architecture = ep.load(f"examples/{example}.yaml")
    x = torch.rand(4, *architecture.input.shape, generator=torch.Generator().manual_seed(0))
    y = torch.arange(4)
    steps = {"free_steps": 15, "nudged_steps": 8}
    expected = ep.compile(architecture, dtype=torch.float64)
    expected.backward(x.double(), y, **steps)
    engine = ep.compile(architecture, device="cuda", dtype=dtype)
    engine.backward(x, y, **steps)
    exact = dict(expected.named_parameters())
    for name, parameter in engine.named_parameters():
        assert parameter.grad is not None
        made, due = parameter.grad.double().cpu().flatten(), exact[name].grad
        assert due is not None
        assert float(made @ due.flatten() / (made.norm() * due.norm())) >= cosine, name


def test_two_runs_are_equal() -> None:
    torch.backends.cudnn.deterministic = True
    found = []
    for _ in range(2):
        engine = ep.compile("examples/vgg5.yaml", device="cuda")
        engine.backward(torch.ones(8, 3, 32, 32), torch.arange(8), free_steps=10, nudged_steps=5)
        found.append([p.grad.clone() for p in engine.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_short_last_batch() -> None:
    engine = ep.compile("examples/digits.yaml", device="cuda")
    for batch in (8, 3):
        assert engine(torch.rand(batch, 1, 8, 8)).shape == (batch, 10)
