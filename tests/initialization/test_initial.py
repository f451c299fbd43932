"""Initial parameters from the graph: norms against dense matrices, signals, biases, and what they are good for."""

from __future__ import annotations

import hashlib
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import epgraph as ep
from epgraph.activations.relu import ReLU
from epgraph.data import load_data
from epgraph.gradient_check.signal import Survey, coupling_norm, survey
from epgraph.linearization.linearize import Linearization
from epgraph.testing.oracle import Reference
from epgraph.training import initialise
from tests.helpers.topologies import random_architecture, random_batch, random_graph

CHAIN: dict[str, Any] = {
    "epgraph": 2,
    "input": {"shape": [1, 8, 8]},
    "output": {"classes": 10},
    "states": {f"h{i}": {"shape": [24]} for i in range(1, 9)},
    "edges": [
        {"from": "x", "to": "h1", "dense": {}},
        *({"from": f"h{i}", "to": f"h{i + 1}", "dense": {}} for i in range(1, 8)),
        {"from": "h8", "to": "y", "dense": {}},
    ],
    "dynamics": {"schedule": "coloring", "free_steps": 40, "nudged_steps": 20, "over_relaxation": 1.5},
}
"""Narrow, deep, and without a gain: at the published ones the input does not reach the output."""


def compiled(content: dict[str, Any], seed: int = 0, **init: Any) -> ep.Engine:
    return ep.compile(
        ep.Architecture.model_validate({**content, "init": {"rule": "graph_aware", **init}}),
        schedule="coloring",
        seed=seed,
    )


def networks(count: int) -> list[tuple[int, dict[str, Any]]]:
    """Random topologies without what no weights can make up for.

    Edges without weights alone may have a larger norm than is aimed at. Where a max-pooled edge joins states that move
    and the upper one may be negative, sweeps can go round between arg-maxes however weak the coupling (2 of the first
    17).
    """
    found = []
    for seed in range(10 * count):
        content = random_architecture(random.Random(seed), min_states=6, width=4)
        graph = ep.build(ep.Architecture.model_validate(content))
        signed = any(
            not e.kind.is_linear
            and not graph.states[e.source].clamped
            and not isinstance(graph.states[e.target].activation, ReLU)
            for e in graph.edges.values()
        )
        if not signed and all(edge.weight_shape is not None for edge in graph.edges.values()):
            found.append((seed, content))
        if len(found) == count:
            return found
    raise AssertionError(f"fewer than {count} topologies")


@cache
def surveyed(seed: int) -> Survey:
    """What a random network with parameters of the rule does with inputs."""
    engine = compiled(random_architecture(random.Random(seed), min_states=6, width=4), seed)
    x = torch.rand(32, *engine.graph.input.shape, generator=torch.Generator().manual_seed(seed))
    return survey(engine, x, sweeps=80)


def hessian(engine: ep.Engine, x: Tensor, states: dict[str, Tensor]) -> Tensor:
    """∂²Φ/∂s² of one example over all units, from the oracle's Φ."""
    oracle = Reference(engine.graph, engine.state_dict())
    shapes = [engine.graph.states[n].shape for n in engine.graph.free]
    sizes = [engine.graph.states[n].units for n in engine.graph.free]

    def phi(flat: Tensor) -> Tensor:
        parts = [p.view(1, *shape) for p, shape in zip(flat.split(sizes), shapes, strict=True)]
        return oracle.phi(x, dict(zip(engine.graph.free, parts, strict=True))).sum()

    made: Tensor = torch.autograd.functional.hessian(phi, torch.cat([states[n].flatten() for n in engine.graph.free]))
    return made


@pytest.mark.parametrize("seed", range(6))
def test_norm_and_spectrum_are_those_of_the_dense_matrix(seed: int) -> None:
    graph = random_graph(seed, min_states=6)
    engine = ep.compile(graph.architecture, dtype=torch.float64, schedule="coloring")
    x, _ = random_batch(graph, torch.Generator().manual_seed(seed), batch=1)
    states = engine.relax(x, steps=200).states
    linear = Linearization(engine.executor, x, states, engine.snapshot())
    values = torch.linalg.eigvalsh(hessian(engine, x, states))
    assert coupling_norm(linear) == pytest.approx(float(values.abs().max()), rel=1e-2)
    found = survey(engine, x, sweeps=200, spectrum=1)
    assert found.norm == pytest.approx(float(values.abs().max()), rel=1e-2)
    root = linear.slopes[0].sqrt()
    active = torch.linalg.eigvalsh(root[:, None] * hessian(engine, x, states) * root)
    assert found.largest == pytest.approx(float(active[-1]), abs=1e-3)
    assert found.smallest == pytest.approx(float(active[0]), abs=1e-3)


