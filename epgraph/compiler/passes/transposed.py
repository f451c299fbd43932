"""Rewrites: transposed convolutions as convolutions, which most libraries run faster."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from epgraph.compiler import runtime
from epgraph.compiler.passes.common import TRANSPOSED, nodes_of, padding_of, plain, rewritten, shapes, stride_of
from epgraph.compiler.program import Program
from epgraph.compiler.trace import Tracer


def flip_transposed(program: Program, tracer: Tracer) -> Program:
    """At stride 1 the transposed convolution is the convolution with the kernel flipped and the channels exchanged."""

    def change(graph: fx.Graph) -> None:
        sizes = shapes(graph, tracer, program)
        for node in nodes_of(graph, TRANSPOSED):
            if not _at_stride(node, 1):
                continue
            t, weight = node.args
            kernel = sizes[weight][2:]  # type: ignore[index]
            padding = [k - 1 - p for k, p in zip(kernel, padding_of(node), strict=True)]
            if min(padding) < 0:
                continue  # padded beyond the kernel: the border would have to be cut off
            with graph.inserting_before(node):
                swapped = graph.call_function(runtime.swapped, (weight,))
                flipped = graph.call_method("flip", (swapped, 2, 3))
                made = graph.call_function(torch.conv2d, (t, flipped), {"stride": (1, 1), "padding": tuple(padding)})
            made.meta = dict(node.meta)
            node.replace_all_uses_with(made)
            graph.erase_node(node)

    return rewritten(program, lambda n: _at_stride(n, 1), change)


def split_strided(program: Program, tracer: Tracer) -> Program:
    """At stride 2 every second row and column of the result sees only every second kernel row and column.

    So it is four convolutions at stride 1, one a phase, on kernels that together have as many taps, and no
    multiplication with the zeros that the stride puts between the pixels.
    """

    def change(graph: fx.Graph) -> None:
        sizes = shapes(graph, tracer, program)
        for node in nodes_of(graph, TRANSPOSED):
            if _at_stride(node, 2) and node in sizes and min(sizes[node][2:]) >= 2:
                _split(graph, node, sizes)

    return rewritten(program, lambda n: _at_stride(n, 2), change)


def _split(graph: fx.Graph, node: fx.Node, sizes: dict[fx.Node, tuple[int, ...]]) -> None:
    t, weight = node.args
    assert isinstance(t, fx.Node)
    assert isinstance(weight, fx.Node)
    rows, columns = (
        [_phase(size, kernel, padding, have, phase) for phase in (0, 1)]
        for size, kernel, padding, have in zip(
            sizes[node][2:], sizes[weight][2:], padding_of(node), sizes[t][2:], strict=True
        )
    )
    with graph.inserting_before(node):
        swapped = graph.call_function(runtime.swapped, (weight,))
        parts = [_one_phase(graph, t, swapped, row, column) for row in rows for column in columns]
        whole = graph.call_function(runtime.interleave, (*sizes[node][2:], *parts))
    whole.meta = dict(node.meta)
    node.replace_all_uses_with(whole)
    graph.erase_node(node)


def _phase(size: int, kernel: int, padding: int, have: int, phase: int) -> dict[str, Any]:
    """Taps of one phase along one side, from last to first, the pixels of t that its first output sees, and its length.

    Output n sees t[m] through tap k where n = 2m − padding + k.
    """
    taps = [k for k in range(kernel - 1, -1, -1) if (phase + padding - k) % 2 == 0]
    length = (size - phase + 1) // 2
    first = (phase + padding - taps[0]) // 2 if taps else 0
    last = first + length - 1 + len(taps) - 1
    return {"taps": taps, "pad": (-first, last - (have - 1)), "length": length}


def _one_phase(
    graph: fx.Graph, t: fx.Node, swapped: fx.Node, row: dict[str, Any], column: dict[str, Any]
) -> fx.Node | None:
    if not row["taps"] or not column["taps"]:
        return None  # a kernel of one tap leaves every second row or column at zero
    kernel = graph.call_function(runtime.taps, (swapped, tuple(row["taps"]), tuple(column["taps"])))
    source = t
    pads = (*column["pad"], *row["pad"])
    even = row["pad"][0] == row["pad"][1] >= 0 and column["pad"][0] == column["pad"][1] >= 0
    if not even:
        source = graph.call_function(torch.nn.functional.pad, (t, pads))
    padding = (row["pad"][0], column["pad"][0]) if even else (0, 0)
    return graph.call_function(torch.conv2d, (source, kernel), {"stride": (1, 1), "padding": padding})


def _at_stride(node: fx.Node, stride: int) -> bool:
    return plain(node, TRANSPOSED) and stride_of(node) == (stride, stride)
