"""Networks from Python and networkx: equal to those from YAML, and mistakes that name the state or edge."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import epgraph as ep
from epgraph.graph import SCHEDULES
from epgraph.kinds import KINDS
from epgraph.language import Architecture, to_yaml
from epgraph.lowering import lower
from tests.helpers.topologies import architectures

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXT = """\
epgraph: 2
name: digits
input:  {name: x, shape: [1, 8, 8]}
output: {name: y, classes: 10}
defaults: {activation: relu1, gain: 0.8}
states:
  h1: {channels: 16}
  h2: {channels: 24, bias: {gain: 0.1}}
edges:
  - {from: x,  to: h1, conv: {kernel: 3, padding: 1}}
  - {from: h1, to: h2, conv: {kernel: 3, padding: 1, stride: 2}, gain: 0.3}
  - {from: h1, to: h2, skip: {stride: 2}, name: short}
  - {from: h2, to: y,  dense: {}}
dynamics: {schedule: coloring}
"""


def plan(architecture: Architecture, schedule: str) -> tuple[Any, ...]:
    """All that a plan says, comparable."""
    lowered = lower(ep.build(architecture), schedule)
    graph = lowered.graph
    return lowered.schedule, lowered.classes, lowered.constants, graph.states, graph.edges, architecture


def in_python(drawn: dict[str, Any]) -> Architecture:
    sections = {k: v for k, v in drawn.items() if k not in ("epgraph", "name", "input", "output", "states", "edges")}
    net = ep.Network(drawn["name"], input=drawn["input"], output=drawn["output"], **sections)
    states = {name: net.state(name, **state) for name, state in drawn["states"].items()}
    states |= {"x": net.input, "y": net.output}
    for index, edge in enumerate(drawn["edges"]):
        rest = {key: value for key, value in edge.items() if key not in ("from", "to")}
        kind = next(key for key in rest if key in KINDS)
        ends = states[edge["from"]], states[edge["to"]]
        options = rest.pop(kind)
        # Every way to say it, in turn.
        match index % 4:
            case 0:
                getattr(net, kind)(*ends, **options, **rest)
            case 1:
                net.edge(*ends, KINDS[kind].model_validate(options), **rest)
            case 2:
                net.edge(*map(str, ends), **{kind: options}, **rest)
            case _:
                net.edge(*ends, kind={kind: options}, **rest)
    return net.build()


def in_networkx(drawn: dict[str, Any]) -> Architecture:
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph(name=drawn["name"], input="x", output="y")
    graph.graph["defaults"] = drawn["defaults"]
    graph.add_node("y", **{k: v for k, v in drawn["output"].items() if k != "name"})
    for name, state in drawn["states"].items():
        graph.add_node(name, **state)
    graph.add_node("x", shape=drawn["input"]["shape"])
    for order, edge in enumerate(drawn["edges"]):
        written = {key: value for key, value in edge.items() if key not in ("from", "to")}
        kind = next(key for key in written if key in KINDS)
        if order % 2 and "kind" not in written[kind]:
            written |= {"kind": kind, **written.pop(kind)}
        key = graph.add_edge(edge["from"], edge["to"], order=order)
        graph.edges[edge["from"], edge["to"], key].update(written)
    return ep.from_networkx(graph)


@QUICK
@given(architectures(), st.sampled_from(list(SCHEDULES)))
def test_every_spelling_gives_one_plan(drawn: dict[str, Any], schedule: str) -> None:
    original = Architecture.model_validate(drawn)
    expected = plan(original, schedule)
    assert plan(in_python(copy.deepcopy(drawn)), schedule) == expected
    assert plan(in_networkx(copy.deepcopy(drawn)), schedule) == expected
    assert plan(ep.load(to_yaml(original)), schedule) == expected
    assert plan(ep.from_networkx(ep.to_networkx(original)), schedule) == expected


def test_python_says_what_yaml_says() -> None:
    net = ep.Network(
        "digits",
        input=(1, 8, 8),
        classes=10,
        activation="relu1",
        gain=0.8,
        dynamics={"schedule": "coloring"},
    )
    h1 = net.state(channels=np.int64(16))
    h2 = net.state("h2", channels=24, bias={"gain": 0.1})
    net.conv(net.input, h1, kernel=3, padding=1)
    net.edge(h1, h2, ep.Conv(kernel=3, padding=1, stride=2), gain=np.float64(0.3))
    net.edge("h1", "h2", skip={"stride": 2}, name="short")
    net.dense(h2, net.output)
    assert net.build() == ep.load(TEXT)
    body = to_yaml(net.build()).partition("\n")[2]
    assert body == to_yaml(ep.load(TEXT)).partition("\n")[2]


def test_a_kind_has_its_method_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twin(KINDS["identity"]):  # type: ignore[misc]
        name = "twin"

    net = ep.Network(input=(4,), classes=2)
    assert not hasattr(net, "twin")
    assert "twin" not in dir(net)
    monkeypatch.setitem(KINDS, "twin", Twin)
    assert callable(net.twin)
    assert "twin" in dir(net)
    assert ep.Conv is KINDS["conv"]


def test_names_of_kinds_and_options_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind called 'self' and an option called 'kind', as those of the language are."""
    found: list[object] = []
    net = ep.Network(input=(4,), classes=2)
    monkeypatch.setattr(net, "_add", lambda *given: found.append(given))
    monkeypatch.setitem(KINDS, "self", KINDS["dense"])
    net.self("h")
    net.conv("x", "h", kind="max")
    net.edge("h", self={})
    assert found == [(("h",), "self", {}), (("x", "h"), "conv", {"kind": "max"}), (("h",), None, {"self": {}})]


