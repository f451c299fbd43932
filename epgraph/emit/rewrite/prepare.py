"""Rewrite: what depends on parameters alone leaves the sweep and is computed once per batch."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from torch import fx

from epgraph.emit.program import Function, Program
from epgraph.emit.rewrite.common import clean, copied, parametric
from epgraph.emit.trace import Tracer, structure


def hoist_prepared(program: Program, tracer: Tracer) -> Program:
    """Move packed, flipped, merged and converted weights to ``Program.prepare``."""
    graph = fx.Graph()
    copies: dict[str, fx.Node] = {}
    made: dict[str, fx.Node] = {}

    def copy(node: fx.Node) -> fx.Node:
        key = structure(node)
        if key not in copies:
            place = next(iter(graph.nodes), None) if node.op == "placeholder" else None
            with graph.inserting_before(place) if place else nullcontext():
                copies[key] = graph.node_copy(node, copy)
        return copies[key]

    def one(function: Function) -> Function:
        inner = copied(function.graph)
        fixed = parametric(inner)
        arguments = {str(n.target): n for n in inner.nodes if n.op == "placeholder"}
        for node in list(inner.nodes):
            if node not in fixed or node.op == "placeholder" or all(user in fixed for user in node.users):
                continue
            name = tracer.prepared(node)
            if name not in made:
                made[name] = copy(node)
            if name not in arguments:
                with inner.inserting_before(next(iter(inner.nodes))):
                    arguments[name] = inner.placeholder(name)
            node.replace_all_uses_with(arguments[name])
        return replace(function, graph=clean(inner))

    sweep = tuple(one(function) for function in program.sweep)
    warm = None if program.warm is None else one(program.warm)
    graph.output(tuple(made.values()))
    prepare = Function(program.prepare.name, graph, tuple(made))
    return replace(program, sweep=sweep, warm=warm, prepare=prepare)
