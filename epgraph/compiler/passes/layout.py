"""Rewrite: channels-last weights, which with channels-last states save every library its own re-ordering."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import fx

from epgraph.compiler.passes.common import CONVOLUTION, TRANSPOSED, parametric, rewritten
from epgraph.compiler.program import Program
from epgraph.compiler.trace import Tracer


def channels_last(program: Program, tracer: Tracer) -> Program:
    """Give the weights of all convolutions the memory layout of the states."""

    def change(graph: fx.Graph) -> None:
        fixed = parametric(graph, tracer.names)
        for node in list(graph.nodes):
            if node.target not in (CONVOLUTION, TRANSPOSED) or node.args[1] not in fixed:
                continue
            with graph.inserting_before(node):
                weight = graph.call_method("contiguous", (node.args[1],), {"memory_format": torch.channels_last})
            node.args = (node.args[0], weight, *node.args[2:])

    made = rewritten(program, lambda n: n.target in (CONVOLUTION, TRANSPOSED), change)
    return replace(made, channels_last=True)
