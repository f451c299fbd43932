"""The graph: shapes, neighbors, schedules and their conflicts, the plan."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

import epgraph as ep
from epgraph.cli import run
from epgraph.graph import SCHEDULES, NetworkGraph, inspect, make_schedule
from epgraph.language import to_yaml
from epgraph.lowering import lower, verify

EXAMPLES = Path(__file__).parents[2] / "examples"


def graph(name: str) -> NetworkGraph:
    return ep.build(ep.load(EXAMPLES / f"{name}.yaml"))


def chain(length: int) -> ep.Architecture:
    """A chain of dense states with a skip over every third of them."""
    states = {f"h{i}": {"shape": [4]} for i in range(length)}
    names = ["x", *states, "y"]
    edges = [{"from": a, "to": b, "dense": {}} for a, b in pairwise(names)]
    edges += [{"from": f"h{i}", "to": f"h{i + 2}", "dense": {}} for i in range(0, length - 2, 3)]
    return ep.Architecture.model_validate(
        {
            "epgraph": 2,
            "input": {"shape": [4]},
            "output": {"classes": 2},
            "states": states,
            "edges": edges,
        }
    )


def test_hopfield_resnet13_is_the_published_network() -> None:
    net = graph("hopfield_resnet13")
    assert [s.shape for s in net.states.values()] == [
        (3, 32, 32), (128, 32, 32), (128, 16, 16), (256, 16, 16), (256, 8, 8),
        (512, 8, 8), (512, 4, 4), (512, 4, 4), (512, 2, 2), (10,),
    ]  # fmt: skip
    assert net.parameters() == 9_742_858
    assert sum(edge.weight_shape is not None for edge in net.edges.values()) == 13
    assert len(net.free) == 9
    gains = [round(e.weight_scale * (e.kind.fan_in(net.states[e.source].shape, net.states[e.target].shape)) ** 0.5, 6)
             for e in net.edges.values()]  # fmt: skip
    assert gains == [*(0.6, 0.7, 0.6) * 4, 0.8]
    fan_ins = [round(0.25 / s.bias_scale**2) for s in net.states.values() if s.bias_scale is not None]
    assert fan_ins == [27, 128 * 9, 128 * 9, 256 * 9, 256 * 9, 512 * 9, 512 * 9, 512 * 9, 512 * 9]


def test_vgg5_is_the_published_network() -> None:
    net = graph("vgg5")
    assert net.parameters() == 3_859_210
    assert [s.shape for s in net.states.values()][1:] == [
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (512, 2, 2),
        (10,),
    ]
    fan_ins = [round(0.25 / s.bias_scale**2) for s in net.states.values() if s.bias_scale is not None]
    assert fan_ins == [27, 128 * 9, 256 * 9, 512 * 9, 512 * 4]


def test_the_arithmetic_is_the_published_one() -> None:
    """MACs per sweep and image, with the clamped input cached (docs/references.md, note 8)."""
    for name, forward, sweep in (("hopfield_resnet13", 320.3, 633.4), ("vgg5", 192.3, 377.5)):
        net = graph(name)
        assert sum(e.macs for e in net.edges.values()) / 1e6 == pytest.approx(forward, abs=0.05)
        assert lower(net, "even_odd").macs_per_sweep() / 1e6 == pytest.approx(sweep, abs=0.1)


def test_neighbors() -> None:
    net = graph("hopfield_resnet13")
    assert [e.source for e in net.pre("h2b")] == ["h1b", "h2a"]
    assert [e.target for e in net.post("h2b")] == ["h3a", "h3b"]
    assert net.pre("x") == []


def test_even_odd_conflicts_are_the_three_skips_between_hidden_states() -> None:
    schedule = make_schedule(graph("hopfield_resnet13"), "even_odd")
    assert [(e.source, e.target) for e in schedule.conflicts] == [
        ("h1b", "h2b"),
        ("h2b", "h3b"),
        ("h3b", "h4b"),
    ]
    assert schedule.classes[0] == ("h1a", "h2a", "h3a", "h4a", "y")


def test_coloring_of_hopfield_resnet13() -> None:
    schedule = make_schedule(graph("hopfield_resnet13"), "coloring")
    assert schedule.proper
    assert schedule.classes == (("h1a", "h2a", "h3a", "h4a", "y"), ("h1b", "h3b"), ("h2b", "h4b"))


def test_a_chain_needs_two_colors() -> None:
    assert len(make_schedule(graph("vgg5"), "coloring").classes) == 2


def test_forward_backward_turns_at_both_ends() -> None:
    names = [c[0] for c in make_schedule(graph("vgg5"), "forward_backward").classes]
    assert names == ["h1", "h2", "h3", "h4", "y", "h4", "h3", "h2", "h1"]


def test_coloring_is_the_same_in_every_process() -> None:
    code = (
        "import epgraph as ep; from epgraph.graph import make_schedule;"
        "print(make_schedule(ep.build(ep.load('examples/hopfield_resnet13.yaml')), 'coloring').classes)"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            cwd=EXAMPLES.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_plans_hold_every_term_once(name: str) -> None:
    for example in EXAMPLES.glob("*.yaml"):
        plan = lower(ep.build(ep.load(example)), name)
        verify(plan)
        clamped = plan.graph.input.name
        assert all(clamped not in t.reads for c in plan.classes for u in c for t in u.terms)


def test_verify_catches_a_lost_term() -> None:
    plan = lower(graph("vgg5"), "even_odd")
    first = plan.classes[0][0]
    broken = dataclasses.replace(first, terms=first.terms[1:])
    classes = ((broken, *plan.classes[0][1:]), *plan.classes[1:])
    with pytest.raises(AssertionError, match="the sum of h1"):
        verify(dataclasses.replace(plan, classes=classes))
    with pytest.raises(AssertionError, match="has no update"):
        verify(dataclasses.replace(plan, classes=plan.classes[:1]))


def test_parallel_edges_get_names_of_their_own() -> None:
    text = """\
