"""A mismatch of shapes names every edge that may be the wrong one, wherever in the file it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import epgraph as ep
from epgraph.cli import run
from epgraph.graph import inspect

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = (EXAMPLES / "digits.yaml").read_text(encoding="utf-8")


def strides() -> list[str]:
    """The lines of the example's convolutions and skips between states."""
    return [line for line in DIGITS.splitlines() if re.search(r"from: h\d, to: h\d", line)]


def restrided(line: str) -> str:
    """The same edge with another stride."""
    if "stride: 2" in line:
        return line.replace("stride: 2", "stride: 1")
    return line.replace("{}", "{stride: 2}") if "{}" in line else line.replace("padding: 1", "padding: 1, stride: 2")


@pytest.mark.parametrize("line", strides())
def test_the_edge_that_was_changed_is_named(line: str) -> None:
    """It need not be the first of the message: that is the edge that disagrees with what is written before it."""
    text = DIGITS.replace(line, restrided(line))
    changed = text.splitlines().index(restrided(line)) + 1
    _, found = inspect(text)
    assert {d.rule for d in found} == {"shape-mismatch"}
    assert changed in {d.line for d in found} | {other.line for d in found for other in d.related}


def test_following_the_hint_of_the_other_edge_works() -> None:
    text = DIGITS.replace("{from: h1, to: h2, conv: {kernel: 3, padding: 1}}", "{from: h1, to: h2, skip: {stride: 2}}")
    text = text.replace("{from: h1, to: h3, skip: {}}", "{from: x, to: h2, skip: {stride: 2}}")
    text = "\n".join(line for line in text.splitlines() if "from: h2, to: h4" not in line)
    _, (mismatch,) = inspect(text)
    other = mismatch.related[0]
    assert (other.message, other.hint) == ("skip h1→h2 gives 32×2×2 from 32×4×4", "stride: 1 would fit")
    assert other.line is not None
    line = text.splitlines()[other.line - 1]
    assert inspect(text.replace(line, line.replace("stride: 2", "stride: 1")))[1] == []


def test_a_state_that_is_declared_is_named_where_it_is_declared() -> None:
    _, found = inspect(DIGITS.replace("h4: {channels: 64}", "h4: {shape: [64, 4, 4]}"))
    assert [(len(d.related), d.related[0].line, d.related[0].message) for d in found] == [
        (3, 13, "'h4' is declared as 64×4×4"),
        (3, 13, "'h4' is declared as 64×4×4"),
    ]


def test_the_instances_of_a_block_have_one_place() -> None:
    text = """
epgraph: 2
input: {shape: [1, 8, 8]}
output: {classes: 2}
blocks:
  unit:
    states: {a: {channels: 2}, b: {channels: 2}}
    edges:
      - {from: in, to: a, conv: {kernel: 3, padding: 1, stride: 2}}
      - {from: a, to: b, conv: {kernel: 3, padding: 1}}
      - {from: in, to: b, skip: {}}
states: {h: {block: unit, from: x, repeat: 2}}
edges: [{from: h, to: y, dense: {}}]
"""
    _, found = inspect(text)
    assert [(d.line, [other.line for other in d.related]) for d in found] == [(11, [10, 9])]


def test_every_surface_says_where_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = DIGITS.replace("{from: h1, to: h3, skip: {}}", "{from: h1, to: h3, skip: {stride: 2}}")
    path = tmp_path / "net.yaml"
    path.write_text(text, encoding="utf-8")
    line = next(n for n, row in enumerate(text.splitlines(), 1) if "from: h2, to: h3" in row)
    with pytest.raises(ep.EpgraphError) as caught:
        ep.load(path)
    assert f"; or here: {path}:{line}:" in str(caught.value)
    assert run(["check", str(path)]) == 1
    shown = capsys.readouterr().err.splitlines()
    assert [row.split(" ")[0] for row in shown if "net.yaml:" in row] == [shown[0].split(" ")[0], "or", "or"]
    assert run(["check", str(path), "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)["diagnostics"]
    assert [other["line"] for other in told["related"]] == [line, line - 1]
