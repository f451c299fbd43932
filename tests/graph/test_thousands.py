"""Thousands of ties, parallel edges and mistakes take time in proportion, and the first of them are explained."""

from __future__ import annotations

import time

import pytest

from epgraph.errors import MAX_COMPARISONS, Suggestions, nearest
from epgraph.graph import build, inspect

HEAD = "epgraph: 2\ninput: {shape: [4]}\noutput: {classes: 2}\n"
ONE = HEAD + "states: {h: {shape: [4]}}\nedges:\n  - {from: h, to: y, dense: {}}\n"
COUNT = 3000


def edges(text: str, count: int = COUNT) -> str:
    return "".join(text.format(i=i, after=i + 1, around=(i + 1) % count) for i in range(count))


EDGE = "  - {{from: x, to: h, dense: {{}}, name: edge{i}, "
FILES = {
    "a chain of ties": (
        ONE + edges(EDGE + "tie: edge{after}}}\n") + f"  - {{from: x, to: h, dense: {{}}, name: edge{COUNT}}}\n",
        0,
    ),
    "a circle of ties": (ONE + edges(EDGE + "tie: edge{around}}}\n"), 1),
    "ties to nothing": (ONE + edges(EDGE + "tie: egde{i}}}\n"), COUNT),
    "ends that are not there": (
        HEAD
        + "states:\n"
        + edges("  state{i}: {{shape: [4]}}\n")
        + "edges:\n"
        + edges("  - {{from: x, to: stat{i}, dense: {{}}}}\n"),
        COUNT,
    ),
    "parallel edges": (ONE + "  - {from: x, to: h, dense: {}}\n" * 3 * COUNT, 0),
    "edges left out": (
        ONE + "  - {from: x, to: h, dense: {}, gain: -1}\n" * 900 + edges(EDGE + "tie: egde}}\n"),
        900,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_thousands(name: str) -> None:
    text, mistakes = FILES[name]
    before = time.process_time()
    architecture, found = inspect(text)
    # The slowest takes 0.7 s; what is quadratic took 6 s and more, what was cubic 46 s.
    assert time.process_time() - before < 4
    assert len([d for d in found if d.severity == "error"]) == mistakes
    if not mistakes:
        assert architecture is not None
        assert len(build(architecture).edges) == len(architecture.edges)


def test_chain_of_ties_leads_to_its_end() -> None:
    architecture, _ = inspect(FILES["a chain of ties"][0])
    assert architecture is not None
    assert {edge.owner for edge in build(architecture).edges.values()} == {"h_y", f"edge{COUNT}"}


def test_ties_that_lead_into_a_circle_are_no_mistakes_of_their_own() -> None:
    edge = "  - {{from: x, to: h, dense: {{}}, name: {}, tie: {}}}\n"
    text = ONE + "".join(edge.format(*pair) for pair in ("ab", "bc", "cd", "db", "eb"))
    _, found = inspect(text)
    assert [d.message for d in found] == ["edges are tied in a circle: 'b' → 'c' → 'd' → 'b'"]
    assert found[0].line == 8


def test_suggestions_end_with_the_budget() -> None:
    known = [f"state{i}" for i in range(MAX_COMPARISONS // 2)]
    suggest = Suggestions(known)
    first = ["stat17", "sttae3", "tsate4"]
    assert [suggest(word) for word in first] == [
        nearest("stat17", known),
        nearest("sttae3", known),
        nearest("nothing", known),
    ]
    assert suggest("stat17") == nearest("stat17", known), "it remembers"
    assert suggest("tsate5") == suggest("tsate4") == nearest("nothing", known)


def test_parallel_edges_are_numbered_around_names_that_are_taken() -> None:
    edge = "  - {from: x, to: h, dense: {}%s}\n"
    architecture, found = inspect(ONE + edge % "" + edge % ", name: x_h_2" + edge % "" * 2)
    assert architecture is not None
    assert not [d for d in found if d.severity == "error"]
    assert [*build(architecture).edges] == ["h_y", "x_h", "x_h_2", "x_h_3", "x_h_4"]
