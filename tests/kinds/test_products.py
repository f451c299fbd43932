"""Matrix products by size: both ways against float64, and networks whose products are large."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import epgraph as ep
from epgraph.kinds.products import add_product_, matrix_product
from tests.helpers.emitted import check

SIZES = {"small": (3, 40, 7), "just small": (64, 128, 127), "just large": (64, 128, 128), "large": (130, 257, 301)}
DENSE = """
epgraph: 2
name: wide
input: {name: x, shape: [160]}
output: {name: y, classes: 10}
states: {a: {shape: [160]}, b: {shape: [160], activation: relu6}, c: {shape: [160]}}
edges:
  - {from: x, to: a, dense: {}}
  - {from: a, to: b, dense: {}}
  - {from: a, to: c, dense: {rank: 130}}
  - {from: b, to: c, dense: {}}
  - {from: c, to: y, dense: {}}
dynamics: {free_steps: 12, nudged_steps: 6}
"""


def operations(rows: int, inner: int, columns: int) -> set[str]:
    a, b = torch.randn(rows, inner), torch.randn(inner, columns)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        matrix_product(a, b)
    return {event.key for event in found.key_averages()}


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch was built without oneDNN")
def test_the_size_decides() -> None:
    assert "mkldnn::_linear_pointwise" not in operations(*SIZES["just small"])
    assert "mkldnn::_linear_pointwise" in operations(*SIZES["just large"])


@pytest.mark.parametrize("sides", [(False, False), (True, False), (False, True), (True, True)], ids=str)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_equal_to_float64(dtype: torch.dtype, size: tuple[int, int, int], sides: tuple[bool, bool]) -> None:
    rows, inner, columns = size
    generator = torch.Generator().manual_seed(rows)
    a, b = (
        # Stored in either order, as weights and their transposes are.
        (
            torch.randn(n, m, generator=generator).to(dtype).T
            if turned
            else torch.randn(m, n, generator=generator).to(dtype)
        )
        for (m, n), turned in zip(((rows, inner), (inner, columns)), sides, strict=True)
    )
    exact = a.double() @ b.double()
    near = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 5e-3}[dtype]
    found = matrix_product(a, b)
    assert found.dtype == dtype
    assert float((found - exact).norm()) <= near * float(exact.norm())
    start = torch.randn(rows, columns, generator=generator).to(dtype)
    summed = start.clone()
    assert add_product_(summed, a, b) is summed
    assert float((summed - start.double() - exact).norm()) <= 2 * near * float(exact.norm())


def test_large_products_have_derivatives() -> None:
    a, b = torch.randn(64, 128, requires_grad=True), torch.randn(128, 128)
    matrix_product(a, b).sum().backward()
    torch.testing.assert_close(a.grad, b.sum(1).expand(64, -1))


@pytest.mark.parametrize("energy", ["hopfield", "predictive"])
@pytest.mark.parametrize("backend", ["eager", "onednn"])
def test_networks_with_large_products(tmp_path: Path, backend: str, energy: str) -> None:
    file = tmp_path / "wide.yaml"
    file.write_text(DENSE)
    architecture = ep.load(file, [f"energy={energy}"])
    batch = 64  # 64 · 160 · 160 multiply-accumulates are large
    x, y = torch.randn(batch, 160, generator=torch.Generator().manual_seed(0)), torch.arange(batch) % 10
    engine = ep.compile(architecture, dtype=torch.float32, backend=backend, seed=1)
    exact = ep.compile(architecture, dtype=torch.float64, backend="eager", seed=1)
    exact.load_state_dict(engine.state_dict())
    gradients = []
    for one in (engine, exact):
        one.backward(x.to(one.dtype), y, beta=0.1)
        gradients.append({n: p.grad.double() for n, p in one.named_parameters() if p.grad is not None})
    found, expected = gradients
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float((found[name] - value).norm()) <= 1e-4 * float(value.norm()), name
    engine.zero_grad()
    check(engine, tmp_path, x, y, beta=0.1)