epgraph: 2
input: {shape: [2, 4, 4]}
output: {classes: 3}
states: {h: {channels: 2}}
edges:
  - {from: x, to: h, conv: {kernel: 3, padding: 1}}
  - {from: x, to: h, skip: {}}
  - {from: x, to: h, identity: {}}
  - {from: h, to: y, dense: {}, name: x_h}
"""
    assert list(ep.build(ep.load(text)).edges) == ["x_h_2", "x_h_3", "x_h_4", "x_h"]


def test_sizes_spread_against_an_edge_where_only_one_is_possible() -> None:
    text = """\
epgraph: 2
input: {shape: [2, 6, 6]}
output: {classes: 3}
states: {top: {channels: 4}, low: {shape: [4, 6, 6]}}
edges:
  - {from: x, to: low, dense: {}}
  - {from: top, to: low, conv: {kernel: 3, padding: 1}}
  - {from: top, to: y, dense: {}}
"""
    assert ep.build(ep.load(text)).states["top"].shape == (4, 6, 6)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda p: p.stem)
def test_dump_and_load_is_the_identity(example: Path) -> None:
    architecture = ep.load(example)
    assert ep.load(to_yaml(architecture)) == architecture


def test_dump_keeps_what_differs_from_the_defaults() -> None:
    text = """\
