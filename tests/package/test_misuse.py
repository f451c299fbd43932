"""Misuses of the Python API, one a row: an entry point, what is wrong with the call, the call, and what comes of it.

What comes of it is ``no(…)``, an ``EpgraphError`` with that text in its message; or the value that the documentation
promises, which is compared. Nothing that is refused may leave a trace: neither in parameters nor in gradients.
"""

from __future__ import annotations

import copy
import io
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.activations.relu import ReLU
from epgraph.data import DATA_SETS, load_data
from epgraph.errors import EpgraphError
from epgraph.training import Run, batches, evaluate, load_checkpoint, set_threads

NET = """
epgraph: 2
name: small
input: {shape: [1, 2, 2]}
output: {classes: 3}
defaults: {activation: tanh}
states: {h: {shape: [5]}, g: {shape: [4]}}
edges:
  - {from: x, to: h, dense: {}}
  - {from: h, to: g, dense: {}}
  - {from: g, to: y, dense: {}}
dynamics: {schedule: coloring, free_steps: 20, nudged_steps: 10}
learning: {beta: 0.25}
"""

ARCHITECTURE = ep.load(NET)
ENGINE = ep.compile(ARCHITECTURE, dtype=torch.float32)
X = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 2, 1, 1])
SOFT = torch.eye(3)[Y]
STATES = ENGINE.relax(X).states
INF, NAN = math.inf, math.nan

api: Any = ep
"""The same, whose arguments mypy does not look at."""


@dataclass(frozen=True)
class Refused:
    """An ``EpgraphError`` with this text in it."""

    text: str


def no(text: str) -> Refused:
    """Short, because it stands in most rows."""
    return Refused(text)


Row = tuple[str, Callable[[], Any], Any]


# What the rows call.


def relax(x: Any = X, **options: Any) -> ep.Relaxation:
    return ENGINE.relax(x, **options)


def relaxed(x: Any = X, engine: ep.Engine = ENGINE, **options: Any) -> Tensor:
    """The output where it came to rest."""
    return engine.relax(x, **options).states["y"]


def backward(x: Any = X, y: Any = Y, **options: Any) -> ep.Estimate:
    return ENGINE.backward(x, y, **options)


def gradient(x: Any = X, y: Any = Y, *, engine: ep.Engine | None = None, **options: Any) -> list[Tensor]:
    """What a copy of the engine finds."""
    engine = copy.deepcopy(engine or ENGINE)
    engine.backward(x, y, **options)
    return [p.grad for p in engine.parameters() if p.grad is not None]


def through(x: Any = X, wrap: Callable[[], Any] = torch.enable_grad, **options: Any) -> list[Tensor]:
    """What ``Equilibrium`` hands to autograd, for the sum of its outputs, after a pass inside of ``wrap``."""
    module = ep.Equilibrium(copy.deepcopy(ENGINE), **options)
    with wrap():
        module(X)
    module(x).sum().backward()
    return [p.grad for p in module.parameters() if p.grad is not None]


def changed(change: Callable[[ep.Engine], object]) -> ep.Engine:
    """A copy of the engine of which something was changed."""
    engine = copy.deepcopy(ENGINE)
    change(engine)
    return engine


def put(value: Tensor) -> Callable[[ep.Engine], None]:
    """Another tensor in the place of a weight."""

    def change(engine: ep.Engine) -> None:
        engine.edges["h_g"].weight = torch.nn.Parameter(value)

    return change


def parameters(engine: ep.Engine) -> list[Tensor]:
    return [p.detach() for p in engine.parameters()]


def trained(wrap: Callable[[], Any]) -> list[Tensor]:
    """Parameters after a step on a gradient that was found inside of ``wrap``, and another step after it."""
    engine = copy.deepcopy(ENGINE)
    optimizer = torch.optim.SGD(engine.parameters(), lr=0.1, momentum=0.9)
    with wrap():
        engine.backward(X, Y)
    optimizer.step()
    engine.backward(X, Y)
    optimizer.step()
    return parameters(engine)


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def in_inference_mode(make: Callable[[], Any]) -> Any:
    with torch.inference_mode():
        return make()


def network(**options: Any) -> ep.Network:
    return ep.Network(**{"input": (1, 2, 2), "classes": 3, **options})


def built(**options: Any) -> ep.Architecture:
    """A network of one hidden state, whose settings are ``state``, and an edge, whose are ``edge``."""
    state, edge = options.pop("state", {"shape": (5,)}), options.pop("edge", {"kind": ep.Dense()})
    net = network(**options)
    h = net.state("h", **state)
    net.dense(net.input, h)
    net.edge(h, net.output, **edge)
    return net.build()


def edge(*ends: Any, **settings: Any) -> None:
    net = network()
    net.state("a", shape=(5,))
    net.edge(*ends, **settings)


def another() -> ep.Network:
    net = network(name="another")
    net.dense(net.input, net.output)
    return net


def from_graph(graph: Any = None, **options: Any) -> ep.Architecture:
    graph = nx.path_graph(3) if graph is None else graph
    defaults = {"input": 0, "output": 2, "shape": (1, 2, 2), "classes": 3, "state": {"shape": (5,)}}
    return ep.from_networkx(graph, **{**defaults, **options})


def with_node(**settings: Any) -> nx.Graph[int]:
    graph: nx.Graph[int] = nx.path_graph(3)
    graph.nodes[1].update(settings)
    return graph


def with_edge(**settings: Any) -> nx.Graph[int]:
    graph: nx.Graph[int] = nx.path_graph(3)
    graph.edges[0, 1].update(settings)
    return graph


class Quartic(ep.Cost):
    """A cost of the user's own."""

    def value(self, s: Tensor, y: Tensor) -> Tensor:
        return 0.25 * (s - y).pow(4).flatten(1).sum(1)

    def gradient(self, s: Tensor, y: Tensor) -> Tensor:
        return (s - y).pow(3)


TANH = ARCHITECTURE.defaults.activation


def file_in(folder: str, name: str, content: str) -> Path:
    path = Path(folder) / name
    path.write_text(content)
    return path


def closed() -> io.StringIO:
    file = io.StringIO(NET)
    file.close()
    return file


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# The table.

LOAD: list[Row] = [
    ("a dict", lambda: api.load({"epgraph": 2}), no("expected the path of a YAML file or YAML text, found a dict")),
    ("a dict as text", lambda: api.load(json.dumps(ARCHITECTURE.to_dict())), ARCHITECTURE),
    ("bytes", lambda: api.load(NET.encode()), no("found bytes; turn it into text: .decode()")),
    ("None", lambda: api.load(None), no("found None; e.g. 'network.yaml'")),
    ("an open file", lambda: api.load(io.StringIO(NET)), no("found a StringIO; pass its path, or what its read()")),
    ("an architecture", lambda: api.load(ARCHITECTURE), no("found an Architecture")),
    ("empty text", lambda: api.load(""), no("the file is empty")),
    ("a folder", lambda: api.load("."), no("cannot be read: it is a directory")),
    ("no such file", lambda: api.load("nope.yaml"), no("nope.yaml: cannot be read: No such file")),
    ("a path with NUL", lambda: api.load("a\0b"), no("embedded null byte")),
    ("a pathlib.Path", lambda: api.load(file_in(".", "n.yaml", NET)), ARCHITECTURE),
    ("one override as text", lambda: api.load(NET, "learning.beta=0.2"), no("write overrides=['learning.beta=0.2']")),
    ("overrides as a dict", lambda: api.load(NET, {"learning.beta": 0.2}), no("overrides expects a list, found a")),
    ("an override that is a number", lambda: api.load(NET, [3]), no("an override expects text, found 3")),
    ("an override without a value", lambda: api.load(NET, ["learning.beta"]), no("expected KEY.PATH=VALUE")),
    ("overrides None", lambda: api.load(NET, None), no("overrides expects a list, found None")),
    ("overrides as a tuple", lambda: api.load(NET, ("learning.beta=0.5",)).learning.beta, 0.5),
]

