"""Rewrite: what depends on parameters alone leaves the sweep and is computed once per batch."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from torch import fx

from epgraph.compiler.passes.common import clean, copied, everywhere, parametric
from epgraph.compiler.program import Call, Function, Program
from epgraph.compiler.trace import Tracer, form, structure


def hoist_prepared(program: Program, tracer: Tracer) -> Program:
    """Move packed, flipped, merged and converted weights to ``Program.prepare``."""
    prepare = _Prepare(program, tracer)

    def one(function: Function) -> Function:
        inner = copied(function.graph)
        fixed = parametric(inner, tracer.names)
        arguments = {str(n.target): n for n in inner.nodes if n.op == "placeholder"}
        names = [dict(call.names) for call in function.calls]
        for node in list(inner.nodes):
            if node not in fixed or node.op == "placeholder" or all(user in fixed for user in node.users):
                continue
            name = prepare.put(node, function.calls, names)
            if name not in arguments:
                with inner.inserting_before(next(iter(inner.nodes))):
                    arguments[name] = inner.placeholder(name)
            # What is computed from it in turn still asks for the value itself, and may be put there as well.
            node.replace_all_uses_with(arguments[name], delete_user_cb=lambda user: user not in fixed)
        calls = tuple(replace(call, names=known) for call, known in zip(function.calls, names, strict=True))
        return replace(function, graph=clean(inner), calls=calls)

    return replace(everywhere(program, one), prepare=prepare.functions())


class _Prepare:
    """What is computed once per batch: a function for all that is needed once, and one for each kind of the rest."""

    def __init__(self, program: Program, tracer: Tracer) -> None:
        self.key = (*program.key, "prepare")
        self.tracer = tracer
        self.made: set[str] = set()
        self.single = _Copies()
        self.kinds: dict[str, tuple[_Copies, list[Call]]] = {}

    def put(self, node: fx.Node, calls: tuple[Call, ...], names: list[dict[str, str]]) -> str:
        """Have a node's value computed, for every call of its function; add its ``names`` there, and return its own."""
        text, arguments = form(node)
        own = self.tracer.prepared(text, arguments)
        wanted = []
        for call, known in zip(calls, names, strict=True):
            given = call(arguments)
            known[own] = self.tracer.prepared(text, given)
            if known[own] not in self.made:
                self.made.add(known[own])
                wanted.append((given, known[own]))
        if len(calls) == 1 and wanted:
            self.single.results[own] = self.single.copy(node)
        elif wanted:
            if text not in self.kinds:
                copies = _Copies()
                copies.results[own] = copies.copy(node)
                self.kinds[text] = copies, []
            copies, made = self.kinds[text]
            first, (result,) = copies.arguments, copies.results
            made += [Call(0, {**dict(zip(first, given, strict=True)), result: name}) for given, name in wanted]
        return own

    def functions(self) -> tuple[Function, ...]:
        """Return them, those that compute nothing left out."""
        names = self.tracer.names
        found = [self.single.function(names("function", *self.key), (Call(),))] if self.single.results else []
        for number, (copies, calls) in enumerate(self.kinds.values(), start=1):
            found.append(copies.function(names("function", *self.key, "kind", number), tuple(calls)))
        return tuple(found)


class _Copies:
    """A graph of copied nodes, each value once."""

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.copies: dict[str, fx.Node] = {}
        self.results: dict[str, fx.Node] = {}

    @property
    def arguments(self) -> tuple[str, ...]:
        return next(form(node)[1] for node in self.results.values())

    def copy(self, node: fx.Node) -> fx.Node:
        key = structure(node)
        if key not in self.copies:
            place = next(iter(self.graph.nodes), None) if node.op == "placeholder" else None
            with self.graph.inserting_before(place) if place else nullcontext():
                self.copies[key] = self.graph.node_copy(node, self.copy)
        return self.copies[key]

    def function(self, name: str, calls: tuple[Call, ...]) -> Function:
        self.graph.output(tuple(self.results.values()))
        return Function(name, self.graph, tuple(self.results), calls=calls)
