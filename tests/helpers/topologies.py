"""Random architectures, as wild as the language allows and small enough for milliseconds in float64.

``random_architecture`` promises at least five free states, a skip between hidden states, a cycle among free
states and a pair of parallel edges; everything else in ``FEATURES`` occurs over a population. ``coverage``
counts what occurred.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import combinations, pairwise, product
from typing import Any

import networkx as nx
import torch
from hypothesis import strategies as st
from torch import Tensor

from epgraph.activations.relu import ReLU
from epgraph.graph import Edge, NetworkGraph, build
from epgraph.kinds import Conv, ConvTranspose, Dense, Identity, Lateral, Pool, Shape, Skip
from epgraph.kinds.convolution import Convolution
from epgraph.language import Architecture

Kind = dict[str, Any]
"""The part of an edge's declaration that says what it is: ``{"conv": {...}}``."""

Map = tuple[Kind, tuple[int, ...]]
"""A kind with the height and width that it gives."""

SMOOTH = ("tanh", "logistic", "identity")
ACTIVATIONS = ("relu6", "relu1", "relu2.5", {"relu": [0.5, 4.0]}, "hard_sigmoid", *SMOOTH)
STRIDES = (1, 2, 3)
KERNELS = (1, 2, 3, 4, 5)
PADDINGS = (0, 1, 2)
POOLS = (None, "max", "average")
DILATIONS = (1, 2, 3)
WILD = 12
"""Convolutions, beside the plain ones, that are drawn for two states: all options at random, rows and columns apart."""
IDENTITIES: tuple[Kind, ...] = ({"identity": {}}, {"identity": {"scale": 0.5}})
LARGEST_SIDE = 9

ALWAYS = ("skip edge", "cycle", "parallel edges")
"""What every architecture has."""

FEATURES = (
    *(f"kind {kind}" for kind in ("conv", "skip", "identity", "dense", "conv_transpose", "pool", "lateral")),
    *(f"conv kernel {n}" for n in KERNELS),
    *(f"conv stride {n}" for n in STRIDES),
    *(f"conv padding {n}" for n in PADDINGS),
    *(f"conv pool {how}" for how in POOLS),
    *(f"skip stride {n}" for n in STRIDES),
    *(f"conv {option} not square" for option in ("kernel", "stride", "padding", "dilation")),
    "conv padding same",
    *(f"conv dilation {n}" for n in DILATIONS[1:]),
    "conv grouped",
    "conv depthwise",
    *(f"conv {what}, pool {how}" for what in ("dilated", "grouped") for how in POOLS),
    "conv dilated and grouped",
    "conv rows left over by stride",
    "conv rows left over by pooling",
    "skip stride not square",
    *(f"conv_transpose {what}" for what in ("strided", "padded", "output_padding", "dilated", "grouped")),
    *(f"pool {how}" for how in POOLS[1:]),
    "pool window not square",
    *(f"lateral {what}" for what in ("kernel", "matrix")),
    "dense of low rank",
    "identity plain",
    "identity scaled",
    *(f"dense {ends}" for ends in ("image→image", "image→vector", "vector→image", "vector→vector")),
    *(f"dense {ends}" for ends in ("input→hidden", "hidden→hidden", "hidden→output", "input→output")),
    *(f"dense {ends}" for ends in ("hidden→input", "output→hidden", "output→input")),
    *(f"side {n}" for n in ("even", "odd", "not square")),
    *(f"activation {name}" for name in ("relu6", "relu1", "relu2.5", "relu[0.5, 4]", *SMOOTH)),
    "activations mixed",
    "output activation not identity",
    *(f"cost {name}" for name in ("squared_error", "cross_entropy")),
    "state without bias",
    "input into several states",
    "edge into the input",
    "backward edge",
    "directed cycle",
    "parallel convolutions",
    *ALWAYS,
    *(f"free states {n}" for n in range(5, 9)),
)
"""Every feature that ``coverage`` counts."""