BUILD: list[Row] = [
    ("a path", lambda: api.build("n.yaml"), no("build expects an Architecture, found text 'n.yaml'; load it")),
    ("an unbuilt network", lambda: api.build(another()), no("found a Network; call its build()")),
    ("None", lambda: api.build(None), no("build expects an Architecture, found None")),
]

COMPILE: list[Row] = [
    ("an unbuilt network", lambda: api.compile(another()), no("found a Network; call its build()")),
    ("a graph", lambda: api.compile(api.build(ARCHITECTURE)), no("found a NetworkGraph")),
    ("a plan in place of an architecture", lambda: api.Engine(ARCHITECTURE), no("Engine expects a Plan")),
    ("an unknown backend", lambda: api.compile(NET, backend="onednnn"), no("backend 'onednnn'; did you mean")),
    ("no backend", lambda: api.compile(NET, backend=None), no("backend expects a name, found None")),
    (
        "a backend for another device",
        lambda: api.compile(NET, backend="triton"),
        no("backend 'triton' cannot be used"),
    ),
    ("half a seed", lambda: api.compile(NET, seed=1.5), no("seed expects a whole number, found 1.5; write seed=2")),
    ("a bool as a seed", lambda: api.compile(NET, seed=True), no("seed expects a whole number, found True")),
    ("a negative seed", lambda: api.compile(NET, seed=-1), no("seed must be from 0 to 4294967295, found -1")),
    ("a seed of 2³²", lambda: api.compile(NET, seed=2**32), no("seed must be from 0 to 4294967295")),
    ("text as a seed", lambda: api.compile(NET, seed="7"), no("seed expects a whole number, found text '7'")),
    (
        "a seed of NumPy",
        lambda: parameters(api.compile(NET, seed=np.int64(7))),
        lambda: parameters(api.compile(NET, seed=7)),
    ),
    (
        "a seed of torch",
        lambda: parameters(api.compile(NET, seed=torch.tensor(7))),
        lambda: parameters(api.compile(NET, seed=7)),
    ),
    ("dtype by name", lambda: api.compile(NET, dtype="float64").dtype, torch.float64),
    ("an unknown dtype", lambda: api.compile(NET, dtype="float46"), no("dtype expects a floating-point dtype of")),
    ("a dtype of NumPy", lambda: api.compile(NET, dtype=np.float32), no("found the class float32; one of:")),
    ("Python's float as dtype", lambda: api.compile(NET, dtype=float), no("found the class float;")),
    ("an integer dtype", lambda: api.compile(NET, dtype=torch.int64), no("found torch.int64")),
    ("a complex dtype", lambda: api.compile(NET, dtype=torch.complex64), no("found torch.complex64")),
    ("a dtype of 8 bits", lambda: api.compile(NET, dtype=torch.float8_e4m3fn), no("found torch.float8_e4m3fn")),
    ("an unknown device", lambda: api.compile(NET, device="cdua"), no("unknown device 'cdua'; did you mean 'cuda'?")),
    ("a device that is a fraction", lambda: api.compile(NET, device=0.5), no("device expects a device of torch")),
    ("a bool as a device", lambda: api.compile(NET, device=False), no("device expects a device of torch, found False")),
    ("a device without a driver", lambda: api.compile(NET, device="xpu"), no("device 'xpu' cannot be used")),
    ("the meta device", lambda: api.compile(NET, device="meta").relax(X), no("the engine is on torch's meta device,")),
    ("an empty schedule", lambda: api.compile(NET, schedule=""), no("unknown schedule ''; known: synchronous")),
    ("a list of schedules", lambda: api.compile(NET, schedule=["coloring"]), no("schedule expects a name, found a")),
    ("one rewrite as text", lambda: api.compile(NET, without="winograd"), no("write without=['winograd']")),
    ("no rewrites", lambda: api.compile(NET, without=None), no("without expects a list, found None")),
    ("an unknown rewrite", lambda: api.compile(NET, without=["wingrad"]), no("'wingrad'; did you mean 'winograd'?")),
    ("a rewrite that is a number", lambda: api.compile(NET, without=[3]), no("rewrite expects a name, found 3")),
    ("text as a flag", lambda: api.compile(NET, doubled="no"), no("doubled expects True or False, found text 'no'")),
    ("a number as a flag", lambda: api.compile(NET, cuda_graphs=0), no("cuda_graphs expects True or False, found 0")),
    ("a flag of NumPy", lambda: api.compile(NET, doubled=np.bool_(False)).doubled, False),
    ("in inference mode", lambda: parameters(in_inference_mode(lambda: api.compile(NET)))[0].is_inference(), False),
]

INPUT: list[Row] = [
    ("an array", lambda: relax(X.numpy()), no("input 'x' expects a tensor, found a NumPy ndarray of shape (4, 1, 2,")),
    ("a list", lambda: relax(X.tolist()), no("found a list; convert it with torch.as_tensor")),
    ("a list of tensors", lambda: relax(list(X)), no("pass one tensor; torch.stack makes one")),
    ("None", lambda: relax(None), no("input 'x' expects a tensor, found None")),
    ("integers", lambda: relax(X.long()), no("expects floating-point numbers, found int64; convert it with .float()")),
    ("bytes of an image", lambda: relax(X.byte()), no("found uint8; bytes of an image: .float() / 255")),
    ("a mask", lambda: relax(X > 0.5), no("expects floating-point numbers, found bool")),
    ("complex numbers", lambda: relax(X + 1j), no("its imaginary part would be lost: pass .real")),
    ("quantized numbers", lambda: relax(torch.quantize_per_tensor(X, 0.1, 0, torch.quint8)), no("found quint8")),
    ("half precision", lambda: relaxed(X.half()), lambda: relaxed(X.half().float())),
    ("double precision", lambda: relaxed(X.double()), lambda: relaxed(X)),
    ("a sparse tensor", lambda: relax(X.to_sparse()), no("expects a dense tensor, found the layout torch.sparse_coo")),
    ("a nested tensor", lambda: relax(torch.nested.nested_tensor(list(X))), no("found a nested one; stack examples")),
    ("a tensor of oneDNN", lambda: relax(X.to_mkldnn()), no("found the layout torch._mkldnn; convert it with")),
    ("a tensor without values", lambda: relax(X.to("meta")), no("has no values: it is on torch's meta device")),
    ("NaN", lambda: relax(with_value(X, NAN)), no("input 'x' holds NaN in example 2; torch.isfinite finds it")),
    ("infinity", lambda: relax(with_value(X, -INF)), no("input 'x' holds an infinite value in example 2")),
    ("NaN in all examples", lambda: relax(X * NAN), no("holds NaN in example 0, and in 3 more")),
    ("beyond float32", lambda: relax(with_value(X.double(), 1e300)), no("holds a value beyond float32 in example 2")),
    ("finite, with a sum that is not", lambda: relax(X * 0 + 3e38).status.name, "FIXED_STEPS"),
    ("an empty batch", lambda: relax(X[:0]), no("found (0, 1, 2, 2); the first dimension is the batch, of one")),
    ("no batch", lambda: relax(X[0]), no("expects a batch of 1×2×2, found (1, 2, 2)")),
    ("flat examples", lambda: relax(X.flatten(1)), no("expects a batch of 1×2×2, found (4, 4)")),
    ("a batch of batches", lambda: relax(X[None]), no("expects a batch of 1×2×2, found (1, 4, 1, 2, 2)")),
    ("one example for all", lambda: relaxed(X[:1].expand(4, 1, 2, 2)), lambda: relaxed(X[:1].repeat(4, 1, 1, 1))),
    ("columns first", lambda: relaxed(X.mT), lambda: relaxed(X.mT.contiguous())),
    (
        "made in inference mode",
        lambda: gradient(in_inference_mode(X.clone), estimator="unrolled"),
        lambda: gradient(estimator="unrolled"),
    ),
    ("to forward", lambda: ENGINE(X.numpy()), no("input 'x' expects a tensor")),
    ("to initialise", lambda: copy.deepcopy(ENGINE).initialise(X[0]), no("expects a batch of 1×2×2")),
    ("to energy", lambda: ENGINE.energy(X * NAN, STATES), no("input 'x' holds NaN")),
]

