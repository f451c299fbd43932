"""``to_yaml``: what it writes loads back as the same architecture, and a person can read it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import epgraph as ep
from epgraph.language import Architecture, to_yaml
from epgraph.language.model import LANGUAGE
from tests.helpers.topologies import architectures

EXAMPLES = Path(__file__).parents[2] / "examples"
FLAT = [path for path in sorted(EXAMPLES.glob("*.yaml")) if "block:" not in path.read_text(encoding="utf-8")]
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)

SMALL = (
    f"epgraph: {LANGUAGE}\n"
    """\
name: "1e-4"
input:  {name: image, shape: [1, 8, 8]}
output: {name: y, classes: 10, bias: {gain: 0.1}}
defaults: {activation: {relu: [1.0, 10.0]}, bias: false}
states:
  h1: {channels: 16}
  long_name: {shape: [3], activation: relu2.5}
edges:
  - {from: image, to: h1,        conv: {kernel: 3, padding: 1}, gain: 0.8}
  - {from: h1,    to: long_name, dense: {}, name: head}
  - {from: h1,    to: y,         dense: {}}
  - {from: image, to: y,         dense: {}, learning_rate: 0.0}
dynamics: {schedule: coloring}
training: {clip_norm: null}
"""
)


def test_the_text_is_that_of_a_person() -> None:
    assert to_yaml(ep.load(SMALL)) == SMALL


def test_comments_stand_above_and_behind() -> None:
    notes = {("states", "h1"): "8×8", ("edges", 1): "the\nhead"}
    text = to_yaml(ep.load(SMALL), ["what it is", "", "who made it"], notes)
    assert text.startswith("# what it is\n#\n# who made it\nepgraph: ")
    assert "  h1: {channels: 16}   # 8×8\n" in text
    assert "to: long_name, dense: {}, name: head}   # the head\n" in text
    assert ep.load(text) == ep.load(SMALL)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(architectures())
def test_any_topology_survives(drawn: dict[str, object]) -> None:
    architecture = Architecture.model_validate(drawn)
    again = ep.load(to_yaml(architecture))
    assert again == architecture
    assert to_yaml(again) == to_yaml(architecture)


@settings(max_examples=300, deadline=None)
@given(
    name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
    level=POSITIVE,
    high=POSITIVE,
    gain=st.floats(min_value=0, allow_infinity=False, allow_nan=False),
    beta=POSITIVE,
    scale=st.floats(allow_infinity=False, allow_nan=False),
    slope=POSITIVE,
)
def test_numbers_and_text_survive_to_the_last_digit(
    name: str, level: float, high: float, gain: float, beta: float, scale: float, slope: float
) -> None:
    architecture = Architecture.model_validate(
        {
            "epgraph": 2,
            "name": name,
            "input": {"shape": [4]},
            "output": {"classes": 2, "activation": {"relu": level}},
            "defaults": {"activation": {"relu": sorted([level, high])}, "gain": gain},
            "states": {"h": {"shape": [4]}, "t": {"shape": [2], "activation": {"tanh": {"slope": slope}}}},
            "edges": [
                {"from": "x", "to": "h", "identity": {"scale": scale}},
                {"from": "h", "to": "t", "dense": {}, "gain": gain},
                {"from": "t", "to": "y", "dense": {}},
            ],
            "learning": {"beta": beta},
        }
    )
    again = ep.load(to_yaml(architecture))
    assert again.to_dict() == architecture.to_dict()
    assert again.name == name
    kept = again.edges[0].kind.scale  # type: ignore[attr-defined]
    assert (kept, math.copysign(1, kept)) == (scale, math.copysign(1, scale))


@pytest.mark.parametrize(
    "name",
    ["no", "null", "~", "1e-4", "0x1f", "true", "- a", "a: b", "a #b", "[x]", "'", '"', "\\n", "%a", "@a", "&a b"],
)
def test_text_that_looks_like_something_else_is_quoted(name: str) -> None:
    text = SMALL.replace('"1e-4"', "placeholder")
    architecture = ep.load(text).model_copy(update={"name": name})
    assert ep.load(to_yaml(architecture)).name == name


@pytest.mark.parametrize("example", FLAT, ids=lambda p: p.stem)
def test_examples_are_written_as_they_stand(example: Path) -> None:
    """Line by line but for comments, blanks, the order of options, and what equals a default."""

    def lines(text: str) -> list[str]:
        return [line for line in (line.split("#")[0].rstrip() for line in text.splitlines()) if line]

    def letters(line: str) -> list[str]:
        return sorted(line.replace(" ", "").replace(",", "").replace("{", "").replace("}", ""))

    written, original = lines(to_yaml(ep.load(example))), lines(example.read_text(encoding="utf-8"))
    # Deeper lines continue a value of the line above.
    edges = [line for line in original if line.startswith("  ") and not line.startswith("   ")]
    kept = [line for line in written if line.startswith("  ")]
    assert list(map(letters, kept)) == list(map(letters, edges))
