"""What the checks share: every problem in one error, and whether torch.fx can record a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from epgraph.errors import Diagnostic, EpgraphError
from epgraph.kinds import Shape, shape_text
from epgraph.registry import raising_method


def raise_all(name: str, problems: Iterable[str], owner: type) -> None:
    """Raise all problems that there are; what the user's own code, the class ``owner``, raises is one of them."""
    found: list[str] = []
    try:
        found.extend(problems)
    except Exception as error:  # it is the user's own code that fails
        found.append(said(error, owner))
    if found:
        raise EpgraphError(Diagnostic(f"{name}: {problem}", rule="verify") for problem in found)


def differs_in_shape(name: str, found: Any, expected: Shape) -> Iterator[str]:
    """A method gives another shape than it should."""
    shape = tuple(found.shape)
    if shape != expected:
        yield f"{name} gives the shape {shape_text(shape) or '()'}, and should give {shape_text(expected)}"


def said(error: Exception, owner: type) -> str:
    """Type and first line of an exception, and the line of ``owner`` that it comes from."""
    text = str(error).strip()
    place = raising_method(error, owner)
    where = f", in line {place.line} of {Path(place.file).name} ({place.method})" if place else ""
    return (f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__) + where


def recorded(function: Callable[..., Any], name: str, owner: type, arguments: int = 1) -> Iterator[str]:
    """torch.fx hands the method stand-ins for tensors."""
    try:
        record(function, arguments)
    except Exception as error:
        yield f"{name} cannot be recorded by torch.fx: {said(error, owner)}"


def record(function: Callable[..., Any], arguments: int) -> Callable[..., Any]:
    """Return what torch.fx has recorded of a function of so many tensors."""
    import torch
    from torch import fx

    graph = fx.Graph()
    tracer = fx.proxy.GraphAppendingTracer(graph)
    made = function(*(fx.Proxy(graph.placeholder(f"x{i}"), tracer) for i in range(arguments)))
    graph.output(fx.node.map_aggregate(made, lambda value: value.node if isinstance(value, fx.Proxy) else value))
    for node in graph.nodes:
        fx.node.map_aggregate((node.args, node.kwargs), _no_tensor)
    # Run node by node: code that is generated from the graph would print what fails in it.
    interpreter = fx.Interpreter(torch.nn.Module(), graph=graph)
    return lambda *tensors: interpreter.run(*tensors)


def _no_tensor(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        raise ValueError("a tensor made by the method itself cannot be written down; use numbers, or its arguments")
    return value
