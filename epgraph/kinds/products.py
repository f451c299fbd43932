"""Matrix products by the library that is faster for their size."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def matrix_product(a: Tensor, b: Tensor) -> Tensor:
    """Return a b, (rows, columns), of (rows, inner) and (inner, columns).

    In float32 on a CPU large products are oneDNN's, which has twice the rate of MKL on processors with AVX-512 that are
    not Intel's. A call of it takes 8 µs longer. It has no derivative in torch.
    """
    import torch
    from torch.overrides import handle_torch_function, has_torch_function

    if has_torch_function((a, b)):
        # Recorded by torch.fx as one call.
        recorded: Tensor = handle_torch_function(matrix_product, (a, b), a, b)
        return recorded
    large = a.shape[0] * a.shape[1] * b.shape[1] >= 2**20
    single = a.device.type == "cpu" and a.dtype == b.dtype == torch.float32
    onednn = large and single and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    differentiated = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    if not onednn or differentiated or torch.compiler.is_compiling():
        return a @ b
    result: Tensor = torch.ops.mkldnn._linear_pointwise(a, b.T, None, "none", [], "")
    return result


def add_product_(summed: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Add ``matrix_product(a, b)`` to ``summed`` in place."""
    small = a.shape[0] * a.shape[1] * b.shape[1] < 2**20
    return summed.addmm_(a, b) if small else summed.add_(matrix_product(a, b))
