"""What the rewrites share: copying graphs, finding out what nodes depend on, and which shapes they have."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from epgraph.compiler import runtime
from epgraph.compiler.effects import writes
from epgraph.compiler.names import PARAMETERS, Names
from epgraph.compiler.program import Function, Program
from epgraph.compiler.trace import Tracer
from epgraph.kinds.products import matrix_product

CONVOLUTION = torch.conv2d
TRANSPOSED = torch.conv_transpose2d
SUMS = (runtime.total, runtime.total_pair)


def copied(graph: fx.Graph) -> fx.Graph:
    """Return a copy, so that a rewrite leaves what it was given alone."""
    made = fx.Graph()
    made.output(made.graph_copy(graph, {}))
    return made


def rewritten(program: Program, wanted: Callable[[fx.Node], bool], change: Callable[[fx.Graph], None]) -> Program:
    """Apply ``change`` to a copy of every function of the sweep that has a node that is ``wanted``."""

    def one(function: Function) -> Function:
        if not any(wanted(node) for node in function.graph.nodes):
            return function
        graph = copied(function.graph)
        change(graph)
        return replace(function, graph=clean(graph))

    return everywhere(program, one)


def everywhere(program: Program, change: Callable[[Function], Function]) -> Program:
    """Change every function but those that run once per batch."""
    sweep, opening, warm = (tuple(map(change, part)) for part in (program.sweep, program.opening, program.warm))
    return replace(program, sweep=sweep, opening=opening, warm=warm)


def clean(graph: fx.Graph) -> fx.Graph:
    """Drop what is computed for nothing, and arguments that nothing reads any more."""
    graph.eliminate_dead_code(is_impure_node=_kept)
    for node in list(graph.nodes):
        if node.op == "placeholder" and not node.users:
            graph.erase_node(node)
    graph.lint()
    return graph


def _kept(node: fx.Node) -> bool:
    return node.op in ("placeholder", "output") or writes(node)


def stride_of(node: fx.Node) -> tuple[int, int]:
    """Stride of a convolution."""
    return _two(node.kwargs.get("stride", node.args[3] if len(node.args) > 3 else 1))


def padding_of(node: fx.Node) -> tuple[int, int]:
    """Padding of a convolution."""
    return _two(node.kwargs.get("padding", node.args[4] if len(node.args) > 4 else 0))


def _two(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def plain(node: fx.Node, kind: Any) -> bool:
    """Whether a node is a convolution of a kind without bias, dilation and groups, which is what rewrites know."""
    known = {"stride", "padding", "output_padding"}
    return node.op == "call_function" and node.target is kind and len(node.args) == 2 and set(node.kwargs) <= known


def argument_of(graph: fx.Graph, name: str) -> fx.Node:
    """Argument of a function, made where it has none of that name."""
    for node in graph.nodes:
        if node.op != "placeholder":
            break
        if node.target == name:
            found: fx.Node = node
            return found
    with graph.inserting_before(next(iter(graph.nodes))):
        return graph.placeholder(name)


def parametric(graph: fx.Graph, names: Names) -> set[fx.Node]:
    """Nodes that depend on parameters alone."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder":
            if names.role(str(node.target)) in PARAMETERS:
                found.add(node)
        elif node.op != "output" and node.all_input_nodes and all(n in found for n in node.all_input_nodes):
            found.add(node)
    return found


def evaluated(graph: fx.Graph, tracer: Tracer, program: Program) -> dict[fx.Node, Any]:
    """What every node returns for an empty batch, which costs next to nothing.

    The meta device knows shapes as well, but the first operation there loads half of torch's compiler: 900 modules,
    150 MiB and two seconds.
    """
    try:
        return _evaluated(graph, tracer, 0)
    except (RuntimeError, ValueError, IndexError, ZeroDivisionError):
        # An operation that a kind of the user's own brings may not take an empty batch.
        return _evaluated(graph, tracer, 2 if program.key[0] == "pair" else 1)


def _evaluated(graph: fx.Graph, tracer: Tracer, rows: int) -> dict[fx.Node, Any]:
    values: dict[fx.Node, Any] = {}

    def value(argument: Any) -> Any:
        return fx.node.map_arg(argument, lambda n: values[n])

    with torch.no_grad():
        for node in graph.nodes:
            if node.op == "placeholder":
                values[node] = tracer.example(str(node.target), rows)
            elif node.op == "call_function":
                values[node] = node.target(*value(node.args), **value(node.kwargs))
            elif node.op == "call_method":
                own, *rest = value(node.args)
                # All examples are of one precision, which not every operation has on the CPU.
                converted = node.target == "to"
                values[node] = own if converted else getattr(own, str(node.target))(*rest, **value(node.kwargs))
            found = values.get(node)
            if rows == 0 and isinstance(found, torch.Tensor) and found.numel() > 1:
                # What depends on parameters alone is not empty: one number stands for all of its numbers.
                values[node] = found.new_zeros(()).expand(found.shape)
    return values


def shapes(graph: fx.Graph, tracer: Tracer, program: Program) -> dict[fx.Node, tuple[int, ...]]:
    """Shape of what every node returns; the first number, of rows, says nothing."""
    values = evaluated(graph, tracer, program)
    return {node: tuple(value.shape) for node, value in values.items() if isinstance(value, torch.Tensor)}


def nodes_of(graph: fx.Graph, kind: Any) -> Iterable[fx.Node]:
    """Plain convolutions of a kind."""
    return [node for node in graph.nodes if plain(node, kind)]


def product_of(part: fx.Node) -> fx.Node | None:
    """Matrix product that a contribution is, given its shape back; None where it is something else."""
    if part.op != "call_method" or part.target != "view" or not isinstance(part.args[0], fx.Node):
        return None
    product = part.args[0]
    alone = product.target in (matrix_product, operator.matmul) and len(product.users) == 1
    return product if alone else None