def test_one_end_is_written_at() -> None:
    """A kind that acts on one state is written with 'at'; what such kinds there are is not the builder's business."""
    net = ep.Network(input=(4,), classes=2)
    h = net.state(shape=(3,))
    with pytest.raises(ep.EpgraphError, match=r"edges\.h1"):
        net.dense(h)
    assert net._edges == []


def network() -> ep.Network:
    net = ep.Network("net", input=(1, 8, 8), classes=10)
    net.state("h1", channels=4)
    net.state("h2", channels=4)
    net.conv("x", "h1", kernel=3, padding=1)
    net.dense("h1", "y")
    net.conv("h1", "h2", kernel=3, padding=1, stride=2)
    return net


def other() -> ep.Network:
    return ep.Network("other", input=(4,), classes=2)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (
            lambda n: n.conv("h1", "h2", kernel="3"),
            "edges.h1→h2.conv.kernel: 'kernel' expects an integer, found text '3'",
        ),
        (
            lambda n: n.conv("h1", "h2", kernel=3, strid=2),
            "edges.h1→h2.conv.strid: unknown key 'strid'; did you mean 'stride'?",
        ),
        (
            lambda n: n.conv("h1", "h2", name="c", kernel=3, gain="much"),
            "edges.c.gain: 'gain' expects a number, found text 'much'",
        ),
        (lambda n: n.state("h1"), "states.h1: duplicate name 'h1': a state has it; choose another name"),
        (lambda n: n.state("x"), "states.x: duplicate name 'x': the input has it; choose another name"),
        (lambda n: n.state("h3", chanels=3), "states.h3.chanels: unknown key 'chanels'; did you mean 'channels'?"),
        (lambda n: n.edge("h1", "h2", "y"), "edges.h1→h2→y: an edge joins two states, or acts at one, found 3"),
        (
            lambda n: n.edge("h1", 3, dense={}),
            "an end of an edge is a state or its name, found 3; pass what net.state(…) returned, net.input or "
            "net.output",
        ),
        (lambda n: n.dense(other().input, "h1"), "state 'x' belongs to another network, 'other'"),
        (lambda n: (n.dense("h1", "h9"), n.build()), "edges.h1→h9.to: 'to' names no state: 'h9'; known: x, h1, h2, y"),
        (
            lambda n: (n.skip("h1", "h2"), n.build()),
            "edges.h1→h2.skip: shape mismatch: skip h1→h2 gives 4×8×8 from 4×8×8, but the target is 4×4×4 (fixed by "
            "the edge h1→h2); stride: 2 would fit; or here: edges.h1→h2.conv: conv h1→h2 gives 4×4×4 from 4×8×8; "
            "stride: 1 would fit",
        ),
        (
            lambda n: (n.state("9", channels=2), n.build()),
            "states.9: '9' is not a name; a name is a letter followed by at most 63 letters, digits or '_'",
        ),
        (
            lambda n: ep.Network(input=(4,), classes=2, dynamcs={}),
            "dynamcs: unknown section 'dynamcs'; did you mean 'dynamics'?",
        ),
        (lambda n: ep.Network(input=(4, 0), classes=2), "input.shape[1]: 'shape[1]' must be ≥ 1, found 0"),
        (
            lambda n: ep.Network(input=(4,)),
            "output: missing key 'classes'; write classes: 10 for labels, "
            "or shape: [3, 32, 32] for targets of that shape",
        ),
        (lambda n: other().build(), "edges: 'edges' needs at least 1 "),
    ],
)
def test_mistakes_name_the_state_or_edge(mistake: Callable[[ep.Network], object], message: str) -> None:
    net = network()
    before = net.build()
    with pytest.raises(ep.EpgraphError) as caught:
        mistake(net)
    assert str(caught.value).startswith(message)
    if "build" not in mistake.__code__.co_names:
        assert net.build() == before  # what was refused has left nothing behind


