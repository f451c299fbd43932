"""Initial parameters for one forward pass: signals and errors keep their size, and deep networks learn by any learner.

All of it is against a plain forward pass and autograd, written here; no engine relaxes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import epgraph as ep
from epgraph.data import load_data
from epgraph.graph import NetworkGraph, build
from epgraph.initialization import initial_parameters
from tests.helpers.topologies import architectures

DEPTH = 64
ACTIVATIONS: list[Any] = ["relu6", "relu1", {"relu": [1, 10]}, "tanh", "logistic", "softclip", "identity"]
BOUNDS = 0.5, 2.0
"""Bounds on the deviation of a state's sum, in parts of its aim."""


def network(states: dict[str, Any], edges: list[dict[str, Any]], activation: Any = "relu6", **more: Any) -> Any:
    return {
        "epgraph": 2,
        "input": {"shape": [1, 8, 8]},
        "output": {"classes": 10},
        "defaults": {"activation": activation},
        "states": states,
        "edges": edges,
        "energy": "predictive",
        "init": "graph_aware",
        **more,
    }


def deep(skip: str | None, pixels: bool, activation: Any = "relu6", depth: int = DEPTH) -> dict[str, Any]:
    """Chain of states, with an identity or a learnt skip beside every map; dense 64 or convolutional 8×8×8."""
    names = [f"h{i}" for i in range(depth)]
    one = {"conv": {"kernel": 3, "padding": 1}} if pixels else {"dense": {}}
    edges = [{"from": "x", "to": "h0", **one}]
    for source, target in pairwise(names):
        edges.append({"from": source, "to": target, **one})
        if skip:
            beside = {"identity": {}} if skip == "identity" else {"skip": {}} if pixels else {"dense": {}}
            edges.append({"from": source, "to": target, **beside})
    size = {"channels": 8} if pixels else {"shape": [64]}
    return network({n: dict(size) for n in names}, [*edges, {"from": names[-1], "to": "y", "dense": {}}], activation)


def graph_of(content: Any) -> NetworkGraph:
    return build(ep.Architecture.model_validate(content))


def digits() -> dict[str, tuple[Tensor, Tensor]]:
    found = load_data("digits", shape=(1, 8, 8), classes=10)
    parts = {"train": found.train, "test": found.test}
    return {
        name: (
            torch.stack([part[i][0] for i in range(len(part))]),
            torch.tensor([part[i][1] for i in range(len(part))]),
        )
        for name, part in parts.items()
    }


