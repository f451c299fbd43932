"""What the checks share: every problem in one error, and whether torch.fx can record a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.errors import Diagnostic, EpgraphError
from epgraph.kinds import shape_text
from epgraph.plugins import raising_method

if TYPE_CHECKING:
    from torch import Tensor


TOLERANCE = 1e-10
"""Largest error of a float64 result, relative to its norm."""


def raise_all(name: str, problems: Iterable[str], owner: type) -> None:
    """Raise all problems that there are; what the user's own code, the class ``owner``, raises is one of them."""
    found: list[str] = []
    try:
        found.extend(problems)
    except Exception as error:  # it is the user's own code that fails
        found.append(said(error, owner))
    if found:
        raise EpgraphError(Diagnostic(f"{name}: {problem}", rule="verify") for problem in found)


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


def differs(what: str, found: Tensor, expected: Tensor, why: str) -> Iterator[str]:
    """Say by how much a result is off, as a factor where it is one."""
    if found.shape != expected.shape:
        yield f"{what} has the shape {shape_text(tuple(found.shape))}, not {shape_text(tuple(expected.shape))}; {why}"
        return
    scale = float(expected.norm())
    apart = float((found - expected).norm())
    # A sum of many terms that nearly cancel keeps the rounding of the terms.
    if apart <= TOLERANCE * max(scale, 1.0):
        return
    factor = float((found * expected).sum()) / scale**2 if scale else 0.0
    if scale and float((found - factor * expected).norm()) <= 1e-6 * scale:
        yield f"{what} is {factor:.4g} times what it should be; {why}"
    else:
        yield f"{what} is off by {apart / scale if scale else apart:.2g} of its norm; {why}"