def random_architecture(
    rng: random.Random,
    *,
    smooth: bool = False,
    activations: Sequence[object] | None = None,
    pool_max: bool = True,
    min_states: int = 5,
    max_states: int = 8,
    gain: tuple[float, float] = (0.2, 0.8),
    width: int = 1,
    output_activation: object = None,
    readout: bool = False,
) -> dict[str, Any]:
    """Draw an architecture: plain values that YAML and ``Architecture.model_validate`` both take.

    Parameters
    ----------
    smooth
        Only activations without a kink, and no max pooling.
    activations
        What hidden states (and an output that is not the identity) choose from.
    pool_max
        Whether max pooling may occur; without it every edge is linear in its source.
    min_states, max_states
        Bounds on the number of free states: hidden ones and the output. At least 5.
    gain
        Bounds on the gain of an edge.
    width
        Factor on the channels and units of hidden states, for what holds on average over units only.
    output_activation
        That of the output, which is otherwise drawn.
    readout
        Whether the cost is ``softmax_readout``, with all edges of the output written into it.
    """
    choices = tuple(activations) if activations is not None else SMOOTH if smooth else ACTIVATIONS
    drawn = Draft(rng, choices, pool_max and not smooth, rng.randint(min_states, max_states), gain, width).finish()
    if output_activation is not None:
        drawn["output"]["activation"] = output_activation
    if readout:
        drawn["output"] |= {"cost": "softmax_readout", "activation": "identity"}
        for edge in drawn["edges"]:
            if edge["from"] == "y":
                # Between vectors every kind fits both ways.
                edge["from"], edge["to"] = edge["to"], edge["from"]
    return drawn


