"""Random networks for energies that read edges in their direction: without a cycle, and otherwise as wild as can be.

``random_directed`` draws 2 to 7 states that move. Edges go from earlier to later states of a hidden order, which the
order of declaration may differ from. ``directed_coverage`` counts what occurred.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import networkx as nx
import torch
from hypothesis import strategies as st

import epgraph as ep
from epgraph.activations.relu import ReLU
from epgraph.graph import build, make_schedule
from epgraph.language import Architecture
from epgraph.testing.network import States
from epgraph.testing.predictive import PredictiveReference, Rule
from tests.helpers.case import Case, apart
from tests.helpers.topologies import Draft, coverage

SMOOTH = ("tanh", "logistic", "softclip", "identity", {"tanh": {"height": 2}}, {"softclip": {"alpha": 2}})
PROJECTIONS = ("relu6", "relu1", "relu2.5", "hard_sigmoid", {"relu": [0.5, 4.0]}, "identity")
EVERY = (*PROJECTIONS, *SMOOTH)
"""Activations of every kind."""

FEATURES = (
    *(f"moving states {n}" for n in range(2, 8)),
    *(f"cost {name}" for name in ("squared_error", "cross_entropy", "softmax_readout")),
    "closed form",
    "edge over a state",
    "parallel edges",
    "co-parents without an edge",
    "several edges from the input",
    "edge from the input to the output",
    "tied edge",
    "frozen edge",
    "learnt level",
    "drawn level",
    "declared out of order",
)
"""What ``directed_coverage`` counts beside the features of ``topologies``."""


class _Directed(Draft):
    """An architecture in the making whose edges all go forwards."""

    def join(self, earlier: str, later: str) -> None:
        options = self.kinds_between(earlier, later)
        names = list(options)
        kind, _ = self.rng.choice(options[self.rng.choice(names[1:] * 3 + names[:1])])
        self.add(earlier, later, kind)

    def promise(self) -> None:
        """Give every state a path to the output, and some an edge over others or one beside another."""
        for position, name in enumerate(self.hidden):
            if all(edge["from"] != name for edge in self.edges):
                self.join(name, self.rng.choice(self.free[position + 1 :]))
        far = [(a, b) for a, b in combinations(self.free, 2) if self.position(b) - self.position(a) > 1]
        if far and self.chance(0.6):
            self.join(*self.rng.choice(far))
        if self.chance(0.5):
            images = [edge for edge in self.edges if "conv" in edge or "skip" in edge]
            edge = self.rng.choice(images if images and self.chance(0.5) else self.edges)
            self.join(edge["from"], edge["to"])


def random_directed(
    rng: random.Random,
    *,
    activations: Sequence[object] = EVERY,
    pool_max: bool = True,
    costs: Sequence[str] = ("squared_error", "squared_error", "cross_entropy", "softmax_readout"),
    moving: tuple[int, int] = (2, 7),
    gain: tuple[float, float] = (0.2, 0.8),
    learnt: bool = False,
) -> dict[str, Any]:
    """Draw an architecture with ``energy: predictive``: plain values, as YAML would give.

    Parameters
    ----------
    activations
        What hidden states, and an output that is not the identity, choose from.
    pool_max
        Whether max pooling may occur.
    costs
        What the cost is chosen from.
    moving
        Bounds on the number of states that move.
    gain
        Bounds on the gain of an edge.
    learnt
        Whether levels α may be learnt.
    """
    cost = rng.choice(costs)
    readout = cost == "softmax_readout"
    draft = _Directed(rng, activations, pool_max, rng.randint(*moving) + readout, gain, 1)
    data = draft.finish() | {"energy": "predictive", "dynamics": {}}
    data["output"]["cost"] = cost
    _put_ties(data, rng)
    if readout:
        data["output"]["activation"] = "identity"
        for edge in data["edges"]:
            if edge["to"] == "y" and not any(kind in edge for kind in ("dense", "identity", "lateral")):
                raise AssertionError("an edge into a vector that a readout cannot have")
    elif cost == "squared_error" and "activation" not in data["output"] and rng.random() < 0.4:
        data["dynamics"]["output_step"] = "closed_form"
    if learnt:
        into = {edge["from"] for edge in data["edges"] if readout and edge["to"] == "y"}
        for name in data["states"]:
            if name not in into and rng.random() < 0.5:
                data["states"][name]["activation"] = {"relu": rng.choice([0.4, 1, 2]), "learn": True}
    if rng.random() < 0.4:
        names = list(data["states"])
        rng.shuffle(names)
        data["states"] = {name: data["states"][name] for name in names}
    return data


def _put_ties(data: dict[str, Any], rng: random.Random) -> None:
    """Freeze some weights, and tie some edges to others with weights of equal shapes."""
    graph = build(Architecture.model_validate(data))
    names, edges = list(graph.edges), data["edges"]
    weighted = [i for i, name in enumerate(names) if graph.edges[name].weight_shape]
    for i, j in combinations(weighted, 2):
        one, two = graph.edges[names[i]], graph.edges[names[j]]
        alike = type(one.kind) is type(two.kind) and one.weight_shape == two.weight_shape
        if alike and rng.random() < 0.4 and "tie" not in edges[j] and "tie" not in edges[i]:
            edges[j]["tie"] = names[i]
    if weighted and rng.random() < 0.2:
        i = rng.choice(weighted)
        edges.append({**edges[i], "tie": edges[i].get("tie", names[i]), "name": "twin"})
    owners = {edge["tie"] for edge in edges if "tie" in edge}
    for i in weighted:
        if "tie" not in edges[i] and names[i] not in owners and rng.random() < 0.15:
            edges[i]["frozen"] = True


def directed_architectures(**options: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Strategy of architectures; the options are those of ``random_directed``."""
    return st.randoms(use_true_random=False).map(lambda rng: random_directed(rng, **options))


