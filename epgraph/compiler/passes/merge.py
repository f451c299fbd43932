"""Rewrites: convolutions (and products) of one geometry that share a source, or a target, become one."""

from __future__ import annotations

import operator
from collections import defaultdict
from typing import Any

import torch
from torch import fx

from epgraph.compiler.helpers import HELPERS
from epgraph.compiler.passes.common import CONVOLUTION, padding_of, parametric, plain, rewritten, shapes, stride_of
from epgraph.compiler.program import Program
from epgraph.compiler.trace import Tracer

SUMS = (HELPERS["total"], HELPERS["total_pair"])


def merge_sources(program: Program, tracer: Tracer) -> Program:
    """Convolutions of one state with one geometry become one with more output channels."""

    def change(graph: fx.Graph) -> None:
        sizes = shapes(graph, tracer, program)
        fixed = parametric(graph, tracer.names)
        order = {node: i for i, node in enumerate(graph.nodes)}
        groups: dict[Any, list[fx.Node]] = defaultdict(list)
        for node in graph.nodes:
            if plain(node, CONVOLUTION) and node.args[1] in fixed:
                groups[node.args[0], stride_of(node), padding_of(node), sizes[node.args[1]][2:]].append(node)
        for nodes in groups.values():
            if len(nodes) < 2:
                continue
            first = min(nodes, key=order.__getitem__)
            channels = [sizes[n][1] for n in nodes]
            with graph.inserting_before(first):
                weights = _copy_before(graph, [n.args[1] for n in nodes], first, fixed)
                weight = graph.call_function(torch.cat, (weights, 0))
                whole = graph.call_function(CONVOLUTION, (first.args[0], weight), dict(first.kwargs))
                parts = graph.call_method("split", (whole, channels, 1))
                taken = [graph.call_function(operator.getitem, (parts, i)) for i in range(len(nodes))]
            for node, part in zip(nodes, taken, strict=True):
                node.replace_all_uses_with(part)
                graph.erase_node(node)

    return rewritten(program, lambda n: plain(n, CONVOLUTION), change)


def merge_targets(program: Program, tracer: Tracer) -> Program:
    """Convolutions, or products with matrices, that are added up become one with more input channels."""

    def change(graph: fx.Graph) -> None:
        sizes = shapes(graph, tracer, program)
        for node in list(graph.nodes):
            if node.target in SUMS:
                _merge_convolutions(graph, node, sizes)
                _merge_products(graph, node, sizes)

    return rewritten(program, lambda n: n.target in SUMS and len(n.args) > 2, change)


def _merge_convolutions(graph: fx.Graph, total: fx.Node, sizes: dict[fx.Node, tuple[int, ...]]) -> None:
    groups: dict[Any, list[fx.Node]] = defaultdict(list)
    for part in total.args[1:]:
        assert isinstance(part, fx.Node)
        if plain(part, CONVOLUTION) and len(part.users) == 1:
            source, weight = part.args
            groups[stride_of(part), padding_of(part), sizes[weight][2:], sizes[source][2:]].append(part)  # type: ignore[index]
    for parts in groups.values():
        if len(parts) < 2:
            continue
        with graph.inserting_before(total):
            source = graph.call_function(torch.cat, ([p.args[0] for p in parts], 1))
            weight = graph.call_function(torch.cat, ([p.args[1] for p in parts], 1))
            whole = graph.call_function(CONVOLUTION, (source, weight), dict(parts[0].kwargs))
        _replace(total, parts, whole)


def _merge_products(graph: fx.Graph, total: fx.Node, sizes: dict[fx.Node, tuple[int, ...]]) -> None:
    parts = []
    for part in total.args[1:]:
        assert isinstance(part, fx.Node)
        if product_of(part) is not None and len(part.users) == 1:
            parts.append(part)
    if len(parts) < 2:
        return
    products = [product_of(part) for part in parts]
    with graph.inserting_before(total):
        left = graph.call_function(torch.cat, ([p.args[0] for p in products if p], 1))
        right = graph.call_function(torch.cat, ([p.args[1] for p in products if p], 0))
        whole = graph.call_function(operator.matmul, (left, right))
        shaped = graph.call_method("view", (whole, *parts[0].args[1:]))
    _replace(total, parts, shaped)


def product_of(part: fx.Node) -> fx.Node | None:
    """Matrix product that a contribution is, given its shape back; None where it is something else."""
    if part.op != "call_method" or part.target != "view" or not isinstance(part.args[0], fx.Node):
        return None
    product = part.args[0]
    alone = product.target is operator.matmul and len(product.users) == 1
    return product if alone else None


def _replace(total: fx.Node, parts: list[fx.Node], whole: fx.Node) -> None:
    kept = [a for a in total.args[1:] if a not in parts]
    total.args = (total.args[0], whole, *kept)


def _copy_before(graph: fx.Graph, weights: list[Any], first: fx.Node, fixed: set[fx.Node]) -> list[fx.Node]:
    """Weights, computed before ``first`` even where the graph computes them later."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    copies: dict[fx.Node, fx.Node] = {}

    def early(node: fx.Node) -> fx.Node:
        if node.op == "placeholder" or order.get(node, 0) < order[first]:
            return node
        if node not in copies:
            copies[node] = graph.node_copy(node, early)
        return copies[node]

    assert all(weight in fixed for weight in weights)
    return [early(weight) for weight in weights]