LABELS: list[Row] = [
    ("an array", lambda: backward(y=Y.numpy()), no("y expects a tensor, found a NumPy ndarray of shape (4,) and")),
    ("a list", lambda: backward(y=[0, 2, 1, 1]), no("y expects a tensor, found a list; convert it with")),
    ("None", lambda: backward(y=None), no("y expects a tensor, found None")),
    ("a mask", lambda: backward(y=Y > 1), no("y expects labels or targets, found bool; pass y.long() or y.float()")),
    ("complex targets", lambda: backward(y=SOFT + 1j), no("found complex64; its imaginary part would be lost: pass")),
    ("labels as fractions", lambda: backward(y=Y.float()), no("expected 4 integer labels or targets of shape (4, 3),")),
    ("negative labels", lambda: backward(y=Y - 1), no("labels run from -1 to 1, but the output has 3 classes")),
    ("labels from 1", lambda: backward(y=Y + 1), no("labels run from 1 to 3, but the output has 3 classes")),
    ("too few labels", lambda: backward(y=Y[:3]), no("found (3,) of int64")),
    ("labels in a column", lambda: backward(y=Y[:, None]), no("found (4, 1) of int64")),
    ("one label for all", lambda: backward(y=Y[0]), no("found () of int64")),
    ("NaN", lambda: backward(y=with_value(SOFT, NAN)), no("y holds NaN in example 2")),
    ("infinity", lambda: backward(y=with_value(SOFT, INF)), no("y holds an infinite value in example 2")),
    ("sparse targets", lambda: backward(y=SOFT.to_sparse()), no("y expects a dense tensor")),
    ("labels without values", lambda: backward(y=Y.to("meta")), no("y has no values")),
    ("labels in bytes", lambda: gradient(y=Y.byte()), lambda: gradient()),
    ("whole numbers as targets", lambda: gradient(y=SOFT.long()), lambda: gradient(y=SOFT)),
    ("targets in double precision", lambda: gradient(y=SOFT.double()), lambda: gradient(y=SOFT)),
    ("targets for labels", lambda: gradient(y=SOFT), lambda: gradient()),
    (
        "labels where there are no classes",
        lambda: api.compile(NET.replace("classes: 3", "shape: [3]")).backward(X, Y),
        no("labels need output.classes in place of output.shape"),
    ),
    ("to loss", lambda: ENGINE.loss(STATES, Y[:2]), no("expected 4 integer labels or targets of shape (4, 3), found")),
    ("to relax", lambda: relax(target=Y.tolist(), beta=0.1), no("y expects a tensor, found a list")),
]

RELAX: list[Row] = [
    ("half a sweep", lambda: relax(steps=2.5), no("steps expects a whole number, found 2.5; write steps=2")),
    ("a whole number as a fraction", lambda: relax(steps=3.0), no("found 3.0; write steps=3")),
    ("negative steps", lambda: relax(steps=-1), no("steps must be at least 0, found -1")),
    ("a bool", lambda: relax(steps=True), no("steps expects a whole number, found True")),
    ("a bool of NumPy", lambda: relax(steps=np.bool_(True)), no("steps expects a whole number, found True")),
    ("text", lambda: relax(steps="3"), no("steps expects a whole number, found text '3'")),
    ("NaN steps", lambda: relax(steps=NAN), no("steps expects a whole number, found nan")),
    ("endless steps", lambda: relax(steps=INF), no("steps expects a whole number, found inf")),
    ("steps in a list", lambda: relax(steps=[3]), no("steps expects a whole number, found a list")),
    ("steps in a tensor of one", lambda: relax(steps=torch.tensor([3])), no("found a Tensor of shape (1,) and int64")),
    ("a fraction of torch", lambda: relax(steps=torch.tensor(2.5)), no("steps expects a whole number, found 2.5")),
    ("an integer of NumPy", lambda: relax(steps=np.int32(3)).steps, 3),
    ("an integer of torch", lambda: relax(steps=torch.tensor(3)).steps, 3),
    ("no sweep", lambda: relax(steps=0, start=STATES).states, STATES),
    ("no sweep has no residual", lambda: math.isnan(relax(steps=0).residual), True),
    ("a negative tolerance", lambda: relax(tolerance=-1e-3), no("tolerance must be at least 0, found -0.001")),
    ("a tolerance of NaN", lambda: relax(tolerance=NAN), no("tolerance must be finite, found nan")),
    ("an infinite tolerance", lambda: relax(tolerance=INF), no("tolerance must be finite, found inf")),
    ("a bool as a tolerance", lambda: relax(tolerance=False), no("tolerance expects a number, found False")),
    ("text as a tolerance", lambda: relax(tolerance="1e-3"), no("tolerance expects a number, found text '1e-3'")),
    ("a tolerance of NumPy", lambda: relax(tolerance=np.float32(0.5)).steps, lambda: relax(tolerance=0.5).steps),
    ("a target without beta", lambda: relax(target=Y), no("needs a target and its strength beta, and there is no")),
    ("beta without a target", lambda: relax(beta=0.1), no("and there is no target")),
    ("beta NaN", lambda: relax(target=Y, beta=NAN), no("beta must be finite, found nan")),
    ("a nudge of no strength", lambda: relaxed(target=Y, beta=0.0), lambda: relaxed()),
    ("no strength and no target", lambda: relaxed(beta=0.0), lambda: relaxed()),
    (
        "a nudge away",
        lambda: bool((relaxed(target=Y, beta=-0.5) < relaxed(target=Y, beta=0.5))[range(4), Y].all()),
        True,
    ),
    ("record as text", lambda: relax(record="yes"), no("record expects True or False, found text 'yes'")),
    ("input that requires a gradient", lambda: relaxed(X.clone().requires_grad_()).requires_grad, False),
]

