"""Rewrite: in half precision, a sum stays in float32 until the new state is stored."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from epgraph.compiler import runtime
from epgraph.compiler.passes.common import SUMS, rewritten
from epgraph.compiler.program import Program
from epgraph.compiler.runtime import HALF
from epgraph.compiler.trace import Tracer

WIDE = {runtime.total: runtime.wide_total, runtime.total_pair: runtime.wide_total_pair}
"""What a sum becomes."""

ELEMENTWISE = frozenset({operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, operator.getitem})
IN_PLACE = frozenset({runtime.noisy_, runtime.noisy_pair_, runtime.quantize_, runtime.quantize_pair_})
KNOWN: frozenset[Any] = ELEMENTWISE | IN_PLACE | {torch.cat, torch.lerp, runtime.in_pieces}
METHODS = frozenset({"clamp_", "chunk"})
"""What may follow a sum: operations that promote, and those that take one tensor."""


def widen_sums(program: Program, tracer: Tracer) -> Program:
    """Compute what follows a sum in float32 and round the new state once; in float32 and float64 nothing changes.

    A rounding of the sum counts ω times in an over-relaxed update, and the same way in every sweep. It cost more digits
    of the gradient than the rounding of the state itself.
    """
    if tracer.dtype not in HALF:
        return program

    def change(graph: fx.Graph) -> None:
        wide = _wide(graph)
        if wide is None:
            return
        for node in list(graph.nodes):
            if node in wide and node.target in SUMS:
                node.target = WIDE[node.target]
            elif node in wide and node.target is torch.lerp:
                _promote(graph, node, wide)
            elif node.op == "output":
                _store(graph, node, wide, tracer.dtype)

    return rewritten(program, lambda n: n.target in SUMS, change)


def _wide(graph: fx.Graph) -> set[fx.Node] | None:
    """Nodes whose values become float32; None where something else than a known operation follows a sum."""
    wide: set[fx.Node] = set()
    for node in graph.nodes:
        if node.target in SUMS:
            if any(n in wide for n in node.all_input_nodes):
                return None
            wide.add(node)
        elif node.op != "output" and any(n in wide for n in node.all_input_nodes):
            if node.target not in (METHODS if node.op == "call_method" else KNOWN):
                return None
            if node.target is runtime.in_pieces and node.args[3] not in wide:
                continue  # it stores its result where it rounds it
            wide.add(node)
    return wide


def _promote(graph: fx.Graph, node: fx.Node, wide: set[fx.Node]) -> None:
    """Give an interpolation tensors of one precision; its weight may be a number."""
    start, end, weight = node.args
    with graph.inserting_before(node):
        start, end = (one if one in wide else graph.call_method("float", (one,)) for one in (start, end))
        if isinstance(weight, fx.Node) and weight.op != "placeholder":
            weight = graph.call_method("float", (weight,))
    node.args = (start, end, weight)


def _store(graph: fx.Graph, output: fx.Node, wide: set[fx.Node], dtype: torch.dtype) -> None:
    def stored(value: Any) -> Any:
        if value not in wide:
            return value
        with graph.inserting_before(output):
            return graph.call_method("to", (value, dtype))

    values: Any = output.args[0]
    output.args = (tuple(stored(value) for value in values),)
