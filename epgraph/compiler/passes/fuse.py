"""Rewrite: sums are accumulated in place, by the convolutions and products themselves where they can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from epgraph.compiler import runtime
from epgraph.compiler.passes.common import SUMS, argument_of, product_of, rewritten
from epgraph.compiler.program import Program
from epgraph.compiler.trace import Tracer
from epgraph.compiler.winograd import add_winograd_, winograd
from epgraph.kinds.products import add_product_


def fuse_sums(program: Program, tracer: Tracer) -> Program:
    """Start every sum from its constant in working memory, and let each contribution add itself to it."""

    def change(graph: fx.Graph) -> None:
        for node in list(graph.nodes):
            if node.target in SUMS:
                _fuse(graph, node)

    return rewritten(program, lambda n: n.target in SUMS, change)


def _fuse(graph: fx.Graph, total: fx.Node) -> None:
    constant, *parts = total.args
    adding: list[Any] = [p for p in parts if _adds_itself(p)]
    made = [p for p in parts if p not in adding]
    # A single contribution to a sum that is kept has memory of its own.
    if not adding or (total.meta.get("kept") and len(parts) == 1 and adding[0].target is not runtime.interleave):
        return
    with graph.inserting_before(total):
        if made:
            # What has memory of its own anyway is what the others are added to.
            summed = graph.call_function(total.target, (constant, *made))  # type: ignore[arg-type]
            summed.meta = dict(total.meta)
        else:
            pair = total.target is runtime.total_pair
            summed = graph.call_function(torch.empty_like, (argument_of(graph, total.meta["state"]),))
            whole = next((p for p in adding if _covers(p)), None)
            if whole is None:
                filling = runtime.fill_pair_ if pair else runtime.fill_
                summed = graph.call_function(filling, (summed, constant))
                summed.meta = dict(total.meta)
            else:
                # The phases of one contribution reach every pixel once: they start the sum.
                adding.remove(whole)
                putting = runtime.put_phase_pair_ if pair else runtime.put_phase_
                for number, phase in _phases(whole):
                    _move(phase, total)
                    summed = graph.call_function(putting, (summed, constant, number, phase))
                    summed.meta = dict(whole.meta)
        for part in adding:
            for added in _add(graph, total, summed, part):
                added.meta = dict(part.meta)
                summed = added
    total.replace_all_uses_with(summed)
    graph.erase_node(total)


def _covers(part: Any) -> bool:
    return part.target is runtime.interleave and all(isinstance(phase, fx.Node) for phase in part.args[2:])


def _phases(part: fx.Node) -> list[tuple[int, fx.Node]]:
    """Phases that there are, which the map that they make up gives away."""
    phases, part.args = part.args[2:], ()
    return [(number, phase) for number, phase in enumerate(phases) if isinstance(phase, fx.Node)]


def _move(node: fx.Node, place: fx.Node) -> None:
    """Compute a node, and what it alone reads, just before it is needed, so that one at a time takes memory."""
    if len(node.users) <= 1 and node.op != "placeholder":
        for source in node.all_input_nodes:
            _move(source, place)
        place.prepend(node)


def _adds_itself(part: Any) -> bool:
    if len(part.users) != 1:
        return False
    if part.target in (torch.ops.mkldnn._convolution_pointwise.default, runtime.interleave, winograd):
        return True
    # A product has two dimensions; a state that has more is flattened by a copy where channels come last.
    return product_of(part) is not None and len(part.args) == 3


def _add(graph: fx.Graph, total: fx.Node, summed: fx.Node, part: fx.Node) -> Iterator[fx.Node]:
    product = product_of(part)
    if product is not None:
        yield graph.call_function(add_product_, (summed, *product.args))
        return
    if part.target is runtime.interleave:
        for number, phase in _phases(part):
            _move(phase, total)
            yield (summed := graph.call_function(runtime.add_phase_, (summed, number, phase)))
        return
    if part.target is winograd:
        yield graph.call_function(add_winograd_, (summed, *part.args))
        return
    source, packed, _, padding, stride, dilation, groups, *_rest = part.args
    yield graph.call_function(
        torch.ops.mkldnn._convolution_pointwise_.binary,
        (summed, source, packed, None, padding, stride, dilation, groups, "add", 1.0, None, [], None),
    )
