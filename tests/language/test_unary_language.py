"""``at``, ``tie`` and ``frozen`` in the language: spellings, messages, round trips, reports and diagrams."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

import epgraph as ep
from epgraph.cli import run
from epgraph.drawing.diagram import dot
from epgraph.graph import SCHEDULES, inspect, make_schedule
from epgraph.language.dump import to_yaml
from epgraph.language.schema import json_schema
from epgraph.lowering import lower, report

GOOD = """\
epgraph: 2
input:  {name: x, shape: [3, 8, 8]}
output: {name: y, classes: 10}
states:
  h1: {channels: 8}
  h2: {channels: 8}
  h3: {shape: [8]}
edges:
  - {from: x,  to: h1, conv: {kernel: 3, padding: 1}}
  - {from: h1, to: h2, conv: {kernel: 3, padding: 1}, name: up}
  - {from: h2, to: h3, dense: {}}
  - {from: h3, to: y,  dense: {}}
  - {at: h1, self: {kernel: 3}}
  - {at: h3, memory: {patterns: 16, sharpness: 2.0}}
  - {at: h2, self: {kernel: 3}, tie: h1_self}
  - {from: h1, to: h2, conv: {kernel: 3, padding: 1}, tie: up, frozen: true}
dynamics: {schedule: coloring}
"""
GOOD = GOOD.replace("name: up}", "name: up, frozen: true}")

# name → (what replaces what, the messages it gives, without the name of the file)
CASES: dict[str, tuple[str, str, list[str]]] = {
    "both spellings": (
        "{at: h1, self",
        "{at: h1, to: h2, self",
        [
            "13:5: an edge has 'at', or 'from' and 'to', found 'at' and 'to'; "
            "'at' for kinds that act on one state, 'from' and 'to' for all others"
        ],
    ),
    "no end": ("{at: h3, ", "{", ["14:5: missing key 'at'; 'memory' acts on one state: e.g. {at: h1, memory: …}"]),
    "no end of a conv": ("from: h2, to: h3, ", "", ["11:5: missing key 'from'; an edge needs both ends: from and to"]),
    "a kind of one state between two": (
        "{at: h1, self",
        "{from: h1, to: h2, self",
        ["13:5: 'self' acts on one state, found 'from' and 'to'; write at: h1 or at: h2 in place of from and to"],
    ),
    "a kind of two states at one": (
        "{at: h1, self: {kernel: 3}",
        "{at: h1, dense: {}",
        ["13:5: 'dense' joins two states, found 'at'; write from and to in its place, or use 'self' or 'memory'"],
    ),
    "no such state": ("{at: h1,", "{at: h4,", ["13:10: 'at' names no state: 'h4'; known: x, h1, h2, h3, y"]),
    "at the input": (
        "{at: h1,",
        "{at: x,",
        ["13:10: 'self' acts on the input 'x', which is clamped and does not move; put it on another state"],
    ),
    "even kernel": (
        "{at: h1, self: {kernel: 3}",
        "{at: h1, self: {kernel: 4}",
        [
            "13:29: 'kernel' of a state's interaction with itself must be odd, found 4; "
            "kernel: 5 keeps the shape, and has a middle"
        ],
    ),
    "a kernel without pixels": (
        "{at: h3, memory: {patterns: 16, sharpness: 2.0}",
        "{at: h3, self: {kernel: 3}",
        [
            "14:20: shape mismatch: self at h3 has a kernel and needs channels×height×width, but the state is 8; "
            "leave 'kernel' out for a weight between every two units"
        ],
    ),
    "pixels of a vector": (
        "sharpness: 2.0",
        "per_pixel: true",
        [
            "14:22: shape mismatch: memory at h3 per pixel needs channels×height×width, but the state is 8; "
            "leave 'per_pixel' out"
        ],
    ),
    "tied to nothing": (
        "tie: h1_self",
        "tie: h1_selv",
        ["15:38: 'tie' names no edge: 'h1_selv'; did you mean 'h1_self'?"],
    ),
    "tied to another kind": (
        "tie: h1_self",
        "tie: up",
        [
            "15:38: edge 'h2_self' cannot be tied to 'up': one has the kind self, the other conv; "
            "make both conv, or leave 'tie' out"
        ],
    ),
    "tied to another shape": (
        "{from: h1, to: h2, conv: {kernel: 3, padding: 1}, tie: up, frozen: true}",
        "{from: h1, to: h2, conv: {kernel: 5, padding: 2}, tie: up}",
        [
            "16:60: edge 'h1_h2' cannot be tied to 'up': their weights are 8×8×5×5 and 8×8×3×3; "
            "give both edges states of equal channels and kernels of equal size, or leave 'tie' out"
        ],
    ),
    "tied in a circle": (
        "{at: h1, self: {kernel: 3}}",
        "{at: h1, self: {kernel: 3}, tie: h2_self}",
        ["13:38: edges are tied in a circle: 'h1_self' → 'h2_self' → 'h1_self'; leave 'tie' out of one of them"],
    ),
    "frozen where it is tied": (
        "name: up, frozen: true}",
        "name: up}",
        ["16:72: edge 'h1_h2' is frozen, and 'up', whose weight it shares, is not; write frozen: true at 'up'"],
    ),
    "over-relaxed": (
        "schedule: coloring",
        "schedule: coloring, over_relaxation: 1.5",
        [
            "17:49: over_relaxation 1.5 cannot be used: Φ is not linear in 'h1' (edge 'h1_self', self 3×3): a step "
            "beyond may raise F; use a solver that mixes states, such as 'solver: anderson', or leave it out"
        ],
    ),
    "rounded states": (
        "schedule: coloring",
        "schedule: coloring, state_bits: 4",
        [
            "17:44: state_bits cannot be used with the damped updates that edge 'h1_self' needs: they would be rounded "
            "back; set damping: null, which no longer descends, or leave the edge out"
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_message(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, expected = CASES[name]
    assert GOOD.count(old) == 1, old
    path = tmp_path / "net.yaml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    code = run(["check", str(path)])
    _, err = capsys.readouterr()
    assert err.splitlines()[: len(expected)] == [f"{path}:{line}" for line in expected]
    assert code == 1


def test_one_unit_needs_its_diagonal() -> None:
    text = GOOD.replace("{at: h3, memory: {patterns: 16, sharpness: 2.0}}", "{at: y, self: {}}")
    with pytest.raises(ep.EpgraphError, match="has one unit to act on, and zero_diagonal leaves nothing"):
        ep.load(text.replace("classes: 10", "classes: 1"))
    ep.load(text.replace("classes: 10", "classes: 1").replace("self: {}", "self: {zero_diagonal: false}"))


def test_a_readout_has_no_terms_of_its_own() -> None:
    text = GOOD.replace("classes: 10", "classes: 10, cost: softmax_readout").replace("{at: h3,", "{at: y,")
    with pytest.raises(ep.EpgraphError, match="but with softmax_readout the output has no dynamics"):
        ep.load(text)


def test_memories_are_refused_complex_states() -> None:
    smooth = "defaults: {activation: tanh}\nlearning: {estimator: holomorphic}\n"
    with pytest.raises(ep.EpgraphError, match=r"'h3_memory' \(memory 16, sharpness 2\) has a potential that is not"):
        ep.compile(GOOD + smooth)
    ep.compile(GOOD.replace("  - {at: h3, memory: {patterns: 16, sharpness: 2.0}}\n", "") + smooth)


def test_options_of_an_edge_that_is_tied_are_warned_of() -> None:
    _, found = inspect(GOOD.replace("tie: up,", "tie: up, gain: 0.3,"))
    (warning,) = [d for d in found if d.severity == "warning"]
    assert str(warning).endswith("'gain' of edge 'h1_h2' has no effect: its weight is that of 'up'; write it at 'up'")


def test_freezing_what_has_no_weight_is_warned_of() -> None:
    _, found = inspect(GOOD.replace("dynamics:", "  - {from: h1, to: h2, identity: {}, frozen: true}\ndynamics:"))
    assert [d.message for d in found] == ["'frozen' of edge 'h1_h2_2' has no effect: identity has no weight"]


def test_ties_of_a_file_with_other_mistakes_are_not_reported_as_missing() -> None:
    _, found = inspect(GOOD.replace("self: {kernel: 3}}", "self: {kernel: [3]}}", 1))
    assert [d.message for d in found if "tie" in d.message] == []


def test_round_trips() -> None:
    architecture = ep.load(GOOD)
    again = ep.load(to_yaml(architecture))
    assert again == architecture
    assert architecture.to_dict()["edges"][4] == {"at": "h1", "self": {"kernel": 3}}
    assert [edge.name for edge in ep.build(again).edges.values()][4:] == ["h1_self", "h3_memory", "h2_self", "h1_h2"]


@pytest.mark.parametrize(
    ("edge", "valid"),
    [
        ({"at": "h1", "self": {}}, True),
        ({"from": "h1", "to": "h2", "dense": {}}, True),
        ({"at": "h1", "from": "h2", "self": {}}, False),
        ({"at": "h1", "from": "h2", "to": "h3", "self": {}}, False),
        ({"from": "h2", "dense": {}}, False),
        ({"dense": {}}, False),
    ],
)
def test_the_schema_knows_both_spellings(edge: dict[str, object], valid: bool) -> None:
    import jsonschema

    data = yaml.safe_load(GOOD)
    data["edges"].append(edge)
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(data) is valid


def test_a_state_does_not_conflict_with_itself() -> None:
    graph = ep.build(ep.load(GOOD))
    for name in SCHEDULES:
        assert all(not edge.unary for edge in make_schedule(graph, name).conflicts)
    assert make_schedule(graph, "coloring").proper
    assert [edge.name for edge in graph.unary_edges("h1")] == ["h1_self"]
    assert "h1_self" not in {edge.name for edge in (*graph.pre("h1"), *graph.post("h1"))}


def test_the_report_has_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(GOOD, encoding="utf-8")
    found = report(lower(ep.build(ep.load(GOOD)), "coloring"))
    edges = {edge["name"]: edge for edge in found["edges"]}
    assert (edges["h1_self"]["from"], edges["h1_self"]["to"]) == ("h1", "h1")
    assert edges["h2_self"]["tied_to"] == "h1_self"
    assert "tied_to" not in edges["h1_self"]
    assert edges["up"]["frozen"] is True
    assert found["frozen"] == 8 * 8 * 9
    assert found["states"][1]["pre"] == ["x"]
    # Twice the products with the patterns, once those of a convolution.
    assert (edges["h3_memory"]["macs"], edges["h1_self"]["macs"]) == (2 * 16 * 8, 8 * 8 * 9 * 64)
    assert run(["check", str(path)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"h1_self +at h1 +self +8×8×3×3 +36,864", text)
    assert "8×8×3×3, that of h1_self" in text
    assert ", and 576 frozen" in text
    assert run(["check", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["edges"] == found["edges"]


def test_diagrams_show_a_loop() -> None:
    text = dot(ep.load(GOOD))
    (loop,) = [line for line in text.splitlines() if line.strip().startswith("h1 -> h1")]
    assert "dir=none" in loop
    assert "self 3×3" in loop
    assert "weight of h1_self" in text
    assert "576, frozen" in text