START: list[Row] = [
    ("an unknown state", lambda: relax(start={"hh": STATES["h"]}), no("start: there is no state 'hh' that moves; did")),
    ("the input", lambda: relax(start={"x": X}), no("start: there is no state 'x' that moves; known: h, g, y")),
    ("a number for a name", lambda: relax(start={1: STATES["h"]}), no("start: there is no state '1' that moves")),
    ("a relaxation", lambda: relax(start=relax()), no("found a Relaxation; pass its states: relaxation.states")),
    ("a list", lambda: relax(start=list(STATES.values())), no("start expects states by their names, found a list")),
    ("an array", lambda: relax(start={"h": STATES["h"].numpy()}), no("start: state 'h' expects a tensor, found a")),
    ("another batch", lambda: relax(start={"h": STATES["h"][:2]}), no("start: state 'h' has shape (2, 5), expected")),
    ("states of another state", lambda: relax(start={"h": STATES["g"]}), no("has shape (4, 4), expected (4, 5)")),
    ("complex states", lambda: relax(start={"h": STATES["h"] + 1j}), no("start: state 'h' expects floating-point")),
    ("None", lambda: relax(start={"h": None}), no("start: state 'h' expects a tensor, found None")),
    (
        "NaN that moves the output",
        lambda: relaxed(start={"g": STATES["g"] * NAN}, steps=1),
        no("start: state 'g' holds NaN in example 0, and in 3 more"),
    ),
    (
        "in half precision",
        lambda: relaxed(start=halves()),
        lambda: relaxed(start={n: s.float() for n, s in halves().items()}),
    ),
    (
        "some of the states",
        lambda: relaxed(start={"h": STATES["h"]}, steps=2),
        lambda: relaxed(start=zeros_but("h"), steps=2),
    ),
    ("no states", lambda: relaxed(start={}), lambda: relaxed()),
    ("its states stay as they are", lambda: (relax(start=STATES, steps=3), ENGINE.relax(X).states)[1], STATES),
    ("to backward", lambda: backward(start={"q": STATES["h"]}), no("start: there is no state 'q' that moves")),
]

BACKWARD: list[Row] = [
    ("no nudged sweep", lambda: backward(nudged_steps=0), no("nudged_steps must be at least 1, found 0")),
    ("half a nudged sweep", lambda: backward(nudged_steps=0.5), no("nudged_steps expects a whole number, found 0.5")),
    ("a negative number of free sweeps", lambda: backward(free_steps=-2), no("free_steps must be at least 0, found")),
    ("free sweeps as text", lambda: backward(free_steps="ten"), no("free_steps expects a whole number, found text")),
    ("no free sweep", lambda: backward(free_steps=0, start=STATES).free.states["y"], STATES["y"]),
    ("an unknown rule", lambda: backward(estimator="centred"), no("estimator 'centred'; did you mean 'centered'?")),
    ("an empty rule", lambda: backward(estimator=""), no("unknown estimator ''")),
    ("a rule that is a function", lambda: backward(estimator=max), no("estimator expects a name, found")),
    ("beta 0", lambda: backward(beta=0), no("beta must be a positive number, found 0")),
    ("a negative beta", lambda: backward(beta=-0.1), no("beta must be a positive number, found -0.1")),
    ("a beta of NaN", lambda: backward(beta=NAN), no("beta must be finite, found nan")),
    ("an infinite beta", lambda: backward(beta=INF), no("beta must be finite, found inf")),
    ("a beta beyond a float", lambda: backward(beta=10**400), no("beta must be finite, found inf")),
    ("a beta that float32 has not", lambda: backward(beta=1e-300), no("beta must be from 1.2e-38 to 8.5e+37 in")),
    ("a beta that overflows", lambda: backward(beta=1e39), no("in float32, found 1e+39; e.g. beta=0.1")),
    ("beta as text", lambda: backward(beta="0.1"), no("beta expects a number, found text '0.1'")),
    ("beta as a bool", lambda: backward(beta=True), no("beta expects a number, found True")),
    ("a complex beta", lambda: backward(beta=0.1j), no("beta expects a number, found 0.1j")),
    ("several betas", lambda: backward(beta=torch.tensor([0.1, 0.2])), no("found a Tensor of shape (2,) and float32")),
    ("a beta to learn", lambda: backward(beta=torch.tensor(0.1, requires_grad=True)), no("pass beta.item()")),
    ("a beta of torch", lambda: gradient(beta=torch.tensor(0.5)), lambda: gradient(beta=0.5)),
    ("a beta of NumPy", lambda: gradient(beta=np.float64(0.5)), lambda: gradient(beta=0.5)),
    ("a beta that is a fraction", lambda: gradient(beta=Fraction(1, 2)), lambda: gradient(beta=0.5)),
    ("one point", lambda: backward(estimator="holomorphic", points=1), no("points must be from 2 to 1024, found 1")),
    ("points that are none", lambda: backward(points=4.0), no("points expects a whole number, found 4.0")),
    ("a negative rate", lambda: backward(continual_rate=-1e-3), no("continual_rate must be at least 0, found -0.001")),
    ("a rate of NaN", lambda: backward(continual_rate=NAN), no("continual_rate must be finite")),
    ("a tolerance as a list", lambda: backward(tolerance=[1e-3]), no("tolerance expects a number, found a list")),
    ("keep as a number", lambda: backward(keep=1), no("keep expects True or False, found 1")),
    ("energy as None", lambda: backward(energy=None), no("energy expects True or False, found None")),
    ("input that wants a gradient", lambda: backward(X.clone().requires_grad_()), no("x requires a gradient, and")),
    ("targets that want a gradient", lambda: backward(y=SOFT.clone().requires_grad_()), no("or pass y.detach()")),
    ("inside of inference mode", lambda: trained(torch.inference_mode), lambda: trained(torch.enable_grad)),
    ("inside of autocast", lambda: trained(bfloat16), lambda: trained(torch.enable_grad)),
    ("inside of no_grad", lambda: trained(torch.no_grad), lambda: trained(torch.enable_grad)),
]

ENERGY: list[Row] = [
    ("no states", lambda: ENGINE.energy(X, {}), no("states: 'h' is missing; it takes all of: h, g, y")),
    ("None", lambda: ENGINE.energy(X, None), no("states expects states by their names, found None")),
    ("a relaxation", lambda: ENGINE.phi(X, relax()), no("found a Relaxation; pass its states")),
    ("a state too few", lambda: ENGINE.phi(X, {k: s for k, s in STATES.items() if k != "g"}), no("'g' is missing")),
    ("a state too many", lambda: ENGINE.energy(X, {**STATES, "k": Y}), no("states: there is no state 'k' that moves")),
    ("another batch", lambda: ENGINE.energy(X[:2], STATES), no("states: state 'h' has shape (4, 5), expected (2, 5)")),
    ("complex states", lambda: ENGINE.energy(X, {n: s + 0j for n, s in STATES.items()}), no("found complex64")),
    (
        "double precision",
        lambda: ENGINE.energy(X, {n: s.double() for n, s in STATES.items()}),
        lambda: ENGINE.energy(X, STATES),
    ),
    ("loss of no states", lambda: ENGINE.loss({}, Y), no("states: the output 'y' is missing")),
    ("loss of a relaxation", lambda: ENGINE.loss(relax(), Y), no("pass what relax returns: relaxation.states")),
    ("loss of another output", lambda: ENGINE.loss({"y": STATES["g"]}, Y), no("has shape (4, 4), expected (4, 3)")),
    ("loss of the output alone", lambda: ENGINE.loss({"y": STATES["y"]}, Y), lambda: ENGINE.loss(STATES, Y)),
    ("untied feedback", lambda: api.compile(NET, schedule="coloring").energy(X, STATES).shape, (4,)),
]