def test_published_parameters_are_what_they_were() -> None:
    """Uniform from a stream that seed and name give, written out here: every published run starts from them."""
    engine = ep.compile("examples/digits.yaml", seed=3)
    graph = engine.graph
    scales = {f"edges.{e.name}.weight": e.weight_scale for e in graph.edges.values()}
    scales |= {f"states.{s.name}.bias": s.bias_scale for s in graph.states.values()}
    for name, value in engine.state_dict().items():
        generator = torch.Generator()
        generator.manual_seed(int.from_bytes(hashlib.sha256(f"3:{name}".encode()).digest()[:7], "little"))
        drawn = (torch.rand(value.shape, dtype=torch.float64, generator=generator) * 2 - 1) * scales[name]
        assert torch.equal(value, drawn.float())


def test_the_rule_is_deterministic_by_seed_and_by_parameter() -> None:
    one, same, other = compiled(CHAIN, 1), compiled(CHAIN, 1), compiled(CHAIN, 2)
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
        assert not torch.equal(value, other.state_dict()[name])


@pytest.mark.parametrize("seed", [seed for seed, _ in networks(10)])
def test_random_topologies_settle_and_let_the_signal_through(seed: int) -> None:
    """The norm is the one aimed at, active units stay below 1, and every state moves with the input."""
    found = surveyed(seed)
    assert found.norm == pytest.approx(0.95, rel=0.03)
    assert found.largest < 1.0
    assert found.residual < 1e-3
    assert found.settling is not None
    strongest = max(found.signal.values())
    assert all(value > 1e-3 * strongest for value in found.signal.values())


def test_nearly_all_states_of_random_topologies_are_inside_their_box() -> None:
    """A bias is one number a channel: where edges reach its pixels very unevenly, it cannot suit them all.

    On 44 networks 2 states had at most a fifth of their units active.
    """
    active = [value for seed, _ in networks(10) for value in surveyed(seed).active.values()]
    assert len(active) > 50
    assert sum(value > 0.2 for value in active) >= 0.95 * len(active)


@pytest.mark.parametrize(
    ("kind", "rank"),
    [
        ({"dense": {"rank": 3}}, 3),
        ({"conv": {"kernel": 1, "groups": 2}}, 4 * 36),
        ({"conv": {"kernel": 1, "groups": "depthwise"}}, 4 * 36),
        ({"lateral": {}}, 4 * 36),
        ({"conv_transpose": {"kernel": 1}}, 4 * 36),
    ],
)
def test_every_kind_is_drawn_as_an_isometry(kind: dict[str, Any], rank: int) -> None:
    """All singular values that there are are equal: in each group, and in both factors of a low rank."""
    content = {
        "epgraph": 2,
        "input": {"shape": [5]},
        "output": {"classes": 3},
        "states": {"a": {"shape": [4, 6, 6]}, "b": {"shape": [4, 6, 6]}},
        "edges": [
            {"from": "x", "to": "a", "dense": {}},
            {"from": "a", "to": "b", **kind},
            {"from": "b", "to": "y", "dense": {}},
        ],
    }
    engine = compiled(content)
    edge = engine.graph.edges["a_b"]
    eye = torch.eye(144).view(144, 4, 6, 6)
    with torch.no_grad():
        matrix = edge.kind.forward(engine.weight(edge), eye, (4, 6, 6)).flatten(1)
    values = torch.linalg.svdvals(matrix)
    assert torch.allclose(values[:rank], values[0].expand(rank), rtol=1e-4)
    assert not values[rank:].gt(1e-5 * values[0]).any()


def test_another_norm_can_be_asked_for() -> None:
    x = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    weak, strong = (survey(compiled(CHAIN, norm=norm), x) for norm in (0.6, 0.9))
    assert weak.norm == pytest.approx(0.6, rel=0.01)
    assert strong.norm == pytest.approx(0.9, rel=0.01)
    assert weak.signal["y"] < 0.1 * strong.signal["y"]


