"""Energies that read edges forward: orders, co-parents, the moral graph, cycles, and what is refused by name."""

from __future__ import annotations

import json
from itertools import combinations, pairwise
from typing import Any

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import epgraph as ep
from epgraph.activations import NAMED, Activation
from epgraph.energies import ENERGIES, Predictive
from epgraph.energies.directed import co_parents
from epgraph.graph import SCHEDULES, NetworkGraph, build, inspect, make_schedule
from epgraph.graph.guarantees import guaranteed
from epgraph.language import to_yaml

Pairs = list[tuple[int, int]]


def text(count: int, edges: Pairs, order: list[int] | None = None, more: str = "") -> str:
    """A network of states s0, s1, … that are declared in an order; −1 is the input, ``count`` the output."""
    name = {-1: "x", count: "y"}
    states = ", ".join(f"s{i}: {{shape: [3]}}" for i in order or range(count))
    lines = "".join(
        f"  - {{from: {name.get(i, f's{i}')}, to: {name.get(j, f's{j}')}, dense: {{}}}}\n" for i, j in edges
    )
    return (
        f"epgraph: 2\nenergy: predictive\ninput: {{shape: [2]}}\noutput: {{classes: 2}}\n"
        f"defaults: {{activation: tanh}}\nstates: {{{states}}}\nedges:\n{lines}{more}"
    )


@st.composite
def wirings(draw: st.DrawFn) -> tuple[int, Pairs, list[int]]:
    """Acyclic: a path through all states, further edges forward, some parallel; states declared in any order."""
    count = draw(st.integers(2, 7))
    forward = [(i, j) for i in range(-1, count) for j in range(i + 1, count + 1)]
    path = [(i, i + 1) for i in range(-1, count)]
    return count, path + draw(st.lists(st.sampled_from(forward), max_size=8)), draw(st.permutations(range(count)))


def graph_of(source: str) -> NetworkGraph:
    return build(ep.load(source))


def reading(graph: NetworkGraph) -> set[frozenset[str]]:
    """Pairs of states that move of which one reads the other, from E itself: they meet in an error."""
    errors = [{name, *(e.source for e in graph.pre(name))} - {"x"} for name in graph.free]
    return {frozenset(pair) for meeting in errors for pair in combinations(meeting, 2)}


@settings(deadline=None, max_examples=60)
@given(wirings())
def test_states_move_apart_and_in_order(wiring: tuple[int, Pairs, list[int]]) -> None:
    graph = graph_of(text(*wiring))
    pairs = reading(graph)
    for name in SCHEDULES:
        schedule = make_schedule(graph, name)
        inside = {frozenset(p) for states in schedule.classes for p in combinations(states, 2)} & pairs
        told = {e.ends for e in schedule.conflicts} | {frozenset(p) for p in schedule.unjoined}
        assert told == inside
        assert schedule.proper == (not inside)
        assert {n for states in schedule.classes for n in states} == set(graph.free)
    coloring = make_schedule(graph, "coloring")
    assert coloring.proper
    assert "y" in coloring.classes[0]
    (order, back, both) = (
        [n for (n,) in make_schedule(graph, name).classes] for name in ("sequential", "backward", "forward_backward")
    )
    place = {name: i for i, name in enumerate(order)}
    assert all(place[e.source] < place[e.target] for e in graph.edges.values() if e.source != "x")
    assert back == order[::-1]
    assert both == [*order, *back[1:]]


@settings(deadline=None, max_examples=60)
@given(wirings())
def test_co_parents_meet_in_an_error(wiring: tuple[int, Pairs, list[int]]) -> None:
    graph = graph_of(text(*wiring))
    names = list(graph.states)
    for name in names:
        others = {
            o for o in names for e in graph.post(name) if o != name and o in {p.source for p in graph.pre(e.target)}
        }
        assert co_parents(graph, name) == tuple(n for n in names if n in others)


@settings(deadline=None, max_examples=80)
@given(wirings(), st.data())
def test_a_cycle_is_refused_and_named(wiring: tuple[int, Pairs, list[int]], data: st.DataObject) -> None:
    count, edges, order = wiring
    backward = [(j, i) for i in range(count) for j in range(i + 1, count)]
    edges = edges + data.draw(st.lists(st.sampled_from(backward), max_size=4))
    cyclic = not nx.is_directed_acyclic_graph(nx.DiGraph(edges))
    _, found = inspect(text(count, edges, order))
    errors = [d for d in found if d.severity == "error"]
    assert bool(errors) == cyclic
    for error in errors:
        assert error.rule == "energy"
        assert error.line == 8 + error.at[1]  # type: ignore[operator]
        way = error.message.partition("the cycle ")[2].partition(",")[0].split(" → ")
        joined = {(f"s{i}", f"s{j}") for i, j in edges}
        assert way[0] == way[-1]
        assert len(way) == len(set(way)) + 1
        assert set(pairwise(way)) <= joined
        assert (f"s{edges[error.at[1]][0]}", f"s{edges[error.at[1]][1]}") == (way[-2], way[-1])  # type: ignore[index]