def sums(graph: NetworkGraph, parameters: dict[str, Tensor], x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Sums aₙ of the forward pass by state, and the output."""
    states, found = {graph.input.name: x}, {}
    for name in graph.forward_order:
        state = graph.states[name]
        a = torch.zeros(len(x), *state.shape, dtype=x.dtype)
        for edge in graph.pre(name):
            a = a + edge.kind.forward(parameters.get(f"edges.{edge.owner}.weight"), states[edge.source], state.shape)
        bias = parameters.get(f"states.{name}.bias")
        if bias is not None:
            a = a + bias.view(1, -1, *(1,) * (a.ndim - 2))
        alpha = parameters.get(f"states.{name}.alpha", state.activation.alpha_range[1])
        found[name], states[name] = a, state.activation.apply_(a.clone(), alpha)
    return found, states[graph.output.name]


def deviation(a: Tensor) -> float:
    """From the mean of the channel, over batch and pixels."""
    return float(a.detach().var([0, *range(2, a.ndim)], unbiased=False).mean().sqrt())


@dataclass
class Measured:
    deviations: dict[str, float]
    errors: dict[str, float]
    """‖∂C/∂aₙ‖ of each state."""

    @property
    def ratio(self) -> float:
        hidden = list(self.errors.values())[:-1]
        return hidden[0] / hidden[-1]


def measure(graph: NetworkGraph, x: Tensor, y: Tensor, seed: int = 0) -> Measured:
    parameters = initial_parameters("graph_aware", graph, seed, x)
    leaves = {name: value.float().requires_grad_() for name, value in parameters.items()}
    found, output = sums(graph, leaves, x)
    for a in found.values():
        a.retain_grad()
    cost = 0.5 * (output - torch.nn.functional.one_hot(y, 10).float()).square().flatten(1).sum(1).mean()
    cost.backward()
    return Measured(
        {n: deviation(a) for n, a in found.items()},
        {n: float(a.grad.norm()) for n, a in found.items() if a.grad is not None},
    )


def aim_of(graph: NetworkGraph, name: str, parameters: dict[str, Tensor]) -> float:
    """A sixth of the range of σ over its slope, at most 1; that of one-hot targets for a linear output."""
    state = graph.states[name]
    if name == graph.output.name and state.activation.linear:
        classes = graph.output.units
        return math.sqrt(classes - 1) / classes
    ends = state.activation.bounds(parameters.get(f"states.{name}.alpha", state.activation.alpha_range[1]))
    steepest = {"tanh": 1.0, "logistic": 0.25}.get(state.activation.label, 1.0)
    return 1.0 if ends is None else min(1.0, float(ends[1] - ends[0]) / 6 / steepest)


@pytest.fixture(scope="module")
def probes() -> tuple[Tensor, Tensor]:
    x, y = digits()["train"]
    return x[::45][:32], y[::45][:32]


def in_aims(graph: NetworkGraph, found: Measured, seed: int = 0) -> dict[str, float]:
    """Deviations of the states' sums in parts of what they should be."""
    levels = initial_parameters("graph_aware", graph, seed)
    return {name: value / aim_of(graph, name, levels) for name, value in found.deviations.items()}


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("pixels", [False, True], ids=["dense", "conv"])
@pytest.mark.parametrize("skip", [None, "identity", "learnt"])
def test_signals_and_errors_keep_their_size_over_64_states(
    skip: str | None, pixels: bool, activation: Any, probes: tuple[Tensor, Tensor]
) -> None:
    if skip == "identity" and isinstance(activation, dict):
        pytest.skip("an identity carries the signal of one box into another, whatever that other can take")
    graph = graph_of(deep(skip, pixels, activation))
    found = measure(graph, *probes)
    parts = in_aims(graph, found)
    assert BOUNDS[0] < min(parts.values()) <= max(parts.values()) < BOUNDS[1]
    assert 0.1 < found.ratio < 10


@pytest.mark.parametrize("file", ["vgg5", "hopfield_resnet13"])
def test_published_networks(file: str) -> None:
    """Narrowed; errors of merging states differ by the number of edges out of them, and do not fade with depth."""
    content = yaml.safe_load(Path(f"examples/{file}.yaml").read_text(encoding="utf-8")) | {"init": "graph_aware"}
    narrow = [8, 16, 32, 32]
    if file == "vgg5":
        content["states"] = {name: {"channels": c} for name, c in zip(content["states"], narrow, strict=True)}
    else:
        content["states"]["h"]["with"]["channels"]["each"] = narrow
    graph = ep.build(ep.load(yaml.safe_dump(content), ["energy=predictive"]))
    generator = torch.Generator().manual_seed(0)
    found = measure(graph, torch.rand(16, 3, 32, 32, generator=generator), torch.arange(16) % 10)
    assert all(part == pytest.approx(1, rel=1e-3) for part in in_aims(graph, found).values())
    assert max(found.errors.values()) < 10 * min(found.errors.values())


@pytest.mark.parametrize("depth", [1, 2])
def test_every_pixel_of_a_decoder_moves(depth: int) -> None:
    """A strided transposed kernel is not drawn at its center alone, which would reach one pixel of four."""
    unet = ep.topologies.unet(depth=depth, width=8).model_dump(by_alias=True, exclude_unset=True)
    content = {**unet, "energy": "predictive"}
    content.pop("dynamics")
    graph = graph_of(content)
    x = torch.rand(256, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found, _ = sums(graph, {k: v.float() for k, v in initial_parameters("graph_aware", graph, 0, x).items()}, x)
    for name in graph.forward_order:
        moved = found[name].std(0).mean(0)
        assert float(moved.min()) > 0.3 * float(moved.mean()), name
    parts = in_aims(graph, measure(graph, x, torch.arange(256) % 10))
    assert all(part == pytest.approx(1, rel=1e-3) for part in parts.values())


def directed(drawn: dict[str, Any]) -> dict[str, Any]:
    """Leave the edges of a random architecture that lead on, give every state an edge into it, and biases."""
    shapes = {name: list(state.shape) for name, state in graph_of(drawn).states.items()}
    place = {name: i for i, name in enumerate(shapes)}
    edges = [e for e in drawn["edges"] if "at" not in e and place[e["from"]] < place[e["to"]]]
    reached = {edge["to"] for edge in edges}
    edges += [{"from": "x", "to": name, "dense": {}} for name in place if name not in {"x", *reached}]
    states = {
        name: {"shape": shapes[name], **{k: v for k, v in state.items() if k == "activation"}}
        for name, state in drawn["states"].items()
    }
    return {**drawn, "states": states, "edges": edges, "energy": "predictive", "init": "graph_aware"}


@settings(max_examples=40, deadline=None)
@given(architectures(), st.sampled_from([(0.0, 1.0), (-0.5, 1.0), (100.0, 30.0)]))
def test_every_state_of_a_random_graph_gets_its_deviation(drawn: dict[str, Any], scale: tuple[float, float]) -> None:
    """Whatever the edges, widths and inputs. Edges without a weight may carry more, and never make it less."""
    graph = graph_of(directed(drawn))
    shift, size = scale
    x = shift + size * torch.randn(32, *graph.input.shape, generator=torch.Generator().manual_seed(0))
    parameters = {k: v.float() for k, v in initial_parameters("graph_aware", graph, 0, x).items()}
    found, _ = sums(graph, parameters, x)
    states = {graph.input.name: x}
    for name, a in found.items():
        state = graph.states[name]
        alpha = parameters.get(f"states.{name}.alpha", state.activation.alpha_range[1])
        states[name] = state.activation.apply_(a.clone(), alpha)
        # A map of pixels may see padding alone, or pixels that do not move; another one moves with its source.
        moving = []
        for edge in graph.pre(name):
            weight = parameters.get(f"edges.{edge.owner}.weight")
            if moves(edge.kind.forward(weight, states[edge.source], state.shape)):
                moving.append(edge.weight_shape is not None)
            else:
                assert len(graph.states[edge.source].shape) == 3 or not moves(states[edge.source]), edge.name
        part = deviation(a) / aim_of(graph, name, parameters)
        if any(moving):
            assert part == pytest.approx(1, rel=1e-2) if all(moving) else part > 0.99, name


def moves(t: Tensor) -> bool:
    return deviation(t) > 1e-4 * float(t.square().mean().sqrt())


def norm_of(parameters: dict[str, Tensor], edge: str) -> float:
    return float(torch.linalg.matrix_norm(parameters[f"edges.{edge}.weight"], 2))


def two_ways(**gains: float) -> dict[str, Any]:
    edges = [{"from": "x", "to": "a", "dense": {}}, {"from": "x", "to": "b", "dense": {}}]
    edges += [{"from": n, "to": "c", "dense": {}, **({"gain": gains[n]} if n in gains else {})} for n in "ab"]
    edges.append({"from": "c", "to": "y", "dense": {}})
    return network({n: {"shape": [64]} for n in "abc"}, edges, "identity")


def test_gains_say_how_edges_share_the_variance(probes: tuple[Tensor, Tensor]) -> None:
    """Twice the gain is four times the variance; equal gains are equal shares, whatever they are."""
    for content, ratio in ((two_ways(), 1), (two_ways(a=0.3, b=0.3), 1), (two_ways(a=1.0, b=0.5), 2)):
        parameters = initial_parameters("graph_aware", graph_of(content), 0, probes[0])
        assert norm_of(parameters, "a_c") / norm_of(parameters, "b_c") == pytest.approx(ratio, rel=0.02)


def test_a_branch_of_a_deep_network_adds_one_part_of_its_merges() -> None:
    """The skip and the branch of 16 merges share 16 : 1; twice the gain of a branch beside an identity is twice it."""
    content = deep("learnt", False, "identity", depth=17)
    for edge in content["edges"]:
        if edge["from"] != "x" and edge["to"] != "y":
            taken = any(other.get("name") == f"{edge['to']}_a" for other in content["edges"])
            edge["name"] = f"{edge['to']}_{'b' if taken else 'a'}"
    parameters = initial_parameters("graph_aware", graph_of(content), 0)
    assert norm_of(parameters, "h5_a") / norm_of(parameters, "h5_b") == pytest.approx(4, rel=0.02)
    plain, twice = (deep("identity", False, "identity", depth=17) for _ in range(2))
    next(e for e in twice["edges"] if e["to"] == "h1")["gain"] = 1.0
    one, two = (initial_parameters("graph_aware", graph_of(c), 0) for c in (plain, twice))
    assert norm_of(one, "h0_h1") == pytest.approx(0.25, rel=0.1)  # the two ways are not quite independent
    assert norm_of(two, "h0_h1") / norm_of(one, "h0_h1") == pytest.approx(2, rel=0.1)


def test_a_shared_weight_is_one_and_signals_keep_their_size(probes: tuple[Tensor, Tensor]) -> None:
    content = deep(None, False, "tanh", depth=16)
    inner = [edge for edge in content["edges"] if edge["from"] != "x" and edge["to"] != "y"]
    inner[0]["name"] = "shared"
    for edge in inner[1:]:
        edge["tie"] = "shared"
    graph = graph_of(content)
    assert sum(name.startswith("edges.") for name in initial_parameters("graph_aware", graph, 0)) == 3
    parts = in_aims(graph, measure(graph, *probes)).values()
    assert BOUNDS[0] < min(parts) <= max(parts) < BOUNDS[1]


def rectified_growth(mean: float) -> float:
    """E[σ′²] Var(a)/Var(σ(a)) of a ReLU at a ~ N(mean, 1), in closed form."""
    active, density = 0.5 * (1 + math.erf(mean / 2**0.5)), math.exp(-(mean**2) / 2) / math.sqrt(2 * math.pi)
    first = mean * active + density
    return active / ((1 + mean**2) * active + mean * density - first**2)


@pytest.mark.parametrize("depth", [2, 5, 16, 64])
def test_deep_networks_are_rectified_less(depth: int, probes: tuple[Tensor, Tensor]) -> None:
    """The mean of the sums is the least at which errors grow by a factor of 2 at most over all states."""
    graph = graph_of(deep(None, False, depth=depth))
    parameters = initial_parameters("graph_aware", graph, 0, probes[0])
    found, _ = sums(graph, {k: v.float() for k, v in parameters.items()}, probes[0])
    means = [float(a.mean()) for name, a in found.items() if name != "y"]
    assert max(means) - min(means) < 1e-3
    assert rectified_growth(means[0]) ** (depth / 2) == pytest.approx(2, rel=0.02) or (depth == 2 and means[0] < 1e-3)


def test_biases_are_what_batch_normalization_would_subtract(probes: tuple[Tensor, Tensor]) -> None:
    for activation, middle in (("tanh", 0.0), ("logistic", 0.0), ("identity", 0.0)):
        graph = graph_of(deep(None, True, activation, depth=3))
        parameters = {k: v.float() for k, v in initial_parameters("graph_aware", graph, 0, probes[0]).items()}
        found, _ = sums(graph, parameters, probes[0])
        for name in ("h0", "h1", "h2"):
            assert torch.allclose(found[name].mean((0, 2, 3)), torch.full((8,), middle), atol=1e-5)
        assert torch.allclose(found["y"].mean(0), torch.full((10,), 0.1), atol=1e-5)


def test_constant_inputs_give_finite_parameters() -> None:
    graph = graph_of(deep("identity", True, depth=3))
    for x in (torch.zeros(4, 1, 8, 8), torch.ones(1, 1, 8, 8)):
        assert all(value.isfinite().all() for value in initial_parameters("graph_aware", graph, 0, x).values())


def test_an_engine_starts_from_it_and_repeats() -> None:
    content = deep("identity", False, depth=4)
    architecture = ep.Architecture.model_validate(content)
    drawn = initial_parameters("graph_aware", build(architecture), 3)
    for engine in (ep.compile(architecture, seed=3) for _ in range(2)):
        assert {name for name, _ in engine.named_parameters()} == set(drawn)
        for name, value in engine.named_parameters():
            assert torch.equal(value.detach(), drawn[name].float())
    other = ep.compile(architecture, seed=4).state_dict()
    assert not any(torch.equal(other[name], value.float()) for name, value in drawn.items() if "weight" in name)


def trained(content: Any, seed: int, epochs: int, rate: float = 0.02) -> float:
    """Accuracy on the digits' test set by backpropagation of the forward pass: SGD, Nesterov, cosine, clipped."""
    data = digits()
    (x, y), (tested, labels) = data["train"], data["test"]
    graph = graph_of(content)
    drawn = initial_parameters("graph_aware", graph, seed, x[::45][:32])
    leaves = {name: value.float().requires_grad_() for name, value in drawn.items()}
    optimizer = torch.optim.SGD(leaves.values(), lr=rate, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * math.ceil(len(x) / 32))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(32):
            optimizer.zero_grad()
            output = sums(graph, leaves, x[rows])[1]
            wanted = torch.nn.functional.one_hot(y[rows], 10).float()
            (0.5 * (output - wanted).square().sum(1).mean()).backward()
            torch.nn.utils.clip_grad_norm_(leaves.values(), 1.0)
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return float((sums(graph, leaves, tested)[1].argmax(1) == labels).double().mean())


def test_a_residual_chain_of_64_states_learns() -> None:
    """Measured: 95 % after these epochs."""
    assert trained(deep("identity", False), seed=0, epochs=4) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("skip", [None, "identity", "learnt"])
@pytest.mark.parametrize("activation", ["relu6", "tanh"])
def test_64_states_learn_with_any_skip(skip: str | None, activation: str, seed: int) -> None:
    assert trained(deep(skip, False, activation), seed, epochs=6) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("skip", [None, "identity", "learnt"])
def test_64_convolutions_learn(skip: str | None) -> None:
    assert trained(deep(skip, True), 0, epochs=6, rate=0.005) > 0.85