def test_an_unknown_kind_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="a network has no 'convv'; did you mean 'conv'"):
        _ = network().convv


# --- networkx


def test_an_undirected_graph_leads_away_from_the_input() -> None:
    graph = nx.path_graph(5)
    graph.add_edge(3, 1)
    made = ep.from_networkx(graph, input=2, output=0, shape=(4,), classes=3, state={"shape": [5]})
    ends = [(edge.source, edge.target) for edge in made.edges]
    assert ends == [("n1", "y"), ("x", "n1"), ("n1", "n3"), ("x", "n3"), ("n3", "n4")]
    assert {edge.kind.name for edge in made.edges} == {"dense"}


def test_names_become_legal_and_unique() -> None:
    graph = nx.Graph(
        [("in put", "a b"), ("a b", "a_b"), ("a_b", "a-b"), ("a-b", (1, 2)), ((1, 2), "Ä"), ("Ä", "ö" * 80)]
    )
    graph.add_edge("ö" * 80, "k" * 80)
    graph.add_edge("k" * 80, "k" * 81)
    made = ep.from_networkx(graph, input="in put", output="k" * 81, shape=(4,), classes=2, state={"shape": [3]})
    assert made.input.name == "in_put"
    assert list(made.states) == ["a_b_2", "a_b", "a_b_3", "n1_2", "n", "n_2", "k" * 64]
    assert made.output.name == "k" * 62 + "_2"


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
def test_all_four_classes_are_read(kind: type[nx.Graph[Any]]) -> None:
    graph = kind()
    graph.add_node("image", shape=[1, 8, 8], pos=(0, 0))
    graph.add_node("h", channels=4)
    graph.add_node("y", classes=10, cost="cross_entropy")
    graph.add_edge("image", "h", kind="conv", kernel=3, padding=1, weight=2.0)
    graph.add_edge("h", "y", gain=0.3)
    if graph.is_multigraph():
        graph.add_edge("h", "y", name="second")
    made = ep.from_networkx(
        graph, input="image", output="y", ignore=("pos", "weight"), name="read", dynamics={"free_steps": 9}
    )
    text = """\
epgraph: 2
name: read
input: {name: image, shape: [1, 8, 8]}
output: {classes: 10, cost: cross_entropy}
states: {h: {channels: 4}}
edges:
- {from: image, to: h, conv: {kernel: 3, padding: 1}}
- {from: h, to: y, dense: {}, gain: 0.3}
- {from: h, to: y, dense: {}, name: second}
dynamics: {free_steps: 9}
"""
    if not graph.is_multigraph():
        text = text.replace("- {from: h, to: y, dense: {}, name: second}\n", "")
    assert made == ep.load(text)


