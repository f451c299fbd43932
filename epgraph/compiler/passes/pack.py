"""Rewrite: weights in the blocked layout of oneDNN, packed once per batch instead of once per sweep."""

from __future__ import annotations

import torch
from torch import fx

from epgraph.compiler.passes.common import (
    CONVOLUTION,
    TRANSPOSED,
    padding_of,
    parametric,
    plain,
    rewritten,
    shapes,
    stride_of,
)
from epgraph.compiler.program import Program
from epgraph.compiler.trace import Tracer
from epgraph.compiler.winograd import WINDOW, winograd

BATCH = 16
"""Batch that oneDNN chooses a layout for; others run on it as well (measured with 16 and 64)."""

TILES = 256
"""Tiles for which it chooses the layout of Winograd's kernels; from 64 on others run on it as well."""


def onednn_unavailable(device: torch.device, dtype: torch.dtype) -> str:
    """Return why oneDNN cannot run there; empty if it can."""
    if device.type != "cpu":
        return f"oneDNN runs on the CPU, not on {device.type}"
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "this torch was built without oneDNN"
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "this processor has no bfloat16 instructions that oneDNN uses"
    if dtype not in (torch.float32, torch.bfloat16):
        return f"oneDNN packs float32, not {str(dtype).removeprefix('torch.')}"
    return ""


def pack_weights(program: Program, tracer: Tracer) -> Program:
    """Replace convolutions by oneDNN's own, with weights in its layout (CPU, float32 and bfloat16)."""
    mkldnn = torch.ops.mkldnn

    def change(graph: fx.Graph) -> None:
        sizes = shapes(graph, tracer, program)
        fixed = parametric(graph, tracer.names)
        for node in list(graph.nodes):
            if node.target is winograd and node.args[1] in fixed:
                _pack_tiles(graph, node, sizes)
            forward = plain(node, CONVOLUTION)
            if not (forward or plain(node, TRANSPOSED)) or node.args[1] not in fixed:
                continue
            source, weight = node.args
            size = [BATCH, *sizes[source][1:]]
            stride, padding = list(stride_of(node)), list(padding_of(node))
            with graph.inserting_before(node):
                if forward:
                    packed = graph.call_function(
                        mkldnn._reorder_convolution_weight.default, (weight, padding, stride, [1, 1], 1, size)
                    )
                    made = graph.call_function(
                        mkldnn._convolution_pointwise.default,
                        (source, packed, None, padding, stride, [1, 1], 1, "none", [], ""),
                    )
                else:
                    extra = list(node.kwargs.get("output_padding", (0, 0)))
                    packed = graph.call_function(
                        mkldnn._reorder_convolution_transpose_weight.default,
                        (weight, padding, extra, stride, [1, 1], 1, size),
                    )
                    made = graph.call_function(
                        mkldnn._convolution_transpose_pointwise.default,
                        (source, packed, None, padding, extra, stride, [1, 1], 1, "none", [], ""),
                    )
            made.meta = dict(node.meta)
            node.replace_all_uses_with(made)
            graph.erase_node(node)

    return rewritten(program, lambda n: plain(n, CONVOLUTION) or plain(n, TRANSPOSED) or n.target is winograd, change)


def _pack_tiles(graph: fx.Graph, node: fx.Node, sizes: dict[fx.Node, tuple[int, ...]]) -> None:
    source, kernels = node.args
    size = [1, WINDOW**2 * sizes[kernels][1], 1, TILES]  # type: ignore[index]
    with graph.inserting_before(node):
        packed = graph.call_function(
            torch.ops.mkldnn._reorder_convolution_weight.default,
            (kernels, [0, 0], [1, 1], [1, 1], WINDOW**2, size),
        )
    node.args = (source, packed)