MUST = "parameter 'edges.h_g.weight' must have shape (4, 5), dtype float32 and device cpu; found shape "

PARAMETERS: list[Row] = [
    (
        "one weight in double precision",
        lambda: changed(put(torch.rand(4, 5).double())).relax(X),
        no(MUST + "(4, 5), dtype float64"),
    ),
    (
        "a weight of another shape",
        lambda: changed(put(torch.rand(5, 4))).relax(X),
        no(MUST + "(5, 4)"),
    ),
    ("a weight of one number", lambda: changed(put(torch.rand(()))).backward(X, Y), no("found shape ()")),
    (
        "a weight on another device",
        lambda: changed(put(torch.rand(4, 5, device="meta"))).relax(X),
        no(MUST + "(4, 5), dtype float32 and device meta"),
    ),
    (
        "a weight that is gone",
        lambda: changed(lambda e: e.edges["h_g"].__delattr__("weight")).relax(X),
        no("'edges.h_g.weight' must have shape (4, 5), dtype float32 and device cpu; found None"),
    ),
    (
        "a bias that is gone",
        lambda: changed(lambda e: e.states["g"].__delattr__("bias")).backward(X, Y),
        no("parameter 'states.g.bias' must have shape (4,), dtype float32 and device cpu; found None"),
    ),
    (
        "in energy",
        lambda: changed(put(torch.rand(4, 5).double())).energy(X, STATES),
        no("found shape (4, 5), dtype float64"),
    ),
    ("all in double precision", lambda: changed(lambda e: e.double()).relax(X).states["y"].dtype, torch.float64),
    ("an edge that is none", lambda: ENGINE.edges["hg"], no("there is no 'hg' here; did you mean 'h_g'?")),
    ("an edge by its number", lambda: ENGINE.edges[0], no("there is no '0' here")),
    ("a state that is none", lambda: ENGINE.states["z"], no("there is no 'z' here; known: x, h, g, y")),
    (
        "a backend that is none",
        lambda: changed(lambda e: setattr(e, "backend", "x")).relax(X),
        no("unknown backend 'x'"),
    ),
    ("a seed to initialise by", lambda: copy.deepcopy(ENGINE).initialise(X, seed=0.5), no("seed expects a whole")),
]

EQUILIBRIUM: list[Row] = [
    ("an architecture", lambda: api.Equilibrium(ARCHITECTURE), no("engine expects an Engine, found an Architecture")),
    ("a path", lambda: api.Equilibrium("n.yaml"), no("found text 'n.yaml'; epgraph.compile makes one")),
    ("a rule that is none here", lambda: through(estimator="continual"), no("'continual' cannot run inside autograd")),
    ("an empty rule", lambda: through(estimator=""), no("estimator '' cannot run inside autograd")),
    ("a number for a rule", lambda: through(estimator=3), no("estimator expects text, found 3")),
    ("beta 0", lambda: through(beta=0.0), no("beta must be a positive number, found 0")),
    ("beta as text", lambda: through(beta="a"), no("beta expects a number, found text 'a'")),
    ("a beta that float32 has not", lambda: through(beta=1e-40), no("beta must be from 1.2e-38")),
    ("a beta of torch", lambda: through(beta=torch.tensor(0.5)), lambda: through(beta=0.5)),
    ("half a sweep", lambda: through(free_steps=2.5), no("free_steps expects a whole number, found 2.5")),
    ("no nudged sweep", lambda: through(nudged_steps=0), no("nudged_steps must be at least 1, found 0")),
    ("a tolerance of NaN", lambda: through(tolerance=NAN), no("tolerance must be finite")),
    ("a flag as text", lambda: through(warm_start="no"), no("warm_start expects True or False, found text 'no'")),
    ("one name as text", lambda: api.Equilibrium(ENGINE).states(X, "h"), no("names expects a list, found text 'h';")),
    ("no names", lambda: api.Equilibrium(ENGINE).states(X, []), no("names is empty; name one state or more, e.g. 'y'")),
    ("the input's name", lambda: api.Equilibrium(ENGINE).states(X, ["x"]), no("there is no state 'x' that moves;")),
    ("a number for a name", lambda: api.Equilibrium(ENGINE).states(X, [3]), no("a state's name expects text, found 3")),
    ("an array", lambda: api.Equilibrium(ENGINE)(X.numpy()), no("input 'x' expects a tensor, found a NumPy ndarray")),
    ("NaN", lambda: api.Equilibrium(ENGINE)(X * NAN), no("input 'x' holds NaN")),
    ("an engine on the meta device", lambda: api.Equilibrium(api.compile(NET, device="meta"))(X), no("meta device")),
    ("in half precision", lambda: through(X.half()), lambda: through(X.half().float())),
    ("after inference mode", lambda: through(wrap=torch.inference_mode), lambda: through()),
    ("after autocast", lambda: through(wrap=bfloat16), lambda: through()),
    ("input that requires a gradient", lambda: input_gradient().abs().sum().item() > 0, True),
]

KINDS: list[Row] = [
    ("no kernel", lambda: api.Conv(), no("Conv needs the option 'kernel'; e.g. Conv(kernel=…)")),
    ("a kernel of nothing", lambda: api.Conv(kernel=0), no("Conv, option 'kernel': input should be greater than or")),
    ("a misspelled option", lambda: api.Conv(kernel=3, pading=1), no("Conv has no option 'pading'; did you mean")),
    ("an option by position", lambda: api.Conv(3), no("Conv takes its options by name, found 3")),
    ("a fraction", lambda: api.Conv(kernel=1.5), no("Conv, option 'kernel'")),
    ("a scale of NaN", lambda: api.Identity(scale=NAN), no("Identity, option 'scale': input should be a finite")),
    ("options that exclude each other", lambda: api.Conv(kernel=2, padding="same"), no("Conv: ")),
    ("a kernel of NumPy", lambda: api.Conv(kernel=np.int64(3)), lambda: api.Conv(kernel=3)),
    ("two kernels of NumPy", lambda: api.Conv(kernel=tuple(np.array([3, 1]))), lambda: api.Conv(kernel=(3, 1))),
]

