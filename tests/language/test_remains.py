"""A wrong value in one place hides no mistake in another, and brings none that follows from it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from epgraph.graph import inspect
from epgraph.language import parse

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = (EXAMPLES / "digits.yaml").read_text(encoding="utf-8")
MISMATCH = DIGITS.replace("{from: h1, to: h3, skip: {}}", "{from: h1, to: h3, skip: {stride: 2}}")
"""A skip disagrees with the path around it."""

NAMES = {"from", "to", "at", "name", "tie", "cost"}
"""Keys whose values are any text, or name other parts of the file."""


def leaves(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Locations of all values that hold no others."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [place for key, part in parts for place in leaves(part, (*at, key))]
    yield from found or [at]


def changed(data: Any, at: tuple[str | int, ...], value: object) -> str:
    """The network as YAML text with one other value."""
    other = copy.deepcopy(data)
    parent = other
    for part in at[:-1]:
        parent = parent[part]
    parent[at[-1]] = value
    return json.dumps(other)


@pytest.mark.parametrize("name", ["digits", "u12", "mlp", "vgg5", "pcn_vgg5"])
def test_a_wrong_value_is_the_only_mistake(name: str) -> None:
    data = parse((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")).data
    places = [at for at in leaves(data) if at[-1] not in NAMES and at[0] not in ("epgraph", "blocks", "parameters")]
    assert len(places) > 15
    for at in places:
        _, found = inspect(changed(data, at, "no value of any key"))
        assert [d.at[: len(at)] for d in found] == [at] * len(found), at
        assert found or at[0] == "name"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("epochs: 14", 'epochs: "14"'),
        ("gain: 0.8", "gain: large"),
        ("shape: [1, 8, 8]", 'shape: [1, 8, "8"]'),
        ("classes: 10", "classes: ten"),
        ("classes: 10", "klasses: 10"),
        ("classes: 10", "classes: 10, shape: [10]"),
        ("h1: {channels: 32}", 'h1: {channels: "32"}'),
        ("h3: {channels: 32}", "h3: {channels: 32, activation: 3}"),
        ("h4: {channels: 64}", "h4: {channels: many}"),
        ("{stride: 2}}\n  - {from: h3", "{stride: 2}, gain: large}\n  - {from: h3"),
        ("pool: max}", 'pool: max, stride: "1"}'),
        ("learning: {estimator: centered, beta: 0.3}", "learning: 3"),
    ],
)
def test_a_wrong_value_hides_no_mismatch_of_shapes(right: str, wrong: str) -> None:
    text = MISMATCH.replace(right, wrong)
    assert text != MISMATCH
    _, found = inspect(text)
    assert [d.rule for d in found if d.message.startswith("shape mismatch: skip h1→h3")] == ["shape-mismatch"]
    assert len(found) >= 2