def test_a_cycle_of_a_hopfield_network_is_none() -> None:
    source = text(2, [(-1, 0), (0, 1), (1, 0), (1, 2)])
    assert not [d for d in inspect(source, ["energy=hopfield"])[1] if d.severity == "error"]


def test_a_long_cycle_is_shortened() -> None:
    count = 40
    source = text(count, [*((i, i + 1) for i in range(-1, count)), (count - 1, 0)])
    (error,) = (d for d in inspect(source)[1] if d.severity == "error")
    assert " → … → s0" in error.message
    assert len(error.message) < 250


class Quartic(Activation):
    """An activation without a derivative of its own."""

    @property
    def label(self) -> str:
        return "quartic"

    def apply_(self, x: Tensor, alpha: float | Tensor) -> Tensor:
        return x.copy_(torch.tanh(x**4))

    def self_energy(self, s: Tensor, alpha: float | Tensor) -> Tensor:
        return s


def test_an_activation_without_derivative_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NAMED, "quartic", Quartic())
    source = text(2, [(-1, 0), (0, 1), (1, 2)])
    (error,) = (d for d in inspect(source, ["states.s1.activation=quartic"])[1] if d.severity == "error")
    assert error.message == "energy predictive: the activation quartic of state 's1' declares no derivative σ′"
    assert error.line == 6
    assert not [d for d in inspect(source, ["states.s1.activation=relu6"])[1] if d.severity == "error"]


CHAIN = text(3, [(-1, 0), (0, 1), (1, 2), (2, 3)])


@pytest.mark.parametrize(
    ("overrides", "steps", "schedule"),
    [
        ((), 5, "backward"),
        (("dynamics.solver=error_sweeps",), 2, "backward"),
        (("dynamics.nudged_steps=50",), 50, "backward"),
        (("dynamics.solver=error_sweeps", "dynamics.nudged_steps=5", "dynamics.schedule=even_odd"), 5, "even_odd"),
        (("energy=hopfield",), 50, "even_odd"),
        (("energy=hopfield", "dynamics.nudged_steps=5"), 5, "even_odd"),
    ],
)
def test_defaults_follow_the_energy_and_the_solver(overrides: tuple[str, ...], steps: int, schedule: str) -> None:
    architecture = ep.load(CHAIN, overrides)
    written = {o.split(".")[-1].split("=")[0] for o in overrides if o.startswith("dynamics")}
    assert (architecture.dynamics.nudged_steps, architecture.dynamics.schedule) == (steps, schedule)
    assert architecture.dynamics.model_fields_set == written
    for complete in (False, True):
        copy = ep.load(to_yaml(architecture, complete=complete))
        assert copy == architecture
        assert copy.dynamics.nudged_steps == steps
    short = architecture.to_dict().get("dynamics", {})
    whole = architecture.to_dict(complete=True)["dynamics"]
    assert (whole["nudged_steps"], whole["schedule"]) == (steps, schedule)
    assert short.keys() <= written
    # A record of all settings is not warned of, but for what was written.
    idle = {d.at[1] for d in inspect(to_yaml(architecture, complete=True))[1] if d.rule == "no-effect"}
    assert idle <= written


def test_a_file_without_the_keys_changes_with_its_energy() -> None:
    file = to_yaml(ep.load(CHAIN))
    assert "dynamics" not in file
    assert ep.load(file, ["energy=hopfield"]).dynamics.nudged_steps == 50


def test_steps_written_in_python_are_kept() -> None:
    from epgraph.language.model import DynamicsSpec

    def steps(dynamics: Any) -> int:
        net = ep.Network(input=[4], classes=2, energy="predictive", dynamics=dynamics)
        net.dense(net.input, net.output)
        return net.build().dynamics.nudged_steps

    assert [steps(DynamicsSpec(nudged_steps=50)), steps({"nudged_steps": 50}), steps({})] == [50, 50, 5]


def said(schedule: str, *overrides: str) -> list[str]:
    graph = build(ep.load(CHAIN, overrides))
    return guaranteed(graph, make_schedule(graph, schedule))


def test_what_is_known_is_said() -> None:
    for schedule in SCHEDULES:
        free, nudged, rest, sweeps, gradient, _ = said(schedule)
        assert free.startswith("free phase: one forward pass")
        assert "may rise" in nudged
        assert "stationary" in rest
        assert sweeps.startswith(f"schedule {schedule}: ")
        assert ("diverged" in sweeps) == (schedule == "synchronous")
        assert gradient.startswith(
            "gradient: at rest backpropagation's of the feed-forward network, with an error of O(β²)"
        )
        assert "kinks" not in gradient
    assert "kinks of s0" in said("coloring", "defaults.activation=relu6")[4]
    assert said("even_odd", "dynamics.solver=error_sweeps")[3].startswith("error sweeps: ")