NETWORK: list[Row] = [
    ("a number for a name", lambda: network(name=5), no("name: 'name' expects text, found 5")),
    ("no name", lambda: network(name=""), no("name: 'name' needs at least 1 character, found 0")),
    ("an input of one number", lambda: network(input=64), no("input.shape: 'shape' expects a list, found 64")),
    ("an input of text", lambda: network(input="1,2,2"), no("'shape' expects a list, found text '1,2,2'")),
    ("an input without pixels", lambda: network(input=(0, 2, 2)), no("input.shape[0]: 'shape[0]' must be ≥ 1, found")),
    ("an input of four dimensions", lambda: network(input=(1, 2, 3, 4)), no("'shape' needs at most 3 entries, found")),
    ("an input of fractions", lambda: network(input=np.array([1.0, 2.0])), no("'shape[0]' expects an integer, found")),
    ("an input of bools", lambda: network(input=(True, 2, 2)), no("input.shape[0]: 'shape[0]' expects an integer,")),
    ("a misspelled key of the input", lambda: network(input={"shpe": (4,)}), no("unknown key 'shpe'; did you mean")),
    ("an input of NumPy", lambda: built(input=np.array([1, 2, 2])), lambda: built()),
    ("an input of torch", lambda: built(input=X[0].shape), lambda: built()),
    ("classes as a fraction", lambda: network(classes=3.0), no("output.classes: 'classes' expects an integer, found")),
    ("no classes", lambda: network(classes=None), no("output: missing key 'classes'")),
    ("classes and a shape", lambda: network(output={"shape": (3,)}), no("both 'classes' and 'shape' are given")),
    ("an output of one number", lambda: network(classes=None, output=3), no("output expects a mapping, found 3")),
    ("classes of NumPy", lambda: built(classes=np.int32(3)), lambda: built()),
    ("a misspelled activation", lambda: network(activation="rel6"), no("unknown activation 'rel6'; did you mean")),
    ("a function as an activation", lambda: network(activation=torch.tanh), no("expected the name of an activation")),
    ("a gain of NaN", lambda: network(gain=NAN), no("defaults.gain: 'gain' expects a finite number, found nan")),
    ("a negative gain", lambda: network(gain=-1), no("defaults.gain: 'gain' must be ≥ 0, found -1")),
    ("a bool as a gain", lambda: network(gain=True), no("'gain' expects a number, found true")),
    ("a bias of 3", lambda: network(bias=3), no("defaults.bias: 'bias' expects true or false, found 3")),
    ("defaults that are text", lambda: network(defaults="relu6"), no("defaults expects a mapping, found text 'relu6'")),
    ("an unknown section", lambda: network(dynamic={}), no("unknown section 'dynamic'; did you mean 'dynamics'?")),
    ("a section of text", lambda: network(training="fast"), no("training: 'training' expects a mapping of keys to")),
    ("half a sweep", lambda: network(dynamics={"free_steps": 2.5}), no("dynamics.free_steps: 'free_steps' expects an")),
    ("states at once", lambda: network(states={"h": {"shape": [5]}}), no("'states' is no section of a Network; add")),
    ("edges at once", lambda: network(edges=[]), no("'edges' is no section of a Network")),
    ("init by its name", lambda: built(init="graph_aware").init.rule, "graph_aware"),
    ("an init that is none", lambda: network(init="graph_awear"), no("init.rule: 'rule' expects 'published'")),
    ("sweeps of NumPy", lambda: built(dynamics={"free_steps": np.int64(7)}).dynamics.free_steps, 7),
    ("a method that is none", lambda: hasattr(network(), "convolve"), False),
    ("nothing in it", lambda: network().build(), no("edges: 'edges' needs at least 1 entry, found 0")),
]

STATE: list[Row] = [
    ("a number for a name", lambda: network().state(3), no("a state's name is text, found 3")),
    ("the name of the input", lambda: network().state("x"), no("duplicate name 'x': the input has it")),
    ("a name that is none", lambda: named_state("a b"), no("'a b' is not a name")),
    ("text for channels", lambda: network().state("h", channels="3"), no("write 3 without quotes")),
    ("a bool for channels", lambda: network().state("h", channels=True), no("'channels' expects an integer, found")),
    ("channels and shape", lambda: network().state("h", channels=3, shape=(3,)), no("both 'shape' and 'channels' are")),
    ("a misspelled setting", lambda: network().state("h", chanels=3), no("unknown key 'chanels'; did you mean")),
    ("a set for a shape", lambda: network().state("h", shape={5}), no("'shape' expects a list, found a set")),
    ("a rate of NaN", lambda: network().state("h", shape=(5,), learning_rate=NAN), no("expects a finite number,")),
    ("a shape of NumPy", lambda: built(state={"shape": np.array([5])}), lambda: built()),
    ("a shape of torch", lambda: built(state={"shape": torch.zeros(5).shape}), lambda: built()),
]

EDGE: list[Row] = [
    ("no ends", lambda: edge(kind="dense"), no("an edge joins two states, or acts at one, found 0")),
    ("three ends", lambda: edge("x", "a", "y", kind="dense"), no("an edge joins two states, or acts at one, found 3")),
    ("a number for an end", lambda: edge(1, "a", kind="dense"), no("an end of an edge is a state or its name, found")),
    ("a tensor for an end", lambda: edge(X, "a", kind="dense"), no("found a Tensor of shape (4, 1, 2, 2) and float32")),
    ("a state of another network", lambda: edge(another().input, "a", kind="dense"), no("belongs to another network,")),
    ("no kind", lambda: edge("x", "a"), no("an edge holds exactly one kind, found none")),
    ("a misspelled kind", lambda: edge("x", "a", kind="dens"), no("unknown kind of edge, text 'dens'; did you mean")),
    ("a kind that is a number", lambda: edge("x", "a", kind=3), no("unknown kind of edge, 3; known: conv")),
    ("a class for a kind", lambda: edge("x", "a", kind=api.Dense), no("the class Dense; write Dense(…)")),
    ("a class behind the ends", lambda: edge("x", "a", api.Dense), no("found the class Dense; write Dense(…)")),
    ("two kinds", lambda: edge("x", "a", conv={"kernel": 3}, dense={}), no("exactly one kind, found 'conv' and")),
    ("a negative gain", lambda: edge("x", "a", kind="dense", gain=-1), no("edges.x→a.gain: 'gain' must be ≥ 0, found")),
    ("text for a flag", lambda: edge("x", "a", kind="dense", frozen="yes"), no("'frozen' expects true or false,")),
    ("a name that is none", lambda: edge("x", "a", kind="dense", name="a b"), no("text 'a b' is not a name")),
    ("an option that is none", lambda: edge("x", "a", kind="conv", kernal=3), no("unknown key 'kernal'; did you mean")),
    (
        "a gain of NumPy",
        lambda: built(edge={"kind": "dense", "gain": np.float64(0.5)}),
        lambda: built(edge={"kind": "dense", "gain": 0.5}),
    ),
]

FROM_NETWORKX: list[Row] = [
    ("no graph", lambda: from_graph([(0, 1)]), no("expected a networkx graph, found a list")),
    ("no nodes", lambda: from_graph(nx.Graph()), no("'input' names no node: 0")),
    ("an input that is none", lambda: from_graph(input=7), no("'input' names no node: 7")),
    ("an input that is a list", lambda: from_graph(input=[0]), no("'input' names no node: a list")),
    ("no input", lambda: from_graph(input=None), no("no node is named as the input")),
    ("input and output in one", lambda: from_graph(output=0), no("input and output are one node, 0")),
    ("a shape that is a number", lambda: from_graph(shape=4), no("'shape' expects a list, found 4")),
    ("a shape that is text", lambda: from_graph(shape="122"), no("'shape' expects a list, found text '122'")),
    ("a shape that is a set", lambda: from_graph(shape={4}), no("'shape' expects a list, found a set")),
    ("a bool for classes", lambda: from_graph(classes=True), no("'classes' expects an integer, found true")),
    ("state as text", lambda: from_graph(state="channels"), no("state expects a mapping, found text 'channels'")),
    ("edge as text", lambda: from_graph(edge="dense"), no("edge expects an edge kind or its settings, found text")),
    ("edge as a class", lambda: from_graph(edge=api.Dense), no("found the class Dense")),
    ("ignore as text", lambda: from_graph(ignore="pos"), no("ignore expects a list, found text 'pos'; write")),
    ("a number for a name", lambda: from_graph(name=3), no("name expects text, found 3")),
    ("a section of a number", lambda: from_graph(dynamics=3), no("'dynamics' expects a mapping of keys to values,")),
    ("an attribute that is no setting", lambda: from_graph(with_node(pos=(0, 1))), no('pass ignore=["pos"]')),
    ("a node's activation as a function", lambda: from_graph(with_node(activation=max)), no("expected the name of an")),
    ("an edge's gain of infinity", lambda: from_graph(with_edge(gain=INF)), no("'gain' expects a finite number,")),
    ("an edge's kind as a number", lambda: from_graph(with_edge(kind=3)), no("unknown kind of edge, 3")),
    ("a node's shape of NumPy", lambda: from_graph(with_node(shape=np.array([7]))).states["n1"].shape, (7,)),
    ("a shape of NumPy", lambda: from_graph(shape=np.array([1, 2, 2])), lambda: from_graph()),
    ("an edge's gain of NumPy", lambda: from_graph(with_edge(gain=np.float32(0.5))).edges[0].gain, 0.5),
]