def architectures(**options: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Strategy of architectures; the options are those of ``random_architecture``."""
    return st.randoms(use_true_random=False).map(lambda rng: random_architecture(rng, **options))


def random_graph(seed: int, **options: Any) -> NetworkGraph:
    """Build the architecture that ``seed`` draws."""
    return build(Architecture.model_validate(random_architecture(random.Random(seed), **options)))


def random_parameters(graph: NetworkGraph, generator: torch.Generator, scale: float = 1.0) -> dict[str, Tensor]:
    """Draw float64 parameters as the engine names them.

    Weights are uniform in ±scale·weight_scale, biases in ±bias_scale, random α in its own bounds.
    """

    def uniform(shape: Shape, low: float, high: float) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low

    parameters = {}
    for edge in graph.edges.values():
        if edge.weight_shape is not None and not edge.tied:
            bound = scale * edge.weight_scale
            parameters[f"edges.{edge.name}.weight"] = uniform(edge.weight_shape, -bound, bound)
    for state in graph.states.values():
        if state.bias_shape is not None and state.bias_scale is not None:
            parameters[f"states.{state.name}.bias"] = uniform(state.bias_shape, -state.bias_scale, state.bias_scale)
        if isinstance(state.activation, ReLU) and state.activation.stored:
            parameters[f"states.{state.name}.alpha"] = uniform((), state.activation.low, state.activation.high)
    return parameters


def random_batch(graph: NetworkGraph, generator: torch.Generator, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Draw a float64 input, standard normal, and one-hot targets (batch, classes)."""
    x = torch.randn(batch, *graph.input.shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(graph.output.units, (batch,), generator=generator)
    return x, torch.nn.functional.one_hot(labels, graph.output.units).to(torch.float64)


def coverage(architecture: dict[str, Any] | Architecture) -> Counter[str]:
    """Count the features of an architecture; the keys are among ``FEATURES``.

    Options count edges, activations count states, and ``cycle`` counts independent cycles of free states
    (parallel edges apart); counts of several architectures add up.
    """
    graph = build(Architecture.model_validate(architecture))
    count = Counter(feature for edge in graph.edges.values() for feature in _edge_features(graph, edge))
    hidden = [state for state in graph.states.values() if state.role == "hidden"]
    count.update(f"activation {state.activation.label}" for state in hidden)
    count["activations mixed"] = int(len({state.activation for state in hidden}) > 1)
    count["output activation not identity"] = int(graph.output.activation.label != "identity")
    count[f"cost {graph.architecture.output.cost}"] = 1
    count["state without bias"] = sum(s.bias_shape is None for s in graph.states.values() if not s.clamped)
    for state in graph.states.values():
        if len(state.shape) == 3:
            count.update(f"side {'odd' if n % 2 else 'even'}" for n in state.shape[1:])
            count["side not square"] += state.shape[1] != state.shape[2]
    fed = {next(iter(e.ends - {graph.input.name})) for e in graph.edges.values() if graph.input.name in e.ends}
    count["input into several states"] = int(len(fed) > 1)
    directed: nx.DiGraph[str] = nx.DiGraph((e.source, e.target) for e in _between(graph, graph.free))
    count["directed cycle"] = int(not nx.is_directed_acyclic_graph(directed))
    moving = directed.to_undirected()
    count["cycle"] = len(nx.cycle_basis(moving))
    pairs = Counter(edge.ends for edge in graph.edges.values())
    count["parallel edges"] = sum(n > 1 for n in pairs.values())
    pairs = Counter(edge.ends for edge in graph.edges.values() if isinstance(edge.kind, Convolution))
    count["parallel convolutions"] = sum(n > 1 for n in pairs.values())
    count[f"free states {len(graph.free)}"] = 1
    return +count


def coverage_table(count: Counter[str], networks: int) -> str:
    """Lay out how often each feature occurred in a population; a missing one is marked."""
    lines = [f"{'feature':<32} {'total':>6} {'per network':>12}"]
    for feature in FEATURES:
        n = count[feature]
        lines.append(f"{feature:<32} {n:>6} {n / networks:>12.2f}{'' if n else '  MISSING'}")
    return "\n".join(lines)


def _between(graph: NetworkGraph, names: Iterable[str]) -> list[Edge]:
    return [edge for edge in graph.edges.values() if edge.ends <= set(names)]


def _edge_features(graph: NetworkGraph, edge: Edge) -> Iterator[str]:
    source, target = graph.states[edge.source], graph.states[edge.target]
    kind = edge.kind
    yield f"kind {kind.name}"
    if isinstance(kind, Conv):
        g = kind.geometry
        written = ("kernel", "stride", "padding", "dilation")
        for option, (down, across) in zip(written, (g.kernel, g.stride, g.padding, g.dilation), strict=True):
            if option != "dilation" or (down, across) != (1, 1):
                yield f"conv {option} {down if down == across else 'not square'}"
        yield f"conv pool {kind.pool}"
        if kind.padding == "same":
            yield "conv padding same"
        dilated, grouped = g.dilation != (1, 1), kind.groups != 1
        if grouped:
            yield "conv depthwise" if kind.groups == "depthwise" else "conv grouped"
        yield from (f"conv {what}, pool {kind.pool}" for what in ["dilated"] * dilated + ["grouped"] * grouped)
        if dilated and grouped:
            yield "conv dilated and grouped"
        sides = zip(source.shape[1:], g.padding, g.extent, g.stride, strict=True)
        if any((n + 2 * padding - extent) % stride for n, padding, extent, stride in sides):
            yield "conv rows left over by stride"
        if kind.pool and any(n % 2 for n in g.before_pooling(source.shape[1:])):
            yield "conv rows left over by pooling"
    elif isinstance(kind, ConvTranspose):
        g = kind.geometry
        found = {
            "strided": g.stride != (1, 1),
            "padded": g.padding != (0, 0),
            "output_padding": kind.output_padding not in (0, (0, 0)),
            "dilated": g.dilation != (1, 1),
            "grouped": kind.groups != 1,
        }
        yield from (f"conv_transpose {what}" for what, so in found.items() if so)
    elif isinstance(kind, Pool):
        yield f"pool {kind.kind}"
        if not isinstance(kind.size, int):
            yield "pool window not square"
    elif isinstance(kind, Lateral):
        yield "lateral matrix" if kind.kernel is None else "lateral kernel"
    elif isinstance(kind, Skip):
        yield f"skip stride {kind.stride if isinstance(kind.stride, int) else 'not square'}"
    elif isinstance(kind, Identity):
        yield "identity plain" if kind.scale == 1 else "identity scaled"
    elif isinstance(kind, Dense):
        yield "dense " + "→".join("image" if len(s.shape) == 3 else "vector" for s in (source, target))
        yield f"dense {source.role}→{target.role}"
        if kind.rank is not None:
            yield "dense of low rank"
    if target.clamped:
        yield "edge into the input"
    positions = list(graph.states)
    gap = positions.index(edge.target) - positions.index(edge.source)
    if gap < 0:
        yield "backward edge"
    if abs(gap) > 1 and source.role == target.role == "hidden":
        yield "skip edge"


class Draft:
    """An architecture in the making. What low random numbers choose is plainer, so that examples shrink."""

    def __init__(
        self,
        rng: random.Random,
        activations: Sequence[object],
        pool_max: bool,
        free: int,
        gain: tuple[float, float],
        width: int,
    ) -> None:
        self.rng = rng
        self.activations = activations
        self.pools = POOLS if pool_max else tuple(p for p in POOLS if p != "max")
        self.gain = gain
        self.width = width
        self.hidden = [f"h{i}" for i in range(1, free)]
        self.shapes: dict[str, Shape] = {}
        self.inferred: set[str] = set()
        self.edges: list[dict[str, Any]] = []

    def finish(self) -> dict[str, Any]:
        """Draw everything and write it as plain values."""
        self.shapes["x"] = (self.rng.randint(4, 8),) if self.chance(0.1) else self.image((1, 3), (5, LARGEST_SIDE))
        for position, name in enumerate(self.hidden):
            self.grow(name, position)
        self.shapes["y"] = (self.rng.randint(2, 5),)
        self.join(self.hidden[-1], "y")
        self.promise()
        self.embellish()
        if self.chance(0.5):
            self.rng.shuffle(self.edges)
        return {
            "epgraph": 2,
            "name": "random",
            "input": {"name": "x", "shape": list(self.shapes["x"])},
            "output": self.output(),
            "defaults": {"activation": self.rng.choice(self.activations), "gain": self.draw_gain()},
            "states": {name: self.state(name) for name in self.hidden},
            "edges": self.edges,
        }

    def grow(self, name: str, position: int) -> None:
        """Add a hidden state: a shape, and an edge that joins it to another, mostly to its predecessor."""
        chained = position > 0 and not self.chance(0.3)
        other = self.hidden[position - 1] if chained else self.rng.choice(["x", *self.hidden[:position]])
        source = self.shapes[other]
        if len(source) == 3 and not self.chance(0.35):
            # The edge fixes the size, so the file need not say it.
            options = _by_kind(m for m in self.maps_from(source) if max(m[1]) > 1 or max(source[1:]) == 1)
            others = [family for family in options if family not in ("conv", "wild conv")]
            family = self.rng.choice(["conv", "wild conv", *self.rng.sample(others, 1)])
            kind, sides = self.rng.choice(options.get(family) or options["conv"])
            self.shapes[name] = (self.channels_after(kind, source[0]), *sides)
            self.inferred.add(name)
            self.add(other, name, kind)
        else:
            image = self.chance(0.4)
            size = self.image((1, 4), (2, 7)) if image else (self.rng.randint(2, 8),)
            self.shapes[name] = (size[0] * self.width, *size[1:])
            self.join(other, name)

    def promise(self) -> None:
        """Add what every architecture has: one component, a skip, a cycle and parallel edges."""
        moving = self.moving()
        for one, two in pairwise(sorted(min(part, key=self.position) for part in nx.connected_components(moving))):
            self.join(one, two)
        if all("x" not in (edge["from"], edge["to"]) for edge in self.edges):
            self.join("x", self.hidden[0])
        far = [(a, b) for a, b in combinations(self.hidden, 2) if self.position(b) - self.position(a) > 1]
        joined = {self.pair(edge) for edge in self.edges}
        if not joined & set(far):
            self.join(*self.rng.choice(far))
        moving = self.moving()
        if not nx.cycle_basis(moving):
            self.join(*self.rng.choice([p for p in combinations(self.free, 2) if not moving.has_edge(*p)]))
        images = [edge for edge in self.edges if "conv" in edge or "skip" in edge]
        self.join(*self.pair(self.rng.choice(self.edges if not images or self.chance(0.5) else images)))

    def embellish(self) -> None:
        """Add edges that nothing calls for."""
        for name in self.hidden:
            if self.chance(0.2):
                self.join("x", name)
        for pair in combinations(self.free, 2):
            if self.chance(0.08):
                self.join(*pair)
        if self.chance(0.2):
            self.join("x", "y")

    def join(self, earlier: str, later: str) -> None:
        """Add an edge between two states whose shapes are known, in either direction."""
        source, target = earlier, later
        options = self.kinds_between(source, target)
        # Dense edges fit everywhere and would crowd out the rest, so a direction with more kinds is likelier.
        reversed_options = self.kinds_between(target, source)
        if self.chance(0.75 if len(reversed_options) > len(options) else 0.25):
            source, target, options = target, source, reversed_options
        names = list(options)
        kind, _ = self.rng.choice(options[self.rng.choice(names[1:] * 3 + names[:1])])
        self.add(source, target, kind)

    def kinds_between(self, source: str, target: str) -> dict[str, list[Map]]:
        """Group all maps from one state to the other by kind, dense first."""
        return _by_kind(self.maps_between(self.shapes[source], self.shapes[target]))

    def add(self, source: str, target: str, kind: Kind) -> None:
        edge: dict[str, Any] = {"from": source, "to": target, **kind}
        if self.chance(0.5):
            edge["gain"] = self.draw_gain()
        if self.chance(0.2):
            edge["name"] = f"edge{len(self.edges)}"
        self.edges.append(edge)

    def maps_between(self, source: Shape, target: Shape) -> Iterator[Map]:
        """Every kind that maps one shape to the other: all choices of plain options, some of the wild ones."""
        yield {"dense": {}}, ()
        yield {"dense": {"rank": self.rng.randint(1, min(3, math.prod(source), math.prod(target)))}}, ()
        if len(source) == len(target) == 3:
            for kind, sides in self.maps_from(source, target[1:]):
                if sides == target[1:] and joins(kind, source[0], target[0]):
                    yield kind, sides
        elif source == target:
            yield from ((kind, ()) for kind in (*IDENTITIES, {"lateral": {}}))

    def maps_from(self, source: Shape, sides: tuple[int, ...] | None = None) -> Iterator[Map]:
        """Kinds that keep an image an image: with every choice of plain options, and some of the wild ones.

        ``sides`` is what the wild ones are to give; without it they give anything.
        """
        yield from ((kind, source[1:]) for kind in (*IDENTITIES, {"lateral": {}}))
        yield from (({"lateral": {"kernel": kernel}}, source[1:]) for kernel in (3, [1, 3], [5, 3]))
        for stride in (*STRIDES, *([a, b] for a, b in product(STRIDES, STRIDES) if a != b)):
            down, across = _both(stride)
            yield {"skip": {"stride": stride}}, ((source[1] - 1) // down + 1, (source[2] - 1) // across + 1)
        for how, size in product(self.pools[1:], (1, 2, 3, [1, 2], [3, 2])):
            pooled = tuple(n // step for n, step in zip(source[1:], _both(size), strict=True))
            if min(pooled) >= 1:
                yield {"pool": {"kind": how, "size": size}}, pooled
        for kernel, stride, padding, pool in product(KERNELS, STRIDES, PADDINGS, self.pools):
            made = tuple(((n + 2 * padding - kernel) // stride + 1) // (2 if pool else 1) for n in source[1:])
            if min(made) >= 1 and max(made) <= LARGEST_SIDE and min(source[1:]) + 2 * padding >= kernel:
                options = {"kernel": kernel, "stride": stride, "padding": padding, "pool": pool}
                yield {"conv": options}, made
        # A generator of their own: hypothesis keeps account of every number that it draws.
        wild = random.Random(self.rng.getrandbits(32))
        for _ in range(WILD):
            yield from self.wild_conv(wild, source, sides)
            yield from _wild_transpose(wild, source, sides)

    def wild_conv(self, rng: random.Random, source: Shape, sides: tuple[int, ...] | None) -> Iterator[Map]:
        """One convolution with all options at random, where one fits."""
        pool = rng.choice(self.pools)
        rows, columns = (
            _reductions(n, None if sides is None else sides[axis], pool is not None)
            for axis, n in enumerate(source[1:])
        )
        same = rng.random() < 0.1
        if same:
            rows, columns = ([way for way in ways if _keeps(*way)] for ways in (rows, columns))
        if rows and columns:
            one, two = rng.choice(rows), rng.choice(columns)
            names = ("kernel", "stride", "padding", "dilation")
            options: dict[str, Any] = {name: _pixels(a, b) for name, a, b in zip(names, one, two, strict=False)}
            options |= {"padding": "same"} if same else {}
            yield {"conv": {**options, "pool": pool, "groups": _groups(rng, source[0])}}, (one[-1], two[-1])

    def channels_after(self, kind: Kind, channels: int) -> int:
        """Channels of a state that an edge leads to from one with so many."""
        ((name, options),) = kind.items()
        groups = options.get("groups", 1)
        if name in ("identity", "pool", "lateral") or groups == "depthwise":
            return channels
        if groups > 1:
            return int(groups) * self.rng.randint(1, max(1, 4 * self.width // groups))
        return self.rng.randint(1, 4) * self.width

    def state(self, name: str) -> dict[str, Any]:
        shape = self.shapes[name]
        written: dict[str, Any] = {"channels": shape[0]} if name in self.inferred else {"shape": list(shape)}
        if self.chance(0.8):
            written["activation"] = self.rng.choice(self.activations)
        if self.chance(0.2):
            written["bias"] = False
        elif self.chance(0.2):
            written["bias"] = {"gain": 0.3}
        return written

    def output(self) -> dict[str, Any]:
        written = {"name": "y", "classes": self.shapes["y"][0], "cost": "squared_error"}
        if self.chance(0.4):
            written["cost"] = "cross_entropy"
        if self.chance(0.2):
            written["activation"] = self.rng.choice(self.activations)
        if self.chance(0.2):
            written["bias"] = False
        return written

    @property
    def free(self) -> list[str]:
        return [*self.hidden, "y"]

    def moving(self) -> nx.Graph[str]:
        graph: nx.Graph[str] = nx.Graph()
        graph.add_nodes_from(self.free)
        graph.add_edges_from((e["from"], e["to"]) for e in self.edges if "x" not in (e["from"], e["to"]))
        return graph

    def position(self, name: str) -> int:
        return ["x", *self.free].index(name)

    def pair(self, edge: dict[str, Any]) -> tuple[str, str]:
        one, two = sorted((edge["from"], edge["to"]), key=self.position)
        return one, two

    def image(self, channels: tuple[int, int], sides: tuple[int, int]) -> Shape:
        return (self.rng.randint(*channels), self.rng.randint(*sides), self.rng.randint(*sides))

    def draw_gain(self) -> float:
        return round(self.rng.uniform(*self.gain), 2)

    def chance(self, probability: float) -> bool:
        return self.rng.random() >= 1 - probability


def _by_kind(maps: Iterable[Map]) -> dict[str, list[Map]]:
    """Group maps by kind; convolutions with all options at random are a kind of their own."""
    found: dict[str, list[Map]] = {}
    for kind, sides in maps:
        ((name, options),) = kind.items()
        found.setdefault("wild conv" if name == "conv" and "groups" in options else name, []).append((kind, sides))
    return found


def joins(kind: Kind, source: int, target: int) -> bool:
    """Whether a kind leads from so many channels to so many."""
    ((name, options),) = kind.items()
    groups = options.get("groups", 1)
    if name in ("identity", "pool", "lateral") or groups == "depthwise":
        return source == target
    return source % groups == target % groups == 0


def _wild_transpose(rng: random.Random, source: Shape, sides: tuple[int, ...] | None) -> Iterator[Map]:
    """One transposed convolution with all options at random, where one fits."""
    rows, columns = (_enlargements(n, None if sides is None else sides[axis]) for axis, n in enumerate(source[1:]))
    if rows and columns:
        one, two = rng.choice(rows), rng.choice(columns)
        names = ("kernel", "stride", "padding", "dilation", "output_padding")
        options = {name: _pixels(a, b) for name, a, b in zip(names, one, two, strict=False)}
        yield {"conv_transpose": {**options, "groups": _groups(rng, source[0])}}, (one[-1], two[-1])


def _groups(rng: random.Random, channels: int) -> int | str:
    """Groups that divide the channels of a source."""
    return rng.choice([1, *(n for n in (2, 3, 4) if channels % n == 0), "depthwise"])


def _keeps(kernel: int, stride: int, padding: int, dilation: int, _: int) -> bool:
    """Whether padding is what ``same`` stands for."""
    return stride == 1 and 2 * padding == dilation * (kernel - 1)


@cache
def _reductions(n: int, wanted: int | None, pooled: bool) -> list[tuple[int, ...]]:
    """Kernel, stride, padding and dilation along one side of a convolution, and the pixels that they give."""
    found = []
    for kernel, stride, padding, dilation in product(KERNELS, STRIDES, PADDINGS, DILATIONS):
        extent = dilation * (kernel - 1) + 1
        made = ((n + 2 * padding - extent) // stride + 1) // (2 if pooled else 1)
        if extent <= n + 2 * padding and 1 <= made <= LARGEST_SIDE and made == (wanted or made):
            found.append((kernel, stride, padding, dilation, made))
    return found


@cache
def _enlargements(n: int, wanted: int | None) -> list[tuple[int, ...]]:
    """Kernel, stride, padding, dilation and output padding along one side of a transposed convolution, and pixels."""
    found = []
    for kernel, stride, padding, dilation, extra in product(KERNELS, STRIDES, PADDINGS, DILATIONS[:2], range(3)):
        made = (n - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + extra
        if extra < stride and 1 <= made <= LARGEST_SIDE and made == (wanted or made):
            found.append((kernel, stride, padding, dilation, extra, made))
    return found


def _pixels(rows: int, columns: int) -> int | list[int]:
    return rows if rows == columns else [rows, columns]


def _both(option: int | list[int]) -> tuple[int, int]:
    rows, columns = [option] * 2 if isinstance(option, int) else option
    return rows, columns