epgraph: 2
name: '1e-4'
input: {shape: [4]}
output: {classes: 2, bias: {gain: 0.1}}
defaults: {activation: {relu: [1, 10]}, bias: false}
states: {h: {shape: [3], activation: relu2.5}}
edges: [{from: x, to: h, dense: {}}, {from: h, to: y, dense: {}, learning_rate: 0}]
training: {clip_norm: null}
"""
    again = ep.load(to_yaml(ep.load(text)))
    assert again == ep.load(text)
    assert again.name == "1e-4"
    assert again.training.clip_norm is None


def test_an_architecture_has_one_graph() -> None:
    architecture = ep.load(EXAMPLES / "digits.yaml")
    built = ep.build(architecture)
    assert ep.build(architecture) is built
    assert ep.compile(architecture).graph is built


def test_a_copy_of_an_architecture_has_a_graph_of_its_own() -> None:
    architecture = ep.load(EXAMPLES / "digits.yaml")
    built = ep.build(architecture)
    renamed = architecture.model_copy(update={"name": "another"})
    copies = [renamed, copy.copy(architecture), copy.deepcopy(architecture), pickle.loads(pickle.dumps(architecture))]
    for other in copies:
        assert ep.build(other) is not built
        assert ep.build(other).architecture is other
    assert ep.build(renamed).graph.name == "another"
    assert ep.build(architecture) is built


def test_states_and_edges_changed_in_place_are_built_anew() -> None:
    architecture = chain(3)
    assert len(ep.build(architecture).edges) == 5
    del architecture.edges[-1]
    assert len(ep.build(architecture).edges) == 4
    architecture.states["alone"] = architecture.states["h0"]
    with pytest.raises(ep.EpgraphError, match="'alone' is unreachable"):
        ep.build(architecture)


def test_building_is_linear_in_edges() -> None:
    """10,000 states take about ten times as long as 1,000; a quadratic step would take a hundred times."""
    seconds = []
    for length in (1_000, 10_000):
        architecture = chain(length)
        started = time.process_time()
        plan = lower(ep.build(architecture), "coloring")
        seconds.append(time.process_time() - started)
        assert plan.schedule.proper
    assert seconds[1] < 40 * seconds[0]


def test_check_json_is_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(EXAMPLES / "hopfield_resnet13.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "Hopfield-ResNet13"
    assert sum(edge["weight_shape"] is not None for edge in found["edges"]) == 13
    assert sum(not state["clamped"] for state in found["states"]) == 9
    assert len(found["schedule"]["conflicts"]) == 3
    assert found["schedule"]["proper"] is False
    assert found["parameters"] == 9_742_858
    assert set(found["states"][1]) == {"name", "shape", "activation", "clamped", "pre", "post", "color"}
    assert set(found["edges"][0]) == {"name", "from", "to", "kind", "weight_shape", "macs"}
    assert run(["check", str(EXAMPLES / "hopfield_resnet13.yaml"), "--json", "--schedule", "coloring"]) == 0
    schedule = json.loads(capsys.readouterr().out)["schedule"]
    assert (len(schedule["classes"]), schedule["conflicts"], schedule["proper"]) == (3, [], True)


def test_check_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(EXAMPLES / "hopfield_resnet13.yaml")]) == 0
    out = capsys.readouterr().out
    assert "not a proper coloring" in out
    assert out.count("conflict: ") == 3
    assert "9,742,858" in out


# One mistake, one message


def messages(data: dict[str, Any]) -> list[str]:
    """Mistakes of a network that is written as plain values."""
    return [str(d) for d in inspect(yaml.safe_dump(data, sort_keys=False))[1] if d.severity == "error"]


@pytest.mark.parametrize("energy", ["hopfield", "predictive"])
@pytest.mark.parametrize("name", ["u12", "vgg5", "digits"])
def test_a_missing_edge_is_one_mistake(name: str, energy: str) -> None:
    """Whatever edge is missing: what is behind it has neither a shape nor a path, and is not reported."""
    data = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    data["energy"] = energy
    data.pop("sweep", None)
    assert messages(data) == []
    for number, edge in enumerate(data["edges"]):
        found = messages({**data, "edges": data["edges"][:number] + data["edges"][number + 1 :]})
        assert len(found) <= 1, found
        if edge["from"] == "x":
            assert f"state '{edge['to']}' is unreachable" in found[0]
            assert f", nor the {len(data['states']) - 1} states joined to it; add an edge" in found[0]


WHOLE: dict[str, Any] = {
    "epgraph": 2,
    "input": {"shape": [1, 8, 8]},
    "output": {"classes": 2},
    "states": {"a": {"channels": 2}, "b": {"channels": 2}},
    "edges": [
        {"from": "x", "to": "a", "conv": {"kernel": 3, "padding": 1}},
        {"from": "a", "to": "b", "conv": {"kernel": 3, "padding": 1}},
        {"from": "b", "to": "y", "dense": {}},
    ],
}


def test_independent_mistakes_are_all_reported() -> None:
    more = {"c": {"channels": 2}, "d": {"channels": 2}, "e": {"channels": 2}, "f": {}}
    conv = {"conv": {"kernel": 3, "padding": 1}}
    edges = [
        {"from": "c", "to": "d", **conv},  # two states apart from the rest
        {"from": "a", "to": "e", "dense": {}},  # a state whose height and width nothing fixes
        {"from": "e", "to": "y", "dense": {}},
        {"from": "e", "to": "f", **conv},  # and one that also lacks its channels
        {"from": "f", "to": "y", "dense": {}},
    ]
    found = messages({**WHOLE, "states": WHOLE["states"] | more, "edges": WHOLE["edges"] + edges})
    assert [message.split(": ", 1)[1].split(";")[0] for message in found] == [
        "the height and width of state 'e' do not follow from its edges",
        "the shape of state 'f' is not known",
        "state 'c' is unreachable: no path of edges joins it to the input 'x', nor the state joined to it",
    ]


def test_what_no_supposed_shape_reaches_is_a_mistake_of_its_own() -> None:
    """A dense edge fixes no height and width, so the state behind it needs a shape too."""
    edges = [{"from": "x", "to": "a", "dense": {}}, {"from": "a", "to": "b", "dense": {}}, WHOLE["edges"][2]]
    assert len(messages({**WHOLE, "edges": edges})) == 2
    assert len(messages({**WHOLE, "edges": [edges[0], *WHOLE["edges"][1:]]})) == 1


def test_a_missing_state_is_one_mistake_and_a_slip_one_each() -> None:
    edges = [*WHOLE["edges"], {"from": "x", "to": "b", "skip": {}}]
    found = messages({**WHOLE, "states": {"a": {"channels": 2}}, "edges": edges})
    assert len(found) == 1
    assert found[0].endswith(
        "'to' names no state: 'b'; known: x, a, y; 2 more ends of edges name 'b': if the state is missing, add it to "
        "'states'"
    )
    slips = [{**edge, "from": "bb"} if edge["from"] == "b" else edge for edge in edges]
    assert len(messages({**WHOLE, "edges": [*slips, {"from": "bb", "to": "y", "dense": {}}]})) == 2


def test_units_are_the_shape_of_a_state() -> None:
    (found,) = messages({**WHOLE, "states": WHOLE["states"] | {"a": {"channels": 2, "units": 128}}})
    assert found.endswith(
        "unknown key 'units'; write shape: [128] for 128 units, or channels: 128 for 128 maps with height and width"
    )
