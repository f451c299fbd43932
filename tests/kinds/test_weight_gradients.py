"""Weight gradients of convolutions: both ways to compute them against float64 autograd."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from epgraph.kinds.convolution import correlate

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float64: 1e-12}


@st.composite
def geometries(draw: st.DrawFn) -> tuple[list[int], list[int], tuple[tuple[int, int], ...], int]:
    """Shapes of s and t, (kernel, stride, padding, dilation), and groups."""

    def two(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel, stride, padding, dilation = two(1, 4), two(1, 3), two(0, 2), two(1, 2)
    rows, columns = two(1, 6)
    groups = draw(st.sampled_from([1, 1, 2, 5]))
    inputs, outputs = (groups * draw(st.sampled_from([1, 2, 3, 8, 17])) for _ in range(2))
    # The smallest image with this many rows and columns, and some pixels that the stride leaves over.
    size = [
        max(1, s * (n - 1) + d * (k - 1) + 1 - 2 * p + draw(st.integers(0, s - 1)))
        for n, k, s, p, d in zip((rows, columns), kernel, stride, padding, dilation, strict=True)
    ]
    batch = draw(st.integers(1, 5))
    made = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    ]
    return [batch, inputs, *size], [batch, outputs, *made], (kernel, stride, padding, dilation), groups


def expected(s: Tensor, t: Tensor, geometry: tuple[tuple[int, int], ...], groups: int) -> Tensor:
    """∂⟨t, w ⋆ s⟩/∂w by autograd in float64."""
    kernel, stride, padding, dilation = geometry
    weight = torch.zeros(t.shape[1], s.shape[1] // groups, *kernel, dtype=torch.float64, requires_grad=True)
    made = F.conv2d(s.double(), weight, None, stride, padding, dilation, groups)
    (found,) = torch.autograd.grad((made * t.double()).sum(), weight)
    return found


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@settings(max_examples=60)
@given(geometry=geometries(), seed=st.integers(0, 99))
def test_equal_to_autograd(
    geometry: tuple[list[int], list[int], tuple[tuple[int, int], ...], int],
    seed: int,
    dtype: torch.dtype,
    layout: torch.memory_format,
) -> None:
    source, target, options, groups = geometry
    generator = torch.Generator().manual_seed(seed)
    s, t = (
        torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=layout) for shape in (source, target)
    )
    kernel, stride, padding, dilation = options
    found = correlate(s, t, kernel, stride, padding, dilation, groups)
    wanted = expected(s, t, options, groups)
    assert found.shape == wanted.shape
    assert found.dtype == dtype
    assert float((found - wanted).norm()) <= TOLERANCE[dtype] * float(wanted.norm()) + 1e-12


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch was built without oneDNN")
@pytest.mark.parametrize(
    ("kernel", "channels", "size", "onednn"),
    [(3, 8, 8, True), (1, 8, 8, False), ((1, 3), 8, 8, True), (3, 512, 1, False), (3, 512, 16, True)],
)
def test_which_way_is_taken(
    kernel: int | tuple[int, int], channels: int, size: int, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OneDNN never takes a 1×1 kernel, where it corrupts the heap, nor many weights on few pixels, where it is slow."""
    asked = []
    real = torch.ops.aten.convolution_backward

    def backward(*arguments: object) -> object:
        asked.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", backward)
    s, t = torch.randn(2, channels, size, size), torch.randn(2, channels, size, size)
    rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
    correlate(s, t, kernel, 1, (rows // 2, columns // 2))
    assert bool(asked) == onednn
