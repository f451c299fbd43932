"""What emitted code may call beside torch, and the names that it finds when it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from epgraph.compiler import runtime
from epgraph.compiler.triton_kernel import launch
from epgraph.compiler.winograd import add_winograd_, winograd, winograd_kernels
from epgraph.kinds.convolution import correlate
from epgraph.kinds.memory import softmax_pair
from epgraph.kinds.products import add_product_, matrix_product
from epgraph.kinds.self_interaction import spectral_bound

HELPERS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        runtime.total,
        runtime.total_pair,
        runtime.wide_total,
        runtime.wide_total_pair,
        runtime.fill_,
        runtime.fill_pair_,
        runtime.in_pieces,
        runtime.by_rows,
        runtime.weighed,
        runtime.noisy_,
        runtime.noisy_pair_,
        runtime.quantize_,
        runtime.quantize_pair_,
        runtime.inner,
        runtime.swapped,
        runtime.taps,
        runtime.interleave,
        runtime.put_phase_,
        runtime.put_phase_pair_,
        runtime.add_phase_,
        add_winograd_,
        winograd,
        winograd_kernels,
        correlate,
        softmax_pair,
        spectral_bound,
        add_product_,
        matrix_product,
        launch,
    )
}
"""What emitted code calls beside torch, by name."""


def namespace() -> dict[str, Any]:
    """Names that emitted functions use."""
    return {"torch": torch, "inf": float("inf"), "nan": float("nan"), "device": torch.device, **HELPERS}
