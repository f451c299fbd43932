"""Rewrite: what depends on parameters alone leaves the sweep and is computed once per batch."""

from __future__ import annotations

from collections.abc import Mapping
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
    """What is computed once per batch: functions for what is needed once, and one for each kind of the rest.

    Values that are computed from a common one share a function. The others do not, so that a phase computes only what
    no phase before it has needed.
    """

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
        found = []
        single = self.single.results
        for number, values in enumerate(_together(single)):
            copies = _Copies()
            copies.results.update({own: copies.copy(single[own]) for own in values})
            key = (*self.key, *(("part", number) if number else ()))
            found.append(copies.function(names("function", *key), (Call(),)))
        for number, (copies, calls) in enumerate(self.kinds.values(), start=1):
            found.append(copies.function(names("function", *self.key, "kind", number), tuple(calls)))
        return tuple(found)


def _together(values: Mapping[str, fx.Node]) -> list[list[str]]:
    """Names of values in groups; members of different groups are computed from nothing in common but arguments."""
    groups: list[tuple[set[str], list[str]]] = []
    for name, node in values.items():
        steps, members = _steps(node), [name]
        for group in [group for group in groups if group[0] & steps]:
            groups.remove(group)
            steps, members = group[0] | steps, [*group[1], *members]
        groups.append((steps, members))
    return [members for _, members in groups]


def _steps(node: fx.Node) -> set[str]:
    """Structure of everything that is computed on the way to a value, and of the value."""
    found: dict[fx.Node, str] = {}

    def visit(value: fx.Node) -> None:
        if value not in found and value.op != "placeholder":
            found[value] = structure(value)
            for source in value.all_input_nodes:
                visit(source)

    visit(node)
    return set(found.values())


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
