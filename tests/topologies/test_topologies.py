"""The generator of random architectures keeps its promises."""

import random
from collections import Counter

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings

from epgraph.graph import build, load
from epgraph.graph.assemble import examine
from epgraph.language import Architecture
from tests.helpers.topologies import (
    ALWAYS,
    FEATURES,
    SMOOTH,
    architectures,
    coverage,
    coverage_table,
    random_architecture,
    random_batch,
    random_graph,
    random_parameters,
)

POPULATION = 100


@pytest.fixture(scope="module")
def population():
    return [random_architecture(random.Random(seed)) for seed in range(POPULATION)]


@pytest.mark.parametrize("seed", range(POPULATION))
def test_every_topology_is_small_and_irregular(population, seed):
    architecture = population[seed]
    graph, diagnostics = examine(Architecture.model_validate(architecture))
    assert graph is not None
    assert all("leaves the output" in d.message for d in diagnostics)
    assert 5 <= len(graph.free) <= 8
    assert max(max(state.shape[1:], default=1) for state in graph.states.values()) <= 9
    counted = coverage(architecture)
    assert all(counted[feature] for feature in ALWAYS)
    assert set(counted) <= set(FEATURES)


def test_every_feature_occurs(population):
    total = sum((coverage(architecture) for architecture in population), Counter())
    assert [feature for feature in FEATURES if not total[feature]] == [], coverage_table(total, POPULATION)


def test_a_seed_draws_one_architecture(population):
    assert random_architecture(random.Random(7)) == population[7]


def test_an_architecture_survives_yaml(population):
    for architecture in population[:10]:
        assert load(yaml.safe_dump(architecture)).to_dict() == Architecture.model_validate(architecture).to_dict()


def test_smooth_architectures_have_no_kinks():
    for seed in range(20):
        graph = random_graph(seed, smooth=True)
        assert all(state.activation.smooth for state in graph.states.values())
        assert all(edge.kind.is_linear for edge in graph.edges.values())


def test_options_restrict_what_is_drawn():
    for seed in range(20):
        graph = random_graph(seed, activations=["tanh"], pool_max=False, min_states=6, max_states=7, gain=(0.1, 0.1))
        assert {graph.states[name].activation.label for name in graph.free[:-1]} == {"tanh"}
        assert all(edge.kind.is_linear for edge in graph.edges.values())
        assert 6 <= len(graph.free) <= 7
        for edge in graph.edges.values():
            assert edge.gain == 0.1


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(architectures(smooth=True))
def test_the_strategy_draws_valid_architectures(architecture):
    graph = build(Architecture.model_validate(architecture))
    assert {state.activation.label for state in graph.states.values()} <= set(SMOOTH)
    assert all(coverage(architecture)[feature] for feature in ALWAYS)


def test_coverage_counts():
    architecture = {
        "epgraph": 2,
        "input": {"shape": [1, 5, 5]},
        "output": {"classes": 2, "cost": "cross_entropy", "bias": False},
        "defaults": {"activation": "tanh"},
        "states": {"a": {"channels": 2}, "b": {"channels": 2}, "c": {"shape": [4], "activation": "relu6"}},
        "edges": [
            {"from": "x", "to": "a", "conv": {"kernel": 2, "stride": 2, "pool": None}},
            {"from": "a", "to": "b", "conv": {"kernel": 3, "padding": 1}},
            {"from": "b", "to": "a", "skip": {}},
            {"from": "b", "to": "c", "dense": {}},
            {"from": "c", "to": "a", "dense": {}},
            {"from": "c", "to": "y", "dense": {}},
        ],
    }
    assert coverage(architecture) == {
        "kind conv": 2,
        "kind skip": 1,
        "kind dense": 3,
        "conv kernel 2": 1,
        "conv kernel 3": 1,
        "conv stride 1": 1,
        "conv stride 2": 1,
        "conv padding 0": 1,
        "conv padding 1": 1,
        "conv pool None": 2,
        "conv rows left over by stride": 1,
        "skip stride 1": 1,
        "dense image→vector": 1,
        "dense vector→image": 1,
        "dense vector→vector": 1,
        "dense hidden→hidden": 2,
        "dense hidden→output": 1,
        "side odd": 2,
        "side even": 4,
        "activation tanh": 2,
        "activation relu6": 1,
        "activations mixed": 1,
        "cost cross_entropy": 1,
        "state without bias": 1,
        "backward edge": 2,
        "skip edge": 1,
        "cycle": 1,
        "directed cycle": 1,
        "parallel edges": 1,
        "parallel convolutions": 1,
        "free states 4": 1,
    }


def test_parameters_and_data_fit_the_graph():
    graph = random_graph(3, activations=[{"relu": [0.5, 4.0]}])
    parameters = random_parameters(graph, torch.Generator().manual_seed(0), scale=2.0)
    for edge in graph.edges.values():
        if edge.weight_shape is not None:
            weight = parameters.pop(f"edges.{edge.name}.weight")
            assert weight.shape == edge.weight_shape
            assert weight.abs().max() <= 2 * edge.weight_scale
    for name in graph.free:
        state = graph.states[name]
        if state.bias_shape is not None:
            bias = parameters.pop(f"states.{name}.bias")
            assert bias.shape == state.bias_shape
            assert bias.abs().max() <= state.bias_scale
    assert parameters
    assert all(name.endswith(".alpha") and 0.5 <= float(a) <= 4 for name, a in parameters.items())
    x, y = random_batch(graph, torch.Generator().manual_seed(0), batch=3)
    assert x.shape == (3, *graph.input.shape)
    assert y.shape == (3, graph.output.units)
    assert x.dtype == y.dtype == torch.float64
    assert torch.equal(y.sum(1), torch.ones(3, dtype=torch.float64))
