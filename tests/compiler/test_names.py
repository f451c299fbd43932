"""Names of states and edges change no number: networks whose names look alike, against the same with plain names."""

from __future__ import annotations

import copy
import json
import pickle
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.cli import run
from epgraph.compiler import BACKENDS, ProgramCache
from epgraph.compiler.trace import SHARE_ABOVE
from epgraph.compiler.triton_kernel import Kernel
from epgraph.training import make_optimizer
from tests.helpers.emitted import emitted, imported
from tests.helpers.lookalikes import lookalike, plain, renamed
from tests.helpers.networks import repeated
from tests.helpers.programs import plan_of

NETWORKS = 1000
QUICK = 4
"""Tenths of them in the usual run: about a dozen for every topology, backend that it can use, and way to run it."""


def network(hidden: dict[str, Any], edges: list[tuple[str, str, dict[str, Any]]], **more: Any) -> dict[str, Any]:
    """A network from i to o, with named edges; an edge from a state to itself is a term of that state."""
    ends = [({"at": a} if a == b else {"from": a, "to": b}) | kind for a, b, kind in edges]
    return {
        "epgraph": 2,
        "input": {"name": "i", "shape": [3]},
        "output": {"name": "o", "classes": 2},
        "states": hidden,
        "edges": [{**edge, "name": f"e{number}"} for number, edge in enumerate(ends)],
        "dynamics": {"schedule": "coloring", "free_steps": 3, "nudged_steps": 2},
    } | more


DENSE: dict[str, Any] = {"dense": {}}
SMALL: dict[str, Any] = {"shape": [2], "activation": "tanh"}
CONV: dict[str, Any] = {"conv": {"kernel": 3, "padding": 1}}
POOLED: dict[str, Any] = {"conv": {"kernel": 3, "padding": 1, "pool": "max"}}
LEARNT: dict[str, Any] = {"shape": [2], "activation": {"relu": [0.5, 2.0], "learn": True}}

TOPOLOGIES: dict[str, dict[str, Any]] = {
    "chain": network({"a": SMALL}, [("i", "a", DENSE), ("a", "o", DENSE)]),
    "parallel": network(
        {"a": SMALL, "b": {"shape": [2]}},
        [("i", "a", DENSE), ("a", "b", DENSE), ("a", "b", DENSE), ("b", "o", DENSE), ("a", "o", DENSE)],
    ),
    "levels": network(
        {"a": LEARNT, "b": LEARNT, "c": SMALL},
        [("i", "a", DENSE), ("a", "b", DENSE), ("b", "c", DENSE), ("c", "a", DENSE), ("c", "o", DENSE)],
        dynamics={"schedule": "synchronous", "free_steps": 3, "nudged_steps": 2, "over_relaxation": 0.7},
    ),
    "tied": network(
        {"a": SMALL, "b": SMALL},
        [("i", "a", DENSE), ("a", "b", DENSE), ("b", "o", DENSE | {"tie": "e1"}), ("a", "a", {"self": {}})],
        dynamics={"schedule": "forward_backward", "free_steps": 2, "nudged_steps": 2},
    ),
    "untied": network(
        {"a": SMALL, "b": SMALL},
        [("i", "a", DENSE), ("a", "b", DENSE), ("b", "o", DENSE)],
        learning={"feedback": "untied"},
    ),
    "readout": network(
        {"a": SMALL, "b": SMALL},
        [("i", "a", DENSE), ("a", "b", DENSE), ("b", "o", DENSE), ("a", "o", DENSE)],
        output={"name": "o", "classes": 2, "cost": "softmax_readout"},
    ),
    "pooled": network(
        {"a": {"channels": 2}, "b": {"channels": 1}},
        [("i", "a", POOLED), ("a", "b", POOLED), ("b", "o", DENSE), ("a", "o", DENSE)],
        input={"name": "i", "shape": [1, 4, 4]},
    ),
    "images": network(
        {"a": {"channels": 2}, "b": {"channels": 2}},
        [("i", "a", CONV), ("a", "b", CONV), ("a", "b", {"skip": {}}), ("b", "o", DENSE)],
        input={"name": "i", "shape": [1, 4, 4]},
    ),
}
IMAGES = frozenset({"pooled", "images"})


def batch(engine: ep.Engine) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, *engine.graph.input.shape, generator=generator), torch.tensor([0, 1])