def test_gains_say_how_the_edges_of_a_state_share() -> None:
    """Twice the gain of a parallel edge is four times the norm; all gains times two is the same network."""
    content = {
        **CHAIN,
        "edges": [*CHAIN["edges"], {"from": "h1", "to": "h2", "dense": {}, "name": "more", "gain": 1.0}],
    }
    weights = {name: p for name, p in compiled(content).named_parameters() if name.endswith("weight")}
    norms = {name: float(torch.linalg.matrix_norm(p.detach(), 2)) for name, p in weights.items()}
    assert norms["edges.more.weight"] == pytest.approx(4 * norms["edges.h1_h2.weight"], rel=1e-2)
    content = {**CHAIN, "defaults": {"gain": 1.0}}
    for one, other in zip(compiled(content).parameters(), compiled(CHAIN).parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_identity_edges_are_left_as_they_are() -> None:
    """What is left of the norm goes to the weights, as far as there is something left."""
    edges = [*CHAIN["edges"], {"from": "h2", "to": "h4", "identity": {"scale": 0.3}}]
    x = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert survey(compiled({**CHAIN, "edges": edges}), x).norm == pytest.approx(0.95, rel=0.02)
    edges[-1] = {"from": "h2", "to": "h4", "identity": {}}
    assert survey(compiled({**CHAIN, "edges": edges}), x).norm >= 1.0


def digits() -> Any:
    return load_data("digits", shape=(1, 8, 8), classes=10)


def test_a_dead_network_comes_alive() -> None:
    """At the published gains an input moves the output by next to nothing; on the data it then does."""
    dataset = digits().train
    x = torch.stack([dataset[i][0] for i in range(64)])
    content = {**CHAIN, "edges": [{**edge, "gain": 0.6} for edge in CHAIN["edges"]]}
    dead = survey(ep.compile(ep.Architecture.model_validate(content)), x)
    engine = compiled(CHAIN)
    initialise(engine, dataset)
    alive = survey(engine, x)
    assert dead.signal["y"] < 1e-4
    assert alive.signal["y"] > 0.05
    assert alive.residual < 1e-3
    assert alive.largest < 1.0


@pytest.mark.slow
def test_a_network_at_chance_learns() -> None:
    """The chain of nine states: ten epochs leave it at chance from the published gains."""
    data = digits()
    (x, y), (tested, labels) = (
        (torch.stack([d[i][0] for i in range(len(d))]), torch.tensor([d[i][1] for i in range(len(d))]))
        for d in (data.train, data.test)
    )
    accuracy = {}
    for rule in ("published", "graph_aware"):
        engine = ep.compile(ep.Architecture.model_validate({**CHAIN, "init": {"rule": rule}}))
        initialise(engine, data.train)
        optimizer = torch.optim.SGD(engine.parameters(), lr=0.01, momentum=0.9, nesterov=True)
        generator = torch.Generator().manual_seed(0)
        for _ in range(10):
            for rows in torch.randperm(len(x), generator=generator).split(32):
                optimizer.zero_grad()
                engine.backward(x[rows], y[rows], keep=False)
                torch.nn.utils.clip_grad_norm_(engine.parameters(), 1.0)
                optimizer.step()
        accuracy[rule] = float((engine(tested).argmax(1) == labels).double().mean())
    assert accuracy["published"] < 0.2
    assert accuracy["graph_aware"] > 0.7


def test_training_measures_on_the_data_and_repeats(tmp_path: Path) -> None:
    from epgraph.cli import run
    from epgraph.training import load_checkpoint

    path = tmp_path / "net.yaml"
    text = Path("examples/digits.yaml").read_text().replace("dynamics:", "init: {rule: graph_aware}\ndynamics:")
    path.write_text(text)
    models = []
    for number in range(2):
        out = tmp_path / str(number)
        options = ["--data", "digits", "--limit", "64", "--epochs", "1", "--out", str(out)]
        assert run(["train", str(path), "--no-pictures", *options]) == 0
        models.append(load_checkpoint(out)["model"])
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    noise = ep.compile(text, seed=0).state_dict()
    assert not any(torch.allclose(noise[name], value) for name, value in models[0].items() if name.endswith("bias"))


def test_a_rule_may_be_given_by_its_name_alone() -> None:
    network = {
        "epgraph": 2,
        "input": {"shape": [4]},
        "output": {"classes": 2},
        "edges": [{"from": "x", "to": "y", "dense": {}}],
    }
    short, long = (
        ep.Architecture.model_validate({**network, "init": init}) for init in ("graph_aware", {"rule": "graph_aware"})
    )
    assert short == long
    assert short.init.rule == "graph_aware"
