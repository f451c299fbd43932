"""Rewrite: states are updated in the memory that they are in, so that a sweep asks for none."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import fx

from epgraph.compiler import runtime
from epgraph.compiler.effects import memory_of, writes
from epgraph.compiler.helpers import HELPERS
from epgraph.compiler.passes.common import SUMS, argument_of, clean, copied
from epgraph.compiler.program import Function, Program
from epgraph.compiler.trace import Tracer


def plan_buffers(program: Program, tracer: Tracer) -> Program:
    """Write each new state over the old one after the old one's last use, and share the memory that sums need.

    An update that does not read its own old state sums where that is. Others need working memory: in a proper color
    class a sum is used up before the next one starts, so that states of one shape share it; where the class has
    conflicts every state has its own.
    """
    states = {tracer.names("state", name): tracer.graph.states[name] for name in tracer.graph.free}
    waiting = {tracer.names("next", name) for name in tracer.graph.free}
    scratch: dict[str, str] = {}

    def one(function: Function) -> Function:
        graph = copied(function.graph)
        output = next(n for n in graph.nodes if n.op == "output")
        arguments = {str(n.target): n for n in graph.nodes if n.op == "placeholder"}
        order = {node: i for i, node in enumerate(graph.nodes)}
        written = []
        kept: set[fx.Node] = set()
        for name, value in zip(function.results, output.args[0], strict=True):
            old = arguments.get(name)
            if name not in states or old is None:
                if tracer.names.role(name) == "carried":
                    memory = _memory(value)
                    kept.add(memory)
                    _go_on(graph, memory, old, order)
                written.append(value)
                continue
            assert isinstance(value, fx.Node)
            memory = _memory(value)
            if memory.target is torch.empty_like and list(old.users) == [memory]:
                memory.replace_all_uses_with(old)
                graph.erase_node(memory)
                written.append(value)
                continue
            in_time = max((order[user] for user in old.users), default=-1) <= order[value]
            if not in_time and tracer.graph.energy.feedforward:
                # The change of the state is read after it: its memory is given up for that of the sum.
                kept.add(memory)
                written.append(value)
                continue
            written.append(_store(graph, value, old, output, in_time=in_time))
        output.args = (tuple(written),)
        # The memory of a state that waits for others is not free for the next sum.
        waits = any(name in waiting for name in function.results)
        for node in list(graph.nodes):
            if node.target is torch.empty_like and node not in kept and not waits:
                _share(graph, node, scratch)
        return replace(function, graph=clean(graph))

    def _share(graph: fx.Graph, node: fx.Node, scratch: dict[str, str]) -> None:
        state = str(node.args[0].target)  # type: ignore[union-attr]
        shape = "x".join(str(n) for n in states[state].shape)
        name = tracer.names("scratch", shape if tracer.plan.schedule.proper else states[state].name)
        scratch.setdefault(name, states[state].name)
        node.replace_all_uses_with(argument_of(graph, name))
        graph.erase_node(node)

    sweep = tuple(one(function) for function in program.sweep)
    return replace(program, sweep=sweep, scratch=scratch)


def _memory(value: fx.Node) -> fx.Node:
    """The node in whose memory a value was computed, by operations that work in place."""
    while writes(value) and value.target not in SUMS and "out" not in value.kwargs:
        value = memory_of(value)
    return value


def _go_on(graph: fx.Graph, memory: fx.Node, old: fx.Node | None, order: dict[fx.Node, int]) -> None:
    """Add to a carried sum where it is, if its old value is not read afterwards."""
    start = next((user for user in memory.users if user.target is runtime.fill_), None)
    if old is None or start is None or memory.target is not torch.empty_like or start.args[1] is not old:
        return
    if all(order[user] <= order[start] for user in old.users):
        start.replace_all_uses_with(old)
        graph.erase_node(start)
        graph.erase_node(memory)


def _store(graph: fx.Graph, value: fx.Node, old: fx.Node, output: fx.Node, *, in_time: bool) -> fx.Node:
    """Put a value where the old state is. ``in_time``: nothing reads the old state once the value is there."""
    # A kernel that sums what the state does to itself reads all of it for every pixel that it writes.
    reads = value.target is HELPERS["launch"] and old in value.args[7]  # type: ignore[operator]
    if not in_time or reads or len(value.users) > 1:
        with graph.inserting_before(output):
            return graph.call_method("copy_", (old, value))
    clamped = value.op == "call_method" and value.target == "clamp_" and len(value.args) == 3
    paired = value.target is HELPERS["in_pieces"]
    if value.target is runtime.by_rows:
        value.update_arg(2, old)
        return value
    summed = value.args[1] if paired else value.args[0] if clamped else value
    assert isinstance(summed, fx.Node)
    moved = summed.target is torch.lerp and summed.args[0] is old
    if moved:
        # Over-relaxation starts from the old state: it stays where it is, and so does what follows.
        with graph.inserting_before(summed):
            stepped = graph.call_method("lerp_", summed.args)
        summed.replace_all_uses_with(stepped)
        graph.erase_node(summed)
        return stepped if value is summed else value
    with graph.inserting_before(value):
        if clamped:
            stored = graph.call_function(torch.clamp, value.args, {"out": old})
        elif value.target is HELPERS["launch"]:
            stored = graph.call_function(value.target, (value.args[0], old, *value.args[2:]))
        elif paired:
            stored = graph.call_function(value.target, (*value.args[:3], old))  # type: ignore[arg-type]
        else:
            with graph.inserting_after(value):
                return graph.call_method("copy_", (old, value))
    value.replace_all_uses_with(stored)
    graph.erase_node(value)
    return stored
