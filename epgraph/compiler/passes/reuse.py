"""Rewrite: the arg-max of a pooled edge is found once, and reused where that is exact.

Both directions of a max-pooled edge need the convolution of its source and the place of each window's maximum: the
forward term for its value, the adjoint to know where to send the target back to. Where the source has not moved in
between, which a proper schedule guarantees, one of the two convolutions is redundant (docs/references.md, note 5).
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import fx

from epgraph.compiler.effects import writes, written_to
from epgraph.compiler.names import PARAMETERS, Names
from epgraph.compiler.passes.common import argument_of, clean, copied, evaluated
from epgraph.compiler.program import Function, Program
from epgraph.compiler.trace import Tracer, structure

Key = str


def reuse_argmax(program: Program, tracer: Tracer) -> Program:
    """Hand what one color class computed to the next one that would compute the same from the same states."""
    if all(edge.kind.is_linear for edge in tracer.graph.edges.values()):
        return program
    graphs = [copied(function.graph) for function in program.sweep]
    for graph in graphs:
        _spell_out(graph)
    # The first sweep's values come from the plain graphs: in the others, what is reused is already an argument.
    plain = [{key: node for node, key in _keys(copied(graph), tracer.names).items()} for graph in graphs]
    values = [evaluated(graph, tracer, program) for graph in graphs]
    moved = [frozenset(function.results) for function in program.sweep]
    results: list[dict[str, fx.Node]] = [{} for _ in graphs]
    keys = [_keys(graph, tracer.names) for graph in graphs]
    # What a class computes from the states that it has moved, the next ones need not compute.
    after = [
        {key: node for node, key in reversed(_keys(graph, tracer.names, function.results).items())}
        for graph, function in zip(graphs, program.sweep, strict=True)
    ]
    carried: dict[tuple[int, Key], str] = {}
    first: dict[str, fx.Node] = {}
    for here, graph in enumerate(graphs):
        known: dict[fx.Node, int] = {}
        for node, key in keys[here].items():
            if not _is_index(node):
                continue  # values may be written into later, through a view; indices never are
            there = _producer(here, key, _reads(node, tracer.names), after, moved)
            if there is not None:
                known[node] = there
        for node, there in known.items():
            key = keys[here][node]
            if (there, key) not in carried:
                name = tracer.names("carried", *program.key, len(carried) + 1)
                tracer.examples[name] = values[there][after[there][key]]
                carried[there, key] = name
                results[there][name] = after[there][key]
            name = carried[there, key]
            if there >= here:
                first[name] = plain[here][key]
            node.replace_all_uses_with(argument_of(graph, name))
    if not carried:
        return program
    warm = (*program.warm, *([_warm(first, tracer, program)] if first else []))
    sweep = []
    for function, graph, extra in zip(program.sweep, graphs, results, strict=True):
        output = next(n for n in graph.nodes if n.op == "output")
        output.args = ((*output.args[0], *extra.values()),)
        sweep.append(replace(function, graph=clean(graph), results=(*function.results, *extra)))
    return replace(program, sweep=tuple(sweep), warm=warm)


def _spell_out(graph: fx.Graph) -> None:
    """Give the indices of every pooling a node of their own, so that they can be handed on alone."""
    for node in list(graph.nodes):
        if node.target is not torch.nn.functional.max_pool2d_with_indices:
            continue
        if not any(user.target is operator.getitem and user.args[1] == 1 for user in node.users):
            with graph.inserting_after(node):
                graph.call_function(operator.getitem, (node, 1))


def _is_index(node: fx.Node) -> bool:
    if node.target is not operator.getitem or node.args[1] != 1:
        return False
    pooled = node.args[0]
    return isinstance(pooled, fx.Node) and pooled.target is torch.nn.functional.max_pool2d_with_indices


def _keys(graph: fx.Graph, names: Names, results: Sequence[str] = ()) -> dict[fx.Node, Key]:
    """What each node computes, from which arguments; only nodes that nothing writes into, and that read a state.

    With the names of the ``results``, what it computes from the states as the function leaves them.
    """
    known: dict[fx.Node, str] = {}
    if results:
        output = next(node for node in graph.nodes if node.op == "output")
        known |= {n: f"{n.target} before" for n in graph.nodes if n.op == "placeholder" and n.target in results}
        known |= dict(zip(output.args[0], results, strict=True))
    keys: dict[fx.Node, Key] = {}
    for node in graph.nodes:
        if node.op == "output" or (node not in known and (writes(node) or written_to(node))):
            continue
        if node.op == "placeholder" or node in known or all(n in keys for n in node.all_input_nodes):
            keys[node] = structure(node, known=known)
    return {node: key for node, key in keys.items() if node.op != "placeholder" and _reads(node, names)}


def _reads(node: fx.Node, names: Names) -> frozenset[str]:
    """States that a node depends on."""
    found = set()
    seen = {node}
    todo = [node]
    while todo:
        for n in todo.pop().all_input_nodes:
            if n.op == "placeholder" and names.role(str(n.target)) not in PARAMETERS:
                found.add(str(n.target))
            if n not in seen:
                seen.add(n)
                todo.append(n)
    return frozenset(found)


def _producer(
    here: int, key: Key, reads: frozenset[str], after: list[dict[Key, fx.Node]], moved: list[frozenset[str]]
) -> int | None:
    """Earliest class before ``here``, round the sweep, that computes ``key`` from the same states, if one does."""
    count = len(after)
    found = None
    for back in range(1, count + 1):
        there = (here - back) % count
        if key in after[there]:
            found = there
        if moved[there] & reads:
            break  # what was computed before is from states that it then replaces
    return found


def _warm(first: dict[str, fx.Node], tracer: Tracer, program: Program) -> Function:
    """What the first sweep is handed: the same, computed from the states that it starts from."""
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}

    def copy(node: fx.Node) -> fx.Node:
        key = structure(node)
        if key not in made:
            made[key] = graph.node_copy(node, copy)
        return made[key]

    for argument in _arguments(first.values()):
        copy(argument)
    values = tuple(copy(node) for node in first.values())
    graph.output(values)
    return Function(tracer.names("function", *program.key, "warm"), graph, tuple(first))


def _arguments(nodes: Iterable[fx.Node]) -> list[fx.Node]:
    found: dict[str, fx.Node] = {}
    todo = list(nodes)
    seen = set(todo)
    while todo:
        node = todo.pop()
        if node.op == "placeholder":
            found.setdefault(str(node.target), node)
        for n in node.all_input_nodes:
            if n not in seen:
                seen.add(n)
                todo.append(n)
    return list(found.values())