WRITE: list[Row] = [
    ("a path to networkx", lambda: api.to_networkx("n.yaml"), no("to_networkx expects an Architecture, found text")),
    ("an unbuilt network to networkx", lambda: api.to_networkx(another()), no("found a Network; load it with")),
    ("a path to YAML", lambda: api.to_yaml("n.yaml"), no("to_yaml expects an Architecture, found text 'n.yaml'")),
    ("a number for a header", lambda: api.to_yaml(ARCHITECTURE, header=3), no("header expects a list, found 3")),
    ("numbers for lines of it", lambda: api.to_yaml(ARCHITECTURE, header=[3]), no("header expects text, found 3")),
    ("a header that breaks", lambda: api.load(api.to_yaml(ARCHITECTURE, header="two\nlines: 2")), ARCHITECTURE),
    (
        "lines of a header that break",
        lambda: api.load(api.to_yaml(ARCHITECTURE, header=["a\rb: 1", "c\u2028d: 2"])),
        ARCHITECTURE,
    ),
    ("notes at nothing", lambda: api.to_yaml(ARCHITECTURE, notes={("states", "q"): "?"}), no("notes: there is")),
    ("notes as a list", lambda: api.to_yaml(ARCHITECTURE, notes=["h"]), no("notes expects a mapping, found a list")),
    (
        "a note that is a number",
        lambda: api.to_yaml(ARCHITECTURE, notes={("edges", 0): 3}),
        no("expects text, found 3"),
    ),
]

RENDER: list[Row] = [
    ("no path", lambda: api.render(ARCHITECTURE, None), no("path expects a path, found None")),
    ("bytes for a path", lambda: api.render(ARCHITECTURE, b"n.dot"), no("path expects a path, found bytes; decode it")),
    ("a file for a path", lambda: api.render(ARCHITECTURE, closed()), no("path expects a path, found a StringIO")),
    ("an empty path", lambda: api.render(ARCHITECTURE, ""), no("the path has no suffix to name the format")),
    ("an unknown format", lambda: api.render(ARCHITECTURE, "n.jpg"), no("n.jpg: unknown suffix '.jpg'; known: .svg,")),
    (
        "a folder in its place",
        lambda: (Path("d.dot").mkdir(), api.render(ARCHITECTURE, "d.dot")),
        no("d.dot: cannot be written: it is a directory"),
    ),
    ("an unbuilt network", lambda: api.render(another(), "n.dot"), no("expected an architecture, found a Network")),
    ("a schedule that is a number", lambda: api.render(ARCHITECTURE, "n.dot", schedule=3), no("schedule expects a")),
    ("a misspelt schedule", lambda: api.render(ARCHITECTURE, "n.dot", "colouring"), no("did you mean 'coloring'?")),
    (
        "the text of a network",
        lambda: api.render(NET, "a.dot").read_bytes(),
        lambda: api.render(ARCHITECTURE, Path("b.dot")).read_bytes(),
    ),
]

REGISTER: list[Row] = [
    ("a number for a name", lambda: api.register_activation(3, TANH), no("the name to register expects text, found 3")),
    ("bytes for a name", lambda: api.register_cost(b"q", Quartic()), no("the name to register expects text, found")),
    ("a name that is none", lambda: api.register_activation("q q", TANH), no("'q q' cannot be registered: it is not")),
    ("a name that is built in", lambda: api.register_activation("relu7", TANH), no("'relu7' cannot be registered: it")),
    ("a class for an activation", lambda: api.register_activation("q", api.Activation), no("found the class Activa")),
    (
        "a class without defaults",
        lambda: api.register_activation("q", ReLU),
        no("'low' has no number as default; e.g."),
    ),
    ("a function for an activation", lambda: api.register_activation("q", torch.tanh), no("derive its class from")),
    ("a class for a cost", lambda: api.register_cost("q", Quartic), no("expected a cost, found the class Quartic;")),
    ("None for a kind", lambda: api.register_kind(None), no("derived from EdgeKind, found None; derive it")),
    (
        "an instance for a kind",
        lambda: api.register_kind(api.Dense()),
        no("derived from EdgeKind, found a Dense; pass the"),
    ),
    ("a kind that is built in", lambda: api.register_kind(api.Dense), no("'dense' cannot be registered: it is built")),
    ("the base of all kinds", lambda: api.register_kind(api.EdgeKind), no("it has no name")),
]

VERIFY: list[Row] = [
    ("a name for an activation", lambda: api.verify_activation("tanh"), no("verify_activation expects an Activation,")),
    ("a class for an activation", lambda: api.verify_activation(type(TANH)), no("found the class Tanh; pass an")),
    ("alpha of NaN", lambda: api.verify_activation(TANH, alpha=NAN), no("alpha must be finite, found nan")),
    ("alpha 0", lambda: api.verify_activation(TANH, alpha=0), no("alpha must be a positive number, found 0")),
    ("a whole alpha", lambda: api.verify_activation(TANH, alpha=2), []),
    ("a class for a cost", lambda: api.verify_cost(Quartic), no("verify_cost expects a Cost, found the class Quartic")),
    ("a cost of no units", lambda: api.verify_cost(Quartic(), units=0), no("units must be at least 1, found 0")),
    ("half a unit", lambda: api.verify_cost(Quartic(), units=2.5), no("units expects a whole number, found 2.5")),
    ("a name for a kind", lambda: api.verify_kind("dense"), no("verify_kind expects an EdgeKind, found text 'dense'")),
    ("a class that is no kind", lambda: api.verify_kind(int), no("verify_kind expects an edge kind, found the class")),
    ("a kind that needs options", lambda: api.verify_kind(api.Conv), no("Conv needs the options kernel; pass one")),
    ("shapes that are a number", lambda: api.verify_kind(api.Dense(), shapes=3), no("shapes expects a list, found 3")),
    (
        "one pair in place of a list",
        lambda: api.verify_kind(api.Dense(), shapes=((3,), (4,))),
        no("an entry of shapes is a pair, found 1"),
    ),
    (
        "a shape of fractions",
        lambda: api.verify_kind(api.Dense(), shapes=[((3.5,), (4,))]),
        no("a size expects a whole"),
    ),
    ("shapes of NumPy", lambda: api.verify_kind(api.Dense(), [(np.array([3]), np.array([4]))]), []),
]

