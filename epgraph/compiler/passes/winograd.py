"""Rewrite: 3×3 convolutions at stride 1 by Winograd's minimal filtering, with a quarter of the products."""

from __future__ import annotations

import torch
from torch import fx

from epgraph.compiler import winograd as minimal
from epgraph.compiler.passes.common import CONVOLUTION, padding_of, parametric, plain, rewritten, shapes, stride_of
from epgraph.compiler.program import Program
from epgraph.compiler.trace import Tracer


def winograd(program: Program, tracer: Tracer, *, least_channels: int = 32, fewest_tiles: int = 4) -> Program:
    """Transform tiles and kernels, multiply, and transform back; in single and double precision.

    Half precision would lose the digits: the transforms add and subtract with factors up to 8.

    Parameters
    ----------
    least_channels
        Least C·D/(C + D) for C channels in and D channels out: below it, transforms cost what the products save.
    fewest_tiles
        Fewest tiles of a map: on a single one the weights, four times as many numbers, cost more than the products
        save.
    """
    if tracer.dtype not in (torch.float32, torch.float64):
        return program

    def worthwhile(source: tuple[int, ...], weight: tuple[int, ...]) -> bool:
        outputs, inputs, *kernel = weight
        height, width = source[2:]
        return (
            kernel == [3, 3]
            and height % minimal.TILE == width % minimal.TILE == 0
            and (height // minimal.TILE) * (width // minimal.TILE) >= fewest_tiles
            and outputs * inputs >= least_channels * (outputs + inputs)
        )

    def change(graph: fx.Graph) -> None:
        sizes = shapes(graph, tracer, program)
        fixed = parametric(graph, tracer.names)
        for node in list(graph.nodes):
            if not _padded_by_one(node) or node.args[1] not in fixed:
                continue
            source, weight = node.args
            if worthwhile(sizes[source], sizes[weight]):
                with graph.inserting_before(node):
                    kernels = graph.call_function(minimal.winograd_kernels, (weight,))
                    made = graph.call_function(minimal.winograd, (source, kernels))
                made.meta = dict(node.meta)
                node.replace_all_uses_with(made)
                graph.erase_node(node)

    return rewritten(program, _padded_by_one, change)


def _padded_by_one(node: fx.Node) -> bool:
    return plain(node, CONVOLUTION) and stride_of(node) == padding_of(node) == (1, 1)
