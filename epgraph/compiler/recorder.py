"""Record torch code as a torch.fx graph, by running it on proxies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

from torch import Tensor, fx
from torch.fx.proxy import GraphAppendingTracer

from epgraph.compiler.program import Call, Function


class Recorder:
    """Records one graph; an argument is created at its first use."""

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self._tracer = GraphAppendingTracer(self.graph)
        self._arguments: dict[str, fx.Node] = {}
        self._last: fx.Node | None = None
        self._calls: dict[Any, Tensor] = {}

    def argument(self, name: str) -> Tensor:
        """Proxy of a value, typed as the tensor that it stands for."""
        if name not in self._arguments:
            # Arguments come first, in the order of their first use.
            place = self._last.next if self._last else next(iter(self.graph.nodes), None)
            with self.graph.inserting_before(place) if place else nullcontext():
                self._last = self.graph.placeholder(name)
            self._arguments[name] = self._last
        return self.proxy(self._arguments[name])

    def result(self, results: dict[str, Any], name: str) -> Tensor:
        """A result of this function, or else of an earlier one, which becomes an argument."""
        found: Tensor = results[name] if name in results else self.argument(name)
        return found

    def proxy(self, node: fx.Node) -> Tensor:
        """Proxy of a node's value."""
        return cast(Tensor, fx.Proxy(node, self._tracer))

    @contextmanager
    def about(self, subject: str) -> Iterator[None]:
        """Label the nodes recorded in this context with the name of an edge or a state."""
        last = self.graph._root.prev
        yield
        # All nodes after the last one of before. Arguments are inserted in front of it.
        node = last.next
        while node is not self.graph._root:
            node.meta.setdefault("about", subject)
            node = node.next

    @staticmethod
    def node(value: Tensor) -> fx.Node:
        """Node of a proxy."""
        return cast(fx.Proxy, value).node

    def call(self, function: Callable[..., Any], *arguments: Any) -> Tensor:
        """Record a call of a helper."""
        plain = tuple(a.node if isinstance(a, fx.Proxy) else a for a in arguments)
        return self.proxy(self.graph.call_function(function, plain))

    def once(self, function: Callable[..., Any], *arguments: Any) -> Tensor:
        """As ``call``; equal calls are one, so nothing may write into what is returned."""
        key = function, tuple(a.node if isinstance(a, fx.Proxy) else a for a in arguments)
        if key not in self._calls:
            self._calls[key] = self.call(function, *arguments)
        return self._calls[key]

    def finish(
        self, name: str, results: dict[str, Any], notes: Iterable[str] = (), calls: Iterable[Call] = (Call(),)
    ) -> Function:
        """Return the function, with named results."""
        values = tuple(r.node if isinstance(r, fx.Proxy) else r for r in results.values())
        self.graph.output(values)
        return Function(name, self.graph, tuple(results), tuple(notes), tuple(calls))