@pytest.mark.parametrize(
    "edge",
    [
        {"conv": {"kernel": 1}, "gain": 0.1},
        {"kind": "conv", "kernel": 1, "gain": 0.1},
        {"kind": ep.Conv(kernel=1), "gain": 0.1},
    ],
    ids=("yaml", "flat", "object"),
)
def test_defaults_give_way_to_attributes(edge: dict[str, Any]) -> None:
    graph = nx.path_graph(4)
    graph.nodes[1]["shape"] = [4, 8, 8]
    graph.edges[1, 2].update(kind="skip", gain=0.9)
    graph.edges[2, 3]["dense"] = {}
    made = ep.from_networkx(
        graph,
        input=0,
        output=3,
        shape=(1, 8, 8),
        classes=2,
        state={"channels": 7},
        edge=edge,
    )
    states = {name: state.model_dump(exclude_none=True) for name, state in made.states.items()}
    assert states == {"n1": {"shape": (4, 8, 8)}, "n2": {"channels": 7}}
    kinds = [(edge.kind.name, edge.gain) for edge in made.edges]
    assert kinds == [("conv", 0.1), ("skip", 0.9), ("dense", 0.1)]


def three(**attributes: Any) -> nx.Graph[Any]:
    graph = nx.path_graph(3)
    graph.nodes[1].update(attributes)
    return graph


def odd() -> nx.Graph[Any]:
    """Attributes that are not named by text, and an order that is no number."""
    graph = nx.path_graph(2)
    graph.edges[0, 1].update({3: 4, "order": "last"})
    return graph


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ep.from_networkx([1]), "expected a networkx graph, found a list; e.g. networkx.path_graph(5)"),
        (lambda: ep.from_networkx(three()), "no node is named as the input; pass input=NODE"),
        (lambda: ep.from_networkx(three(), input=7, output=2), "'input' names no node: 7; known: 0, 1, 2"),
        (lambda: ep.from_networkx(three(), input=2, output=2), "input and output are one node, 2; choose two"),
        (
            lambda: ep.from_networkx(three(pos=1), input=0, output=2, shape=(4,), classes=2),
            'unknown attributes: pos of nodes; if they are no settings, pass ignore=["pos"]',
        ),
        (
            lambda: ep.from_networkx(three(self=1), input=0, output=2, shape=(4,), classes=2),
            "unknown attributes: self of nodes",
        ),
        (
            lambda: ep.from_networkx(odd(), input=0, output=1, shape=(4,), classes=2),
            'unknown attributes: 3 of edges; if they are no settings, pass ignore=["3"]',
        ),
        (
            lambda: ep.from_networkx(three(), input=0, output=2, shape=(4,), classes=2, state={"shape": [0]}),
            "states.n1.shape[0]: 'shape[0]' must be ≥ 1, found 0",
        ),
        (
            lambda: ep.from_networkx(three(), input=0, output=2, shape=(4,), classes=2),
            "states.n1: the shape of state 'n1' is not known; give it channels: C, or shape: [C, H, W]",
        ),
        (
            lambda: ep.from_networkx(three(), input=0, output=2, shape=(4,), classes=2, edge={"kind": "dens"}),
            "edges.edge.kind: unknown kind of edge, text 'dens'; did you mean 'dense'?",
        ),
        (
            lambda: ep.from_networkx(three(), input=0, output=2, classes=2),
            "input: missing key 'shape'; e.g. shape: [3, 32, 32]",
        ),
    ],
)
def test_what_is_no_network_is_said(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ep.EpgraphError) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_a_loop_and_a_part_apart_are_reported() -> None:
    graph = nx.path_graph(3)
    graph.add_edge(1, 1)
    graph.add_edge(5, 6)
    with pytest.raises(ep.EpgraphError) as caught:
        ep.from_networkx(graph, input=0, output=2, shape=(4,), classes=2, state={"shape": [3]})
    assert "edges.n1→n1.to: self-loop: the edge joins 'n1' to itself" in str(caught.value)
    graph.remove_edge(1, 1)
    with pytest.raises(ep.EpgraphError) as caught:
        ep.from_networkx(graph, input=0, output=2, shape=(4,), classes=2, state={"shape": [3]})
    assert "state 'n5' is unreachable" in str(caught.value)


