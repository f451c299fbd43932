"""Programs: a sweep as torch.fx graphs, one function a colour class, and what is computed once per batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from epgraph.edges.convolution import correlate
from epgraph.edges.memory import softmax_pair
from epgraph.edges.own import spectral_bound
from epgraph.emit import runtime
from epgraph.emit.triton_kernel import launch
from epgraph.emit.winograd import add_winograd_, winograd, winograd_kernels

HELPERS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        runtime.total,
        runtime.total_pair,
        runtime.fill_,
        runtime.fill_pair_,
        runtime.in_pieces,
        runtime.noisy_,
        runtime.noisy_pair_,
        runtime.quantise_,
        runtime.quantise_pair_,
        runtime.inner,
        runtime.taps,
        runtime.interleave,
        runtime.put_phase_,
        runtime.put_phase_pair_,
        runtime.add_phase_,
        add_winograd_,
        winograd,
        winograd_kernels,
        correlate,
        softmax_pair,
        spectral_bound,
        launch,
    )
}
"""What emitted code calls beside torch, by name."""


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
    "noisy_": "noisy",
    "noisy_pair_": "noisy",
    "quantise_": "rounded",
    "quantise_pair_": "rounded",
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
    "addmm_": "sum",
    "clamp_": "new",
    "clamp": "new",
    "launch": "new",
}
"""What the results of operations are called; a local name must not hide a helper, and should say what it is."""

ORDER = "sncyfboawpkt"
"""First letters of arguments in the order in which they are written: states, constants, target, forces, β, ω, …"""


@dataclass(frozen=True)
class Call:
    """A call of a function: when, and with which values in place of those that the function is written with.

    Attributes
    ----------
    place
        Calls are made in the order of their places.
    names
        Name in the function → name of the value; a name that is not in it stands for itself.
    """

    place: int = 0
    names: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, names: Iterable[str]) -> tuple[str, ...]:
        """Names of the values in place of those of the function."""
        return tuple(self.names.get(name, name) for name in names)


@dataclass(frozen=True)
class Function:
    """A function to be emitted: placeholders of ``graph`` are values by name, in order, as are its results.

    ``notes`` are the equations that it computes, one a line. In a large network it is called for everything that is
    alike, and written with the names of the first.
    """

    name: str
    graph: fx.Graph
    results: tuple[str, ...]
    notes: tuple[str, ...] = ()
    calls: tuple[Call, ...] = (Call(),)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the values that it takes."""
        return tuple(str(node.target) for node in self.graph.nodes if node.op == "placeholder")


@dataclass(frozen=True)
class Program:
    """One phase's sweep.

    Attributes
    ----------
    sweep
        One function a colour class; in a large network one for all updates that are alike.
    prepare
        What depends on parameters alone, computed once per batch: packed, flipped or merged weights.
    warm
        What a sweep hands to the next one (arg-maxes that are reused), computed from the states that the first sweep
        starts from; None where nothing is.
    scratch
        Working memory that updates share: name → name of the state whose shape it has.
    channels_last
        Memory layout of the states.
    """

    phase: str
    sweep: tuple[Function, ...]
    prepare: tuple[Function, ...] = ()
    warm: Function | None = None
    scratch: Mapping[str, str] = field(default_factory=dict)
    channels_last: bool = False

    @property
    def functions(self) -> tuple[Function, ...]:
        """All functions, in the order in which they are called."""
        return (*self.prepare, *((self.warm,) if self.warm else ()), *self.sweep)


class _Code(fx.graph.CodeGen):
    """Writes a graph as a plain function with the name and the notes of ours."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, **_: Any) -> str:
        arguments = ", ".join(free_vars)
        notes = "".join(f"\n    # {note}" for note in self.function.notes)
        return f"def {self.function.name}({arguments}):{notes}"


Named = tuple[Function, tuple[str, ...], tuple[str, ...]]
"""A function with the values that it is called with, and those that it returns."""


def calls(functions: Sequence[Function]) -> list[Named]:
    """All calls of functions, in the order in which they are made."""
    found: list[tuple[int, Named]] = []
    for function in functions:
        arguments = function.arguments
        found += [(call.place, (function, call(arguments), call(function.results))) for call in function.calls]
    return [named for _, named in sorted(found, key=lambda pair: pair[0])]


def tidy(function: Function) -> Function:
    """Put the arguments in order."""
    nodes = [node for node in function.graph.nodes if node.op == "placeholder"]
    for node in sorted(nodes, key=lambda n: ORDER.index(str(n.target)[0]), reverse=True):
        next(iter(function.graph.nodes)).prepend(node)
    return function


def source(function: Function) -> str:
    """Python text of a function; it needs torch and the helpers of ``runtime`` in its namespace."""
    graph = function.graph
    for node in graph.nodes:
        operation = getattr(node.target, "__name__", str(node.target)).split(".")[0]
        if node.op.startswith("call") and operation in LOCAL and not node.meta.get("named"):
            node.meta["named"] = True
            node._rename(re.sub(r"\W", "_", "_".join([LOCAL[operation], str(node.meta.get("about", ""))]).strip("_")))
    graph.set_codegen(_Code(function))
    code = graph.python_code("self")
    text = code.src
    # fx writes a helper under the path of its module, and imports device and infinities under their own names.
    for name in HELPERS:
        path = HELPERS[name].__module__.replace(".", "_")
        text = text.replace(f"{path}_{name}(", f"{name}(")
    return text.strip() + "\n"


def namespace() -> dict[str, Any]:
    """Names that emitted functions use."""
    return {"torch": torch, "inf": float("inf"), "nan": float("nan"), "device": torch.device, **HELPERS}


def load(functions: tuple[Function, ...], extra: dict[str, Any] | None = None) -> dict[str, Callable[..., Any]]:
    """Make functions callable: the very text that an emitted module contains."""
    names = namespace() | (extra or {})
    for function in functions:
        text = source(function)
        exec(compile(text, f"<epgraph {function.name}>", "exec"), names)
    return {function.name: names[function.name] for function in functions}
