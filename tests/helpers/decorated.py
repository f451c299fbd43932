"""Random architectures with terms of single states, tied and frozen weights put on top of what ``topologies`` draws."""

from __future__ import annotations

import copy
import random
from itertools import combinations
from typing import Any

from hypothesis import strategies as st

from epgraph.graph import NetworkGraph, build
from epgraph.language import Architecture
from tests.helpers.topologies import random_architecture


def decorated(
    data: dict[str, Any], rng: random.Random, *, freeze: bool = True, gain: tuple[float, float] = (0.2, 0.8)
) -> dict[str, Any]:
    """Return a copy of an architecture with at least one 'self', one 'memory' and one tie, and maybe frozen weights."""
    data = copy.deepcopy(data)
    graph = build(Architecture.model_validate(data))
    names = list(graph.edges)
    hidden = list(data["states"])
    places = [*hidden, *([] if graph.readout else ["y"])]
    edges = data["edges"]

    def put(name: str, kind: str, options: dict[str, Any]) -> None:
        edges.append({"at": name, kind: options, "gain": round(rng.uniform(*gain), 2), "name": f"own{len(edges)}"})

    for name in [rng.choice(places), *(name for name in places if rng.random() < 0.4)]:
        put(name, "self", quadratic(rng, graph.states[name].shape))
    for name in [rng.choice(places), *(name for name in places if rng.random() < 0.25)]:
        options = {"patterns": rng.randint(1, 5), "sharpness": round(rng.uniform(0.3, 3.0), 2)}
        pixels = len(graph.states[name].shape) == 3 and rng.random() < 0.5
        put(name, "memory", options | ({"per_pixel": True} if pixels else {}))
    # One more edge beside one with weights shares its weight, and edges that happen to have equal shapes may.
    weighted = [i for i, name in enumerate(names) if graph.edges[name].weight_shape]
    beside = rng.choice(weighted)
    twin = {**edges[beside], "tie": names[beside], "name": "twin"}
    edges.append(twin)
    for i, j in combinations(weighted, 2):
        one, two = graph.edges[names[i]], graph.edges[names[j]]
        alike = type(one.kind) is type(two.kind) and one.weight_shape == two.weight_shape
        if alike and rng.random() < 0.5 and "tie" not in edges[j]:
            edges[j]["tie"] = names[i]
    if freeze:
        for i, name in enumerate(names):
            if "tie" not in edges[i] and graph.edges[name].weight_shape and rng.random() < 0.2:
                edges[i]["frozen"] = True
    return data


def quadratic(rng: random.Random, shape: tuple[int, ...]) -> dict[str, Any]:
    """Options of a 'self' that a state of this shape can have."""
    kernel = rng.choice([1, 3, 5]) if len(shape) == 3 and rng.random() < 0.7 else None
    units = shape[0] if kernel == 1 else shape[0] * shape[-1] * shape[-2 if len(shape) == 3 else 0]
    options: dict[str, Any] = {} if kernel is None else {"kernel": kernel}
    return options | ({"zero_diagonal": False} if units == 1 or rng.random() < 0.3 else {})


def decorated_architectures(**options: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Strategy of decorated architectures; the options are those of ``random_architecture``."""
    return st.randoms(use_true_random=False).map(lambda rng: decorated(random_architecture(rng, **options), rng))


def decorated_graph(seed: int, **options: Any) -> NetworkGraph:
    """Build the decorated architecture that ``seed`` draws, nothing frozen."""
    rng = random.Random(seed)
    return build(Architecture.model_validate(decorated(random_architecture(rng, **options), rng, freeze=False)))
