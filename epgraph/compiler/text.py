"""Python text of recorded functions, which the engine runs and an emitted module contains."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from types import CodeType
from typing import Any

import torch
from torch import fx

from epgraph.compiler.helpers import HELPERS, namespace
from epgraph.compiler.names import Scope
from epgraph.compiler.program import Function, Passed, Program
from epgraph.compiler.verify import verify_apart, verify_text
from epgraph.errors import EpgraphError

LOCAL = {
    "total": "sum",
    "total_pair": "sum",
    "fill_": "sum",
    "add_phase_": "sum",
    "put_phase_": "sum",
    "put_phase_pair_": "sum",
    "add_winograd_": "sum",
    "winograd": "conv",
    "winograd_kernels": "kernels",
    "fill_pair_": "sum",
    "in_pieces": "moved",
    "by_rows": "signal",
    "noisy_": "noisy",
    "noisy_pair_": "noisy",
    "quantize_": "rounded",
    "quantize_pair_": "rounded",
    "interleave": "phases",
    "taps": "kernel",
    "inner": "phi",
    "correlate": "gradient",
    "softmax_pair": "chosen",
    "spectral_bound": "bound",
    "_convolution_pointwise": "conv",
    "_convolution_pointwise_": "sum",
    "_convolution_transpose_pointwise": "back",
    "_reorder_convolution_weight": "packed",
    "_reorder_convolution_transpose_weight": "packed",
    "conv2d": "conv",
    "conv_transpose2d": "back",
    "max_pool2d_with_indices": "pooled",
    "max_unpool2d": "unpooled",
    "add_product_": "sum",
    "matrix_product": "product",
    "clamp_": "new",
    "clamp": "new",
    "launch": "new",
    "getattr": "part",
    "getitem": "part",
}
"""Names for the results of operations; other results are named after their operation."""

OPERATORS: dict[Any, str] = {
    operator.add: "{} + {}",
    operator.sub: "{} - {}",
    operator.mul: "{} * {}",
    operator.truediv: "{} / {}",
    operator.floordiv: "{} // {}",
    operator.mod: "{} % {}",
    operator.pow: "{} ** {}",
    operator.matmul: "{} @ {}",
    operator.lshift: "{} << {}",
    operator.rshift: "{} >> {}",
    operator.and_: "{} & {}",
    operator.or_: "{} | {}",
    operator.xor: "{} ^ {}",
    operator.eq: "{} == {}",
    operator.ne: "{} != {}",
    operator.lt: "{} < {}",
    operator.le: "{} <= {}",
    operator.gt: "{} > {}",
    operator.ge: "{} >= {}",
    operator.neg: "-{}",
    operator.pos: "+{}",
    operator.invert: "~{}",
    operator.getitem: "{}[{}]",
}

MOST_TEXTS = 1000
"""Texts that are kept compiled; beyond it the oldest one is dropped."""

_CODE: dict[Hashable, CodeType] = {}

Written = Mapping[fx.Node, str]
"""Names of the values written so far."""


def source(function: Function) -> str:
    """Python text of a function, to run with the names of ``namespace()`` and of its ``Passed`` objects.

    An argument keeps its name. Every other value gets a name that is unique in the function.
    """
    scope = Scope({*function.arguments, *(passed.identifier for passed in _passed((function,)))})
    written: dict[fx.Node, str] = {}
    lines = [f"def {function.name}({', '.join(function.arguments)}):"]
    lines += [f"    # {printable(note)}" for note in function.notes]
    unneeded = _last_uses(function.graph)
    for node in function.graph.nodes:
        if node.op == "placeholder":
            written[node] = str(node.target)
        elif node.op == "output":
            lines.append(f"    return {_value(node.args[0], written)}")
        else:
            expression = _expression(node, written)
            written[node] = scope.take(_wanted(node))
            # Free each value after its last use.
            freed = "".join(f"{written[value]} = " for value in unneeded[node])
            lines.append(f"    {written[node]} = {expression}" + (f";  {freed}None" if freed else ""))
    return "\n".join(lines) + "\n"


def load(functions: Iterable[Function]) -> dict[str, Callable[..., Any]]:
    """Compile functions from the same text that an emitted module contains."""
    functions = tuple(functions)
    passed = _passed(functions)
    names = namespace() | {one.identifier: one for one in passed}
    known = frozenset(names)
    verify_apart([*namespace(), *(one.identifier for one in passed), *(function.name for function in functions)])
    for function in functions:
        exec(_code(source(function), function, known), names)
    return {function.name: names[function.name] for function in functions}


def _code(text: str, function: Function, known: frozenset[str]) -> CodeType:
    """Verified and compiled text; another engine of the same network, or of a like one, has most of it in common."""
    key = text, function.name, function.arguments, known
    if key not in _CODE:
        made = compile(verify_text(text, function, known), f"<epgraph {function.name}>", "exec")
        if len(_CODE) >= MOST_TEXTS:
            _CODE.pop(next(iter(_CODE)), None)
        _CODE[key] = made
    return _CODE[key]


def listing(program: Program) -> str:
    """Python text of all functions of a program in the order of their calls, to read and not to run."""
    return "\n\n".join(source(function) for function in program.functions)


def printable(text: str) -> str:
    """Text on one line, as a comment or a title."""
    return "".join(c if c.isprintable() else " " for c in text)


def _passed(functions: Iterable[Function]) -> list[Passed]:
    found = (a for f in functions for node in f.graph.nodes for a in node.args if isinstance(a, Passed))
    return list(dict.fromkeys(found))


def _last_uses(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """For every node, the values whose last use it is, and itself if it is unused."""
    seen: set[fx.Node] = set()
    found: dict[fx.Node, list[fx.Node]] = {}
    for node in reversed(graph.nodes):
        ending = [value for value in node.all_input_nodes if value not in seen]
        seen.update(ending)
        found[node] = ending if node in seen else [*ending, node]
    return found


def _wanted(node: fx.Node) -> str:
    """Preferred name of a value: its operation, and the edge or state that it belongs to."""
    operation = _operation(node)
    return "_".join(filter(None, (LOCAL.get(operation, operation.strip("_")), node.meta.get("about"))))


def _operation(node: fx.Node) -> str:
    # The name of an operation of torch.ops ends with a dot and its overload.
    return str(getattr(node.target, "__name__", node.target)).split(".")[0]


def _expression(node: fx.Node, written: Written) -> str:
    if node.op == "call_method":
        own, *arguments = node.args
        return f"{_value(own, written)}.{node.target}({_arguments(arguments, node.kwargs, written)})"
    if node.op != "call_function":
        raise EpgraphError(f"emitted code cannot contain a node '{node.op}' of torch.fx")
    if node.target in OPERATORS:
        return OPERATORS[node.target].format(*(_operand(a, written) for a in node.args))
    if node.target is getattr and len(node.args) == 2:
        return f"{_value(node.args[0], written)}.{node.args[1]}"
    return f"{_path(node.target)}({_arguments(node.args, node.kwargs, written)})"


def _arguments(given: Iterable[Any], options: Mapping[str, Any], written: Written) -> str:
    parts = [_value(value, written) for value in given]
    return ", ".join([*parts, *(f"{name}={_value(value, written)}" for name, value in options.items())])


def _operand(value: Any, written: Written) -> str:
    text = _value(value, written)
    return f"({text})" if text.startswith("-") else text  # (-2) ** x is not -2 ** x


def _value(value: Any, written: Written) -> str:
    """Python text of an argument."""
    if isinstance(value, fx.Node):
        return written[value]
    if isinstance(value, Passed):
        return value.identifier
    if value is None or value is Ellipsis or isinstance(value, bool | str | torch.device):
        return repr(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, complex):
        return f"complex({_value(value.real, written)}, {_value(value.imag, written)})"
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        return str(value)
    if isinstance(value, slice):
        return f"slice({', '.join(_value(part, written) for part in (value.start, value.stop, value.step))})"
    if isinstance(value, list):
        return f"[{', '.join(_value(part, written) for part in value)}]"
    if isinstance(value, tuple):
        return f"({', '.join(_value(part, written) for part in value)}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {_value(part, written)}' for key, part in value.items())}}}"
    raise EpgraphError(
        f"a value of type {type(value).__name__} cannot be written into emitted code",
        "let edge kinds, activations and costs pass numbers, texts and tensors that they are given",
    )


@cache
def _path(function: Callable[..., Any]) -> str:
    """Name in emitted code of a function of torch, of ``HELPERS``, or of Python's builtins."""
    name = str(getattr(function, "__name__", function))
    if HELPERS.get(name) is function or getattr(builtins, name, None) is function:
        return name
    if isinstance(function, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        return f"torch.ops.{function}"
    for module in (getattr(function, "__module__", None), "torch", "torch.nn.functional", "torch.Tensor"):
        if module and module.partition(".")[0] == "torch" and _find(f"{module}.{name}") is function:
            return f"{module}.{name}"
    raise EpgraphError(
        f"the function '{name}' of {getattr(function, '__module__', None)} cannot be called by emitted code",
        "use functions and methods of torch alone",
    )


def _find(path: str) -> Any:
    found: Any = torch
    for part in path.split(".")[1:]:
        found = getattr(found, part, None)
    return found