def compiled(data: dict[str, Any], backend: str, **options: Any) -> ep.Engine:
    architecture = ep.Architecture.model_validate(data)
    return ep.compile(architecture, dtype=torch.float32, backend=backend, initialised=False, **options)


def alike(data: dict[str, Any], like: ep.Engine) -> ep.Engine:
    """The network compiled, with the parameters of another one, in order."""
    engine = compiled(data, like.backend, share_above=like.share_above)
    engine.load_state_dict(dict(zip(engine.state_dict(), like.state_dict().values(), strict=True)))
    return engine


def centered(engine: ep.Engine, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Free states, states nudged by ±β as a pair, and the gradient."""
    estimate = engine.backward(x, y, estimator="centered")
    for relaxation in (estimate.free, *estimate.nudged):
        yield from relaxation.states.values()
    yield estimate.losses


def energies(engine: ep.Engine, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Free states, F and Φ."""
    states = engine.relax(x).states
    yield from (*states.values(), engine.energy(x, states), engine.phi(x, states))


def positive(engine: ep.Engine, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """States nudged by +β alone, and the gradient."""
    yield from engine.backward(x, y, estimator="positive").nudged[0].states.values()


def bridged(engine: ep.Engine, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Forces on several states, and the gradient example by example."""
    x = x.clone().requires_grad_()
    states = ep.Equilibrium(engine, estimator="centered").states(x, list(engine.graph.free))
    sum((s.square().sum() for s in states.values()), torch.zeros(())).backward()
    assert x.grad is not None
    yield x.grad


def implicit(engine: ep.Engine, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """The plain form, as autograd differentiates it."""
    yield engine.backward(x, y, estimator="implicit").losses


Way = Callable[[ep.Engine, Tensor, Tensor], Iterator[Tensor]]


def numbers(engine: ep.Engine, way: Way) -> list[Tensor]:
    """All that a way of running gives, and all gradients, in the order of the network."""
    engine.zero_grad()
    found = list(way(engine, *batch(engine)))
    return [t.detach().clone() for t in (*found, *gradients(engine))]


def gradients(engine: ep.Engine) -> list[Tensor]:
    return [torch.zeros(()) if p.grad is None else p.grad for p in engine.parameters()]


@cache
def expected(topology: str, backend: str, way: Way) -> tuple[ep.Engine, list[Tensor]]:
    """The network with plain names, and what it gives."""
    engine = compiled(TOPOLOGIES[topology], backend)
    return engine, numbers(engine, way)


def same(found: list[Tensor], wanted: list[Tensor]) -> bool:
    return len(found) == len(wanted) and all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def drawn(seed: int) -> tuple[str, str, Way]:
    """A topology, a backend that it can use, and a way to run it."""
    rng = random.Random(seed)
    topology = list(TOPOLOGIES)[seed % len(TOPOLOGIES)]
    backend = rng.choice(("eager", "channels_last", "onednn")) if topology in IMAGES else "eager"
    ways: list[Way] = [centered, centered, positive]
    if topology != "untied":
        ways.append(energies)
    if topology not in ("readout", "levels"):
        ways.append(bridged)
        if topology != "untied":
            ways.append(implicit)
    return topology, backend, rng.choice(ways)


@pytest.mark.parametrize("block", [*range(QUICK), *(pytest.param(n, marks=pytest.mark.slow) for n in range(QUICK, 10))])
def test_no_name_changes_a_number(block: int) -> None:
    """States, energies and gradients are equal to the bit, whatever states and edges are called."""
    clashes = 0
    for seed in range(block, NETWORKS, 10):
        topology, backend, way = drawn(seed)
        plainly, wanted = expected(topology, backend, way)
        data = lookalike(TOPOLOGIES[topology], random.Random(seed))
        engine = alike(data, plainly)
        assert same(numbers(engine, way), wanted), (seed, topology, backend, way.__name__, data)
        clashes += any(
            len({plain(name) for name in names}) < len(names) for names in (engine.graph.states, engine.graph.edges)
        )
    assert clashes >= 90


@pytest.mark.parametrize(("a", "o"), [("a", "o"), ("Y", "y"), ("hA", "h_a"), ("True", "true")])
def test_the_fixed_point_of_a_chain(a: str, o: str) -> None:
    """x → a → o, linear: a = .5 x + .1 + .25 o and o = .25 a + .2 give a = .69333 and o = .37333 at x = 1."""
    linear = {"shape": [1], "activation": "identity"}
    data = {
        "epgraph": 2,
        "input": {"name": "x", "shape": [1]},
        "output": {"name": o, **linear},
        "states": {a: linear},
        "edges": [{"from": "x", "to": a, "dense": {}}, {"from": a, "to": o, "dense": {}}],
    }
    engine = ep.compile(ep.Architecture.model_validate(data), dtype=torch.float64)
    with torch.no_grad():
        for name, value in ((f"edges.x_{a}.weight", 0.5), (f"edges.{a}_{o}.weight", 0.25)):
            engine.state_dict()[name].fill_(value)
        engine.state_dict()[f"states.{a}.bias"].fill_(0.1)
        engine.state_dict()[f"states.{o}.bias"].fill_(0.2)
    states = engine.relax(torch.ones(1, 1, dtype=torch.float64), steps=60).states
    assert states[a].item() == pytest.approx(0.65 / (1 - 0.25**2), abs=1e-12)
    assert states[o].item() == pytest.approx(0.25 * 0.65 / (1 - 0.25**2) + 0.2, abs=1e-12)


@pytest.mark.parametrize("topology", [name for name in TOPOLOGIES if name != "untied"])
def test_the_emitted_module_gives_the_same_numbers(topology: str, tmp_path: Path) -> None:
    """As ``epgraph compile`` writes it, for networks of names that look alike; it defines nothing twice."""
    for seed in range(3):
        plainly, wanted = expected(topology, "eager", centered)
        engine = alike(lookalike(TOPOLOGIES[topology], random.Random(seed)), plainly)
        made = emitted(engine, tmp_path)
        x, y = batch(engine)
        states, gradient = made.relax(x), made.gradient(x, y)
        assert same(list(states.values()), wanted[: len(states)])
        assert same([gradient[name] for name, _ in engine.named_parameters()], wanted[-len(gradient) :])
        assert torch.equal(made.energy(x, states), expected(topology, "eager", energies)[1][len(states)])


def test_the_command_writes_a_network_of_look_alikes(tmp_path: Path) -> None:
    states = dict(zip("iabo", ("Y", "hA", "h_a", "y"), strict=True))
    edges = dict(zip(("e0", "e1", "e2", "e3", "e4"), ("upA", "up_a", "True", "true", "h_1"), strict=True))
    plainly, wanted = expected("parallel", "eager", centered)
    engine = alike(renamed(TOPOLOGIES["parallel"], states, dict(edges)), plainly)
    (tmp_path / "net.yaml").write_text(ep.to_yaml(engine.architecture), encoding="utf-8")
    out = tmp_path / "engine.py"
    assert run(["compile", str(tmp_path / "net.yaml"), "-o", str(out), "--backend", "eager"]) == 0
    found = imported(out).Engine(engine.state_dict()).relax(batch(engine)[0])
    assert same(list(found.values()), wanted[: len(found)])


@pytest.mark.parametrize("topology", list(TOPOLOGIES))
def test_shared_functions_tell_names_apart(topology: str) -> None:
    """Large networks call one function for all that is alike."""
    for way in (centered, positive, *([energies] if topology != "untied" else [])):
        plainly = compiled(TOPOLOGIES[topology], "eager", share_above=0)
        wanted = numbers(plainly, way)
        for seed in range(3):
            engine = alike(lookalike(TOPOLOGIES[topology], random.Random(seed)), plainly)
            assert same(numbers(engine, way), wanted), (seed, way.__name__)


def test_a_large_network_of_look_alikes() -> None:
    """More than ``SHARE_ABOVE`` states, called h, H, h_1, H_1, …, and edges alike."""
    data = repeated(26, free_steps=2, nudged_steps=2)
    data["edges"] = [{**edge, "name": f"e{number}"} for number, edge in enumerate(data["edges"])]

    def twins(names: list[str]) -> dict[str, str]:
        return {name: ("h", "H")[i % 2] + f"_{i // 2}" * (i > 1) for i, name in enumerate(names)}

    states = [data["input"]["name"], *data["states"], data["output"]["name"]]
    plainly = compiled(data, "channels_last")
    assert len(plainly.graph.free) > SHARE_ABOVE
    engine = alike(renamed(data, twins(states), dict(twins([e["name"] for e in data["edges"]]))), plainly)
    assert same(numbers(engine, centered), numbers(plainly, centered))


def test_an_edge_called_biases_keeps_its_gradient_to_itself() -> None:
    """Names of edges once were parts of names of functions: 'gradient_biases' was two at the same time."""
    for topology, way, names in (
        ("parallel", bridged, ("biases", "level_a")),
        ("readout", centered, ("bias", "biases")),
    ):
        plainly, wanted = expected(topology, "eager", way)
        edges = {edge["name"]: edge["name"] for edge in TOPOLOGIES[topology]["edges"]}
        edges |= {"e0": names[0], "e2": names[1]} if topology == "parallel" else {"e2": names[0], "e3": names[1]}
        data = renamed(TOPOLOGIES[topology], {name: name for name in "iabo"}, dict(edges))
        assert same(numbers(alike(data, plainly), way), wanted), topology


@pytest.mark.parametrize("phase", ["free", "pair"])
@pytest.mark.parametrize("schedule", ["coloring", "forward_backward"])
def test_kernels_tell_names_apart(phase: Any, schedule: str) -> None:
    """A state called h_2 and the second update of h have kernels of their own, equal but for names and comments."""
    backend = BACKENDS["triton"]

    def kernels(data: dict[str, Any]) -> list[Kernel]:
        machine = ProgramCache(plan_of(data, schedule), torch.float32, cast=False, backend=backend)
        sweep = machine.program(phase).program.sweep
        return [a for f in sweep for node in f.graph.nodes for a in node.args if isinstance(a, Kernel)]

    def code(kernel: Kernel) -> list[str]:
        lines = kernel.text.replace(f"def {kernel.identifier}(", "def kernel(").splitlines()
        return [line for line in lines if not line.strip().startswith("#")]

    data = TOPOLOGIES["images"]
    states = {"i": "H", "a": "h", "b": "h_2", "o": "h_1"}
    edges = dict(zip(("e0", "e1", "e2", "e3"), ("conv1A", "conv1a", "conv1_a", "True"), strict=True))
    plainly, found = kernels(data), kernels(renamed(data, states, dict(edges)))
    assert [code(kernel) for kernel in found] == [code(kernel) for kernel in plainly]
    assert len({kernel.identifier for kernel in found}) == len(found) >= 2


WORDS = sorted(name for name in dir(torch.nn.Module()) if name[0].isalpha())


def test_a_state_or_an_edge_may_be_called_like_any_attribute_of_a_module() -> None:
    """'training', 'forward', 'type', …: modes, copies, conversions, checkpoints and optimizers work all the same."""
    words = [word for word in WORDS if len(word) <= 64]
    assert {"training", "forward", "type", "float", "state_dict"} <= set(words)
    data = network(
        {word: {"shape": [1], "activation": {"relu": [0.5, 2.0], "learn": True}} for word in words},
        [("i", word, DENSE) for word in words] + [(word, "o", DENSE) for word in words],
    )
    for edge, word in zip(data["edges"], words, strict=False):
        edge["name"] = word
    engine = compiled(data, "eager")
    engine.eval()
    engine.train()
    assert engine.training
    other = copy.deepcopy(engine).double().float()
    other.load_state_dict(pickle.loads(pickle.dumps(engine)).state_dict())
    assert same(numbers(other, centered), numbers(engine, centered))
    optimizer = make_optimizer(engine)
    optimizer.step()
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(engine.parameters()))
    assert repr(engine)


@pytest.mark.parametrize("name", ["a.b", "edges.upA.feedback", "ﬁ", "µ", "μ", "é", "1a", "_a", "a-b", "a b", "a\n", ""])
@pytest.mark.parametrize("place", ["state", "edge", "output"])
def test_other_names_are_refused(name: str, place: str) -> None:
    """Names are ASCII: to Python 'ﬁ' and 'fi', or 'µ' and 'μ', would be one identifier."""
    data = copy.deepcopy(TOPOLOGIES["chain"])
    if place == "edge":
        data["edges"][0]["name"] = name
    else:
        data = renamed(
            data,
            {"i": "i", "a": name, "o": "o"} if place == "state" else {"i": "i", "a": "a", "o": name},
            {"e0": None, "e1": None},
        )
    with pytest.raises(ep.EpgraphError, match="name"):
        ep.load(json.dumps(data))