def test_check_has_the_moral_graph() -> None:
    source = text(3, [(-1, 0), (-1, 1), (0, 2), (1, 2), (2, 3)], [0, 2, 1])
    report = ep.check(source, schedule="even_odd").to_dict()
    assert report["energy"] == "predictive"
    assert {s["name"]: s["co_parents"] for s in report["states"]} == {
        "x": [],
        "s0": ["s1"],
        "s2": [],
        "s1": ["s0"],
        "y": [],
    }
    assert report["schedule"]["conflicts"] == [
        {"edge": "s2_y", "states": ["s2", "y"]},
        {"edge": None, "states": ["s0", "s1"], "child": "s2"},
    ]
    lines = ep.check(source, schedule="even_odd").lines()
    assert "energy      predictive" in lines
    assert any(line.strip() == "conflict: s0 and s1 move together but both lead into s2" for line in lines)
    hopfield = ep.check(source, overrides=["energy=hopfield"]).to_dict()
    assert hopfield["energy"] == "hopfield"
    assert "co_parents" not in json.dumps(hopfield)


def test_every_energy_says_what_its_updates_read() -> None:
    known = {"damping", "flow", "noise", "state_bits", "update"}
    assert all(energy.reads <= known for energy in ENERGIES.values())


@pytest.mark.parametrize("defaults", [{"nudged_step": 5}, {"nudged_steps": "five"}, {"schedule": "backwards"}])
def test_defaults_of_an_energy_are_checked(defaults: dict[str, Any]) -> None:
    energy = type("Own", (Predictive,), {"defaults": defaults})()
    with pytest.raises(ep.EpgraphError, match=f"'own' cannot be registered: its 'defaults' .*: {next(iter(defaults))}"):
        ep.register_energy("own", energy)
    assert "own" not in ENERGIES


def test_an_energy_of_ones_own_has_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    energy = type("Own", (Predictive,), {"defaults": {"nudged_steps": 7, "tolerance": 1e-4}})()
    monkeypatch.setitem(ENERGIES, "own", energy)
    dynamics = ep.load(CHAIN, ["energy=own"]).dynamics
    assert (dynamics.nudged_steps, dynamics.tolerance, dynamics.schedule) == (7, 1e-4, "even_odd")


def energies(graph: NetworkGraph, norm: float, beta: float, seed: int) -> list[float]:
    """F + βC before and after each update of ``coloring``: linear states, and one norm of all edges out of a state."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    size = {name: state.units for name, state in graph.states.items()}
    weights = {e.name: draw(size[e.target], size[e.source]) for e in graph.edges.values()}
    for name in graph.states:
        maps: dict[str, Tensor] = {}
        for e in graph.post(name):
            # Parallel edges add up.
            maps[e.target] = maps.get(e.target, 0) + weights[e.name]
        joint = torch.linalg.matrix_norm(torch.cat([*maps.values()]), 2) if maps else torch.ones(())
        weights |= {e.name: norm * weights[e.name] / joint for e in graph.post(name)}
    s, y = {name: draw(units) for name, units in size.items()}, draw(size["y"])

    def error(name: str) -> Tensor:
        return s[name] - sum(weights[e.name] @ s[e.source] for e in graph.pre(name))

    def total() -> float:
        nudge = 0.5 * beta * (s["y"] - y).square().sum()
        return float(sum(0.5 * error(name).square().sum() for name in graph.free) + nudge)

    found = [total()]
    for states in make_schedule(graph, "coloring").classes * 4:
        moved = {}
        for name in states:
            moved[name] = s[name] - error(name) - beta * (s[name] - y if name == "y" else 0)
            for e in graph.post(name):
                moved[name] = moved[name] + weights[e.name].T @ error(e.target)
        s |= moved
        found.append(total())
    return found


@settings(deadline=None, max_examples=40)
@given(wirings(), st.sampled_from((0.1, -0.1)), st.integers(0, 99))
def test_updates_descend_below_the_norm_that_check_names(
    wiring: tuple[int, Pairs, list[int]], beta: float, seed: int
) -> None:
    values = energies(graph_of(text(*wiring)), 0.999, beta, seed)
    assert all(after <= before + 1e-12 for before, after in pairwise(values))


def test_updates_may_ascend_above_that_norm() -> None:
    graph = graph_of(CHAIN)
    assert any(after > before for before, after in pairwise(energies(graph, 1.5, 0.1, 0)))