RING = api.topologies.ring

TOPOLOGIES: list[Row] = [
    ("by position", lambda: RING(3), no("ring takes parameters by name, found 3")),
    ("a misspelled parameter", lambda: RING(widht=3), no("unknown parameter 'widht'; did you mean 'width'?")),
    ("a width of text", lambda: RING(width="3"), no("'width' expects an integer, found text '3'")),
    ("a width of nothing", lambda: RING(width=0), no("'width' must be ≥ 1, found 0")),
    ("a share beyond 1", lambda: api.topologies.small_world(rewired=1.5), no("'rewired' must be ≤ 1, found 1.5")),
    ("a seed below 0", lambda: api.topologies.random_dag(seed=-1), no("'seed' must be ≥ 0, found -1")),
    ("a command of an unknown parameter", lambda: RING.command(q=1), no("ring.q: unknown parameter 'q'")),
    ("a width of NumPy", lambda: RING(width=np.int64(4)), lambda: RING(width=4)),
    ("an input of NumPy", lambda: RING(input=np.array([1, 8, 8])), lambda: RING(input=(1, 8, 8))),
]


def digits(name: Any = "digits", **options: Any) -> Any:
    return load_data(name, **{"shape": (64,), "classes": 10, **options})


FIRST = ", ".join(list(DATA_SETS)[:2])

DATA: list[Row] = [
    ("a number for a name", lambda: digits(3), no(f"name expects text, found 3; one of: {FIRST}")),
    ("a misspelled name", lambda: digits("digit"), no("there is no data set 'digit'; did you mean 'digits'?")),
    ("a shape of text", lambda: digits(shape="64"), no("shape expects a list, found text '64'")),
    ("a shape of fractions", lambda: digits(shape=(64.0,)), no("a size of the shape expects a whole number, found")),
    ("a shape of nothing", lambda: digits(shape=(0, 8, 8)), no("a size of the shape must be at least 1, found 0")),
    ("classes as text", lambda: digits(classes="10"), no("classes expects a whole number, found text '10'")),
    ("no root", lambda: digits(root=None), no("root expects a path, found None")),
    ("a folder in bytes", lambda: digits(root=b"data"), no("root expects a path, found bytes")),
    ("text for a flag", lambda: digits(download="no"), no("download expects True or False, found text 'no'")),
    ("half an example", lambda: digits(limit=0.5), no("limit expects a whole number, found 0.5")),
    ("no example", lambda: digits(limit=0), no("limit must be at least 1, found 0")),
    ("a shape of NumPy", lambda: digits(shape=np.array([1, 8, 8]), limit=20).train[0][0].shape, (1, 8, 8)),
    ("a limit of NumPy", lambda: len(digits(limit=np.int64(20)).train), 20),
]

TRAINING: list[Row] = [
    ("batches of nothing", lambda: batches([], 0, device=torch.device("cpu")), no("size must be at least 1, found 0")),
    (
        "half a batch",
        lambda: batches([], 0.5, device=torch.device("cpu")),
        no("size expects a whole number, found 0.5"),
    ),  # type: ignore[arg-type]
    (
        "fewer workers than none",
        lambda: batches([], 1, device=torch.device("cpu"), workers=-1),
        no("workers must be at least 0, found"),
    ),
    ("a size of NumPy", lambda: len(batches(range(3), np.int64(2), device=torch.device("cpu"))), 2),  # type: ignore[arg-type]
    ("no thread", lambda: set_threads(ENGINE, 0), no("threads must be at least 1, found 0")),
    ("threads as text", lambda: set_threads(ENGINE, "2"), no("threads expects a whole number, found text '2'")),  # type: ignore[arg-type]
    ("a folder as text", lambda: Run("run").folder, Path("run")),  # type: ignore[arg-type]
    ("a folder of bytes", lambda: Run(b"run"), no("folder expects a path, found bytes")),  # type: ignore[arg-type]
    ("a run with -1 workers", lambda: Run(Path("run"), workers=-1), no("workers must be at least 0, found -1")),
    ("a checkpoint that is not there", lambda: load_checkpoint("nothing.pt"), no("nothing.pt: there is no checkpoint")),
    ("a checkpoint of a number", lambda: load_checkpoint(3), no("path expects a path, found 3")),  # type: ignore[arg-type]
    ("an evaluation of nothing", lambda: evaluate(ENGINE, []), no("evaluation has no batch of examples; give a data")),
]

TABLE: dict[str, list[Row]] = {
    "load": LOAD,
    "build": BUILD,
    "compile": COMPILE,
    "Engine: x": INPUT,
    "Engine: y": LABELS,
    "Engine.relax": RELAX,
    "Engine: start": START,
    "Engine.backward": BACKWARD,
    "Engine.energy, loss": ENERGY,
    "Engine: parameters": PARAMETERS,
    "Equilibrium": EQUILIBRIUM,
    "edge kinds": KINDS,
    "Network": NETWORK,
    "Network.state": STATE,
    "Network.edge": EDGE,
    "from_networkx": FROM_NETWORKX,
    "to_networkx, to_yaml": WRITE,
    "render": RENDER,
    "register": REGISTER,
    "verify": VERIFY,
    "topologies": TOPOLOGIES,
    "load_data": DATA,
    "training": TRAINING,
}


# What some rows need.


def with_value(t: Tensor, value: float) -> Tensor:
    """One value of the third example replaced."""
    changed = t.clone()
    changed[2].view(-1)[1] = value
    return changed


def halves() -> dict[str, Tensor]:
    return {name: s.half() for name, s in STATES.items()}


def zeros_but(name: str) -> dict[str, Tensor]:
    return {key: s if key == name else torch.zeros_like(s) for key, s in STATES.items()}


def input_gradient() -> Tensor:
    x = X.clone().requires_grad_()
    ep.Equilibrium(ENGINE)(x).square().sum().backward()
    ENGINE.zero_grad()
    assert x.grad is not None
    return x.grad


def named_state(name: str) -> ep.Architecture:
    net = network()
    net.dense(net.input, net.state(name, shape=(5,)))
    net.dense(name, net.output)
    return net.build()


ROWS = [(entry, *row) for entry, rows in TABLE.items() for row in rows]


@pytest.mark.parametrize(("call", "expected"), [row[2:] for row in ROWS], ids=[f"{row[0]}, {row[1]}" for row in ROWS])
def test_works_as_documented_or_is_refused_by_name(call: Callable[[], Any], expected: Any) -> None:
    before = [p.clone() for p in ENGINE.parameters()]
    if isinstance(expected, Refused):
        with pytest.raises(EpgraphError) as caught:
            call()
        assert expected.text in str(caught.value)
        assert all(p.grad is None for p in ENGINE.parameters())
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = call()
        assert same(found, expected() if callable(expected) else expected)
        ENGINE.zero_grad()
    assert same(list(ENGINE.parameters()), before)


def same(found: Any, expected: Any) -> bool:
    """Equality, to the bit, that looks into lists and mappings of tensors."""
    if isinstance(expected, Tensor):
        return isinstance(found, Tensor) and found.dtype == expected.dtype and torch.equal(found, expected)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is not bool and bool(found == expected) if not isinstance(expected, bool) else found is expected


def test_the_table_is_large_and_says_nothing_twice() -> None:
    assert len(ROWS) >= 200
    assert len({row[:2] for row in ROWS}) == len(ROWS)