@pytest.mark.parametrize(
    "graph",
    [
        nx.karate_club_graph(),
        nx.davis_southern_women_graph(),
        nx.grid_2d_graph(3, 4),
        nx.hypercube_graph(3),
        nx.random_geometric_graph(20, 0.5, seed=1),
        nx.gn_graph(12, seed=1),
        nx.petersen_graph(),
    ],
    ids=str,
)
def test_graphs_of_networkx_become_networks(graph: nx.Graph[Any]) -> None:
    nodes = list(graph)
    made = ep.from_networkx(
        graph,
        input=nodes[0],
        output=nodes[-1],
        shape=(4,),
        classes=2,
        state={"shape": [3]},
        ignore=("pos", "weight", "club", "bipartite"),
    )
    assert len(made.states) == len(nodes) - 2
    assert len(made.edges) == graph.number_of_edges()
    assert ep.load(to_yaml(made)) == made


def test_a_name_of_a_state_is_text() -> None:
    net = ep.Network(input=(4,), classes=2)
    with pytest.raises(
        ep.EpgraphError, match=r"a state's name is text, found 3; .*state\('h1', channels=16\)"
    ) as caught:
        net.state(3)  # type: ignore[arg-type]
    assert caught.value.diagnostics[0].rule == "wrong-type"


def test_attributes_that_are_no_settings_are_named_for_ignore() -> None:
    club = nx.karate_club_graph()
    given = {"input": 0, "output": 33, "shape": (16,), "classes": 2, "state": {"shape": [8]}}
    with pytest.raises(ep.EpgraphError) as caught:
        ep.from_networkx(club, **given)
    assert str(caught.value) == (
        'unknown attributes: weight of edges and club of nodes; if they are no settings, pass ignore=["weight", "club"]'
    )
    assert len(ep.from_networkx(club, **given, ignore=["weight", "club"]).edges) == club.number_of_edges()
    for data in (club.nodes[5], club.edges[0, 1]):
        data["activaton" if "club" in data else "gian"] = 1
    with pytest.raises(ep.EpgraphError, match="unknown key 'activaton'; did you mean 'activation'"):
        ep.from_networkx(club, **given, ignore=["weight", "club"])


def test_attributes_are_ignored_by_what_they_are_called() -> None:
    graph = nx.DiGraph()
    graph.add_edge(0, 1, gain=0.5)
    graph.edges[0, 1][3] = "three"
    for ignore in (["3"], [3]):
        assert len(ep.from_networkx(graph, input=0, output=1, shape=(4,), classes=2, ignore=ignore).edges) == 1


def test_a_shape_from_networkx_is_a_list() -> None:
    wrong: Any = 4
    with pytest.raises(ep.EpgraphError, match=r"input\.shape: 'shape' expects a list, found 4"):
        ep.from_networkx(nx.path_graph(3), input=0, output=2, shape=wrong, classes=2)


def test_loops_of_networkx_are_told_what_they_can_be() -> None:
    graph = nx.path_graph(3)
    graph.add_edge(1, 1)
    given = {"input": 0, "output": 2, "shape": (4,), "classes": 2, "state": {"shape": [8]}}
    with pytest.raises(ep.EpgraphError, match='give it kind="self", or remove it') as caught:
        ep.from_networkx(graph, **given)
    assert [d.rule for d in caught.value.diagnostics] == ["self-loop"]
    graph.edges[1, 1]["kind"] = "self"
    assert [edge.at for edge in ep.from_networkx(graph, **given).edges] == [None, None, "n1"]
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    assert len(ep.from_networkx(graph, **given).edges) == 2
