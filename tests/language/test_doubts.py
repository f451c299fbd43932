"""What is not doubtful: warnings that must not be given, and hints that must not go where they cannot be followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from epgraph.cli import run
from epgraph.errors import Diagnostic
from epgraph.graph import inspect

HEAD = """\
epgraph: 2
input:  {shape: [2, 8, 8]}
output: {classes: 10}
states: {a: {channels: 4}, b: {channels: 4}}
edges:
  - {from: x, to: a, conv: {kernel: 3, padding: 1}}
  - {from: b, to: y, dense: {rank: 2}}
"""
JOINED = "  - {from: a, to: b, conv: {kernel: 3, padding: 1}}\n"


def warned(text: str) -> list[Diagnostic]:
    """All warnings of a file without mistakes."""
    _, found = inspect(text, ["dynamics.schedule=coloring"])
    assert all(diagnostic.severity == "warning" for diagnostic in found)
    return found


def twins(*edges: str) -> list[str]:
    text = HEAD + JOINED + "".join(f"  - {{{edge}}}\n" for edge in edges)
    return [d.message.partition(":")[0] for d in warned(text) if d.rule == "twin-edges"]


LINEAR = "from: a, to: b, lateral: {kernel: 3}"


@pytest.mark.parametrize("edge", [LINEAR, "at: a, self: {kernel: 3}", "from: a, to: b, identity: {}"])
def test_two_edges_whose_sum_is_one(edge: str) -> None:
    assert len(twins(edge)) == 0
    assert len(twins(edge, edge)) == 1
    if "identity" not in edge:
        assert len(twins(f"{edge}, frozen: true", f"{edge}, frozen: true")) == 1


@pytest.mark.parametrize("edge", ["at: a, memory: {patterns: 4}", "from: a, to: b, dense: {rank: 2}"])
def test_edges_whose_sum_is_more_than_one(edge: str) -> None:
    assert twins(edge, edge) == []


def test_max_pooled_edges_are_no_twins() -> None:
    pooled = "  - {from: a, to: c, conv: {kernel: 3, padding: 1, pool: max}}\n"
    text = HEAD.replace("b: {", "c: {channels: 4}, b: {") + JOINED + "  - {from: c, to: y, dense: {}}\n"
    assert warned(text + pooled * 2) == []
    assert [d.rule for d in warned(text + pooled.replace("max", "average") * 2)] == ["twin-edges"]


def test_weights_that_are_bound_elsewhere_are_no_twins() -> None:
    assert twins(LINEAR, f"{LINEAR}, frozen: true") == []
    assert twins(f"{LINEAR}, name: one", f"{LINEAR}, tie: one") == []
    other = "from: b, to: a, lateral: {kernel: 3}, tie: one"
    assert twins(f"{LINEAR}, name: one", LINEAR, other) == []
    assert twins(f"{LINEAR}, name: one", LINEAR, LINEAR, other) == ["edge 'a_b_3' computes the same as 'a_b_2'"]


@pytest.mark.parametrize("where", ["file", "block"])
def test_a_default_gain_is_not_said_at_a_tied_edge(where: str) -> None:
    defaults = "defaults: {gain: 0.7}"
    block = f"""\
blocks:
  layer:
    {defaults if where == "block" else "defaults: {}"}
    states: {{s: {{shape: [4]}}, t: {{shape: [4]}}}}
    edges:
      - {{from: in, to: s, dense: {{}}, name: up}}
      - {{from: s, to: t, dense: {{}}, tie: up}}
"""
    text = f"""\
epgraph: 2
input: {{shape: [4]}}
output: {{classes: 2}}
{defaults if where == "file" else "defaults: {}"}
{block}states: {{h: {{block: layer, from: x, repeat: 2}}}}
edges: [{{from: h, to: y, dense: {{}}}}]
"""
    assert [d.message for d in warned(text)] == []
    said = text.replace("tie: up}", "tie: up, gain: 0.6}")
    assert [d.rule for d in warned(said)] == ["no-effect"], "once, for both instances"


def test_pairs_that_move_together_are_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = HEAD + JOINED * 2 + "  - {from: b, to: a, skip: {}}\n"
    path = tmp_path / "net.yaml"
    path.write_text(text + "dynamics: {schedule: synchronous}\n", encoding="utf-8")
    assert run(["check", str(path)]) == 0
    err = capsys.readouterr().err
    assert f"{path}:11:22: schedule synchronous moves states together that share an edge (b and y, a and b)" in err
    path.write_text(text.replace("{from: b, to: y", "{from: a, to: y"), encoding="utf-8")
    assert run(["check", str(path)]) == 0
    err = capsys.readouterr().err
    assert f"{path}:5:1: the default schedule even_odd moves states together that share an edge (a and y)" in err
    assert "; dynamics: {schedule: coloring} keeps them apart\n   5 | edges:\n     | ^^^^^\n" in err
    path.write_text(path.read_text(encoding="utf-8") + "dynamics: {schedule: coloring}\n", encoding="utf-8")
    assert run(["check", str(path)]) == 0
    assert "not" not in capsys.readouterr().err


def test_no_schedule_is_doubted_where_nothing_relaxes() -> None:
    together = "dynamics.schedule=synchronous"
    for estimator, rules in (("centered", ["not-proper"]), ("backprop", ["no-effect"])):
        _, found = inspect(HEAD + JOINED, [together, f"learning.estimator={estimator}"])
        assert [d.rule for d in found] == rules, estimator


def test_an_identity_of_scale_0() -> None:
    text = HEAD + JOINED + "  - {from: a, to: b, identity: {scale: %s}}\n"
    assert [d.rule for d in warned(text % "0")] == ["zero-gain"]
    assert warned(text % "0.1") == []