def directed_coverage(data: dict[str, Any]) -> Counter[str]:
    """Count the features of an architecture, of ``topologies`` and of ``FEATURES`` here."""
    graph = build(Architecture.model_validate(data))
    count = coverage(data)
    between = [e for e in graph.edges.values() if e.target != graph.input.name]
    ends = [(e.source, e.target) for e in between]
    order = [graph.input.name, *graph.forward_order]
    place = {name: i for i, name in enumerate(order)}
    arrows: nx.DiGraph[str] = nx.DiGraph(ends)
    moral = nx.moral_graph(arrows)
    count[f"moving states {len(graph.dynamic)}"] = 1
    count["closed form"] = int(graph.architecture.dynamics.output_step == "closed_form")
    count["edge over a state"] = sum(place[b] - place[a] > 1 for a, b in ends)
    count["parallel edges"] = len(ends) - len(set(ends))
    count["co-parents without an edge"] = sum(not {(a, b), (b, a)} & set(ends) for a, b in moral.edges)
    count["several edges from the input"] = int(sum(a == graph.input.name for a, _ in ends) > 1)
    count["edge from the input to the output"] = ends.count((graph.input.name, graph.output.name))
    count["tied edge"] = sum(e.tied is not None for e in between)
    count["frozen edge"] = sum(e.frozen for e in between)
    levels = [s.activation for s in graph.states.values() if isinstance(s.activation, ReLU)]
    count["learnt level"] = sum(level.learnt for level in levels)
    count["drawn level"] = sum(level.random for level in levels)
    count["declared out of order"] = int(tuple(order[1:]) != graph.free)
    return +count


class DirectedCase(Case):
    """An architecture of the predictive energy, with random parameters, in the engine and in the oracle."""

    def predictive(self, engine: ep.Engine, rule: Rule | None = None) -> PredictiveReference:
        """Return the oracle with the parameters of an engine."""
        return PredictiveReference(self.graph, engine.state_dict(), rule)

    def classes(self, schedule: str) -> tuple[tuple[str, ...], ...]:
        """Classes of a schedule."""
        return make_schedule(self.graph, schedule).classes


def sensitive(run: Callable[[States], States], start: States) -> bool:
    """Whether noise in the 13th digit of where a run starts moves its end in the 10th.

    Then a sum lies at a kink, two pixels of a window tie, or the sweeps diverge fast: two correct computations, which
    round differently, may take different sides. Zeros stay zeros: those are exact in all computations.
    """
    end = run(start)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        noise = {n: torch.randn(s.shape, generator=generator, dtype=s.dtype) for n, s in start.items()}
        other = run({n: s + (1e-13 * s + 1e-16) * noise[n] for n, s in start.items()})
        # Not "more than": what has diverged to NaN differs, too.
        if not all(apart(other[n], value) <= 1e-10 for n, value in end.items()):
            return True
    return False
