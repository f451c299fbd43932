"""networkx graph ⇄ ``Architecture``: nodes are states, edges are edges, attributes are their settings."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import networkx as nx

from epgraph.arguments import instance, refused, several, shown, text
from epgraph.builder.network import End, Network, as_written
from epgraph.errors import Diagnostic, EpgraphError, nearest
from epgraph.graph.assemble import edge_names
from epgraph.kinds import KINDS, EdgeKind
from epgraph.language import Architecture
from epgraph.language.model import NAME_PATTERN, known_keys
from epgraph.language.validate import describe, raise_for

_LONGEST = 64
"""Longest name that the language allows."""

_EXCLUSIVE = {"channels": "shape", "shape": "channels"}
"""Settings of a state of which one replaces the other."""


def from_networkx(
    graph: nx.Graph[Any],
    *,
    input: Hashable = None,
    output: Hashable = None,
    shape: Sequence[int] | None = None,
    classes: int | None = None,
    state: Mapping[str, Any] | None = None,
    edge: EdgeKind | Mapping[str, Any] | None = None,
    ignore: Collection[str] = (),
    name: str | None = None,
    **sections: Any,
) -> Architecture:
    """Read a graph of any of networkx's four classes as a network.

    Attributes of nodes are the settings of states as in YAML (``channels``, ``shape``, ``activation``, …; of the input
    and the output theirs); ``name`` is the state's name. Attributes of edges are the keys of edges. The kind is written
    as in YAML, ``conv={"kernel": 3}``, or flat, ``kind="conv", kernel=3``. Attributes of the graph are its name and
    sections (``dynamics``, …).

    Nodes become states in the graph's order. Their names become legal and unique: 3 is ``n3``, ``"a b"`` is ``a_b``.
    Edges of an undirected graph point away from the input: from the nearer end to the farther one, or in the order of
    nodes where both are equally near. They always point out of the input and into the output. An integer attribute
    ``order`` of edges is their order of declaration; without it, networkx's order holds.

    Parameters
    ----------
    input, output
        The clamped node and the nudged node. By default the graph's attributes ``input`` and ``output`` name them.
    shape, classes
        Shape of the input and number of classes, where the nodes have no such attribute.
    state, edge
        Default settings of states and of edges, e.g. ``state={"channels": 16}`` and
        ``edge=Conv(kernel=3, padding=1)``. Without a kind, edges are dense.
    ignore
        Attributes that are no settings, such as ``pos`` or ``weight``.
    sections
        As for ``Network``; they replace those of the graph.

    Raises
    ------
    EpgraphError
        If ``graph`` is no graph, a node is missing, or the network is invalid; the message names the state or edge.
    """
    if not isinstance(graph, nx.Graph):
        raise refused(f"expected a networkx graph, found {shown(graph)}", "e.g. networkx.path_graph(5)")
    state = {} if state is None else instance("state", state, Mapping, "e.g. {'channels': 16}")
    if edge is not None and not isinstance(edge, EdgeKind | Mapping):
        raise refused(f"edge expects an edge kind or its settings, found {shown(edge)}", "e.g. epgraph.Dense()")
    source = _node(graph, "input", input)
    sink = _node(graph, "output", output)
    if source == sink:
        raise EpgraphError(f"input and output are one node, {source!r}", "choose two", "duplicate-name")
    ignored = {str(key) for key in several("ignore", ignore)}
    names = _legal_names(graph, {source: "x", sink: "y"})
    nodes = {
        node: {str(k): v for k, v in data.items() if str(k) not in (*ignored, "name")}
        for node, data in graph.nodes.items()
    }
    edges = list(_oriented(graph, source, sink))
    problems = _no_settings(nodes, {source: "input", sink: "output"}, [settings for *_, settings in edges], ignored)
    problems += _loops(names, edges, edge)
    raise_for(problems)
    attributes = dict(graph.graph)
    title = attributes.pop("name", None) or "network" if name is None else text("name", name)
    # A graph that was read from a file may have further attributes. They are no sections of the language.
    keys = set(known_keys(())) - {"epgraph", "name", "input", "output", "states", "edges"}
    sections = {key: value for key, value in attributes.items() if key in keys} | sections
    # A set has no order and text is no list of sizes: ``Network`` refuses both.
    sizes: object = list(shape) if isinstance(shape, Sequence) and not isinstance(shape, str | bytes) else shape
    clamped = ({} if shape is None else {"shape": sizes}) | nodes[source]
    nudged = ({} if classes is None or "shape" in nodes[sink] else {"classes": classes}) | nodes[sink]
    net = Network(
        str(title),
        input={"name": names[source], **clamped},
        output={"name": names[sink], **nudged},
        **sections,
    )
    ends: dict[Hashable, End] = {source: net.input, sink: net.output}
    for node, settings in nodes.items():
        if node not in ends:
            ends[node] = net.state(names[node], **_with_defaults(settings, state))
    _add_edges(net, ends, edges, names, edge, ignored)
    return net.build()


def _add_edges(
    net: Network,
    ends: Mapping[Hashable, End],
    edges: Iterable[tuple[Hashable, Hashable, Mapping[Any, Any]]],
    names: Mapping[Hashable, str],
    edge: EdgeKind | Mapping[str, Any] | None,
    ignored: Collection[str],
) -> None:
    defaults = _edge_defaults(edge)
    kinds = {key: value for key, value in defaults.items() if key in KINDS} or {"dense": {}}
    rest = {key: value for key, value in defaults.items() if key not in KINDS}
    for one, two, settings in edges:
        attributes = {str(key): value for key, value in settings.items() if str(key) not in ignored}
        if isinstance(attributes.get("order"), int):
            del attributes["order"]
        keys = rest | _spelled_out(attributes, f"{names[one]}→{names[two]}")
        kind = next((KINDS[key] for key in keys if key in KINDS), None)
        keys = keys if kind else kinds | keys
        net.edge(*((ends[one],) if one == two else (ends[one], ends[two])), **keys)


def to_networkx(architecture: Architecture) -> nx.MultiDiGraph[str]:
    """Write an architecture as a graph that ``from_networkx`` reads back as an equal one.

    Nodes and edges (keyed by name) have the settings of states and edges as attributes. The graph has the name, the
    sections, and the names of the ``input`` and ``output`` nodes. A unary kind becomes a self-loop.
    """
    data = instance("to_networkx", architecture, Architecture, "load it with ep.load, or build() it").to_dict()
    ends = {key: getattr(architecture, key).name for key in ("input", "output")}
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    graph.graph.update({k: v for k, v in data.items() if k not in ("epgraph", "states", "edges")} | ends)
    graph.graph["name"] = architecture.name
    for name, settings in ((ends["input"], data["input"]), *data.get("states", {}).items()):
        graph.add_node(name, **{key: value for key, value in settings.items() if key != "name"})
    graph.add_node(ends["output"], **{key: value for key, value in data["output"].items() if key != "name"})
    for order, (key, settings) in enumerate(zip(edge_names(architecture), data["edges"], strict=True)):
        source, target = (settings.get(end, settings.get("at")) for end in ("from", "to"))
        attributes = {key: value for key, value in settings.items() if key not in ("from", "to", "at")}
        graph.add_edge(source, target, key=key)
        # update() and not keywords: a kind may be called 'self'.
        graph.edges[source, target, key].update(attributes, order=order)
    return graph


def _node(graph: nx.Graph[Any], role: str, argument: Hashable) -> Hashable:
    node = graph.graph.get(role) if argument is None else argument
    if node is None:
        raise EpgraphError(f"no node is named as the {role}", f"pass {role}=NODE", "missing-key")
    if node not in graph:
        nodes = [str(n) for n in graph]
        raise EpgraphError(f"'{role}' names no node: {describe(node)}", nearest(str(node), nodes), "unknown-state")
    return node


def _legal_names(graph: nx.Graph[Any], preferred: Mapping[Hashable, str]) -> dict[Hashable, str]:
    """Give every node a legal and unique name; a name that is legal already stays."""
    labels: dict[Hashable, str] = {}
    for node, data in graph.nodes.items():
        text = str(data.get("name", node))
        if not isinstance(node, str) and "name" not in data:
            text = preferred.get(node, text)
        labels[node] = text
    legal = re.compile(NAME_PATTERN)
    names: dict[Hashable, str] = {}
    used: set[str] = set()
    for node in sorted(labels, key=lambda n: legal.fullmatch(labels[n]) is None):
        base = labels[node]
        if not legal.fullmatch(base):
            base = re.sub(r"[^A-Za-z0-9]+", "_", base).strip("_")
        base = base if base[:1].isalpha() else f"n{base}"
        name, count = base[:_LONGEST], 1
        while name in used:
            count += 1
            name = f"{base[: _LONGEST - 1 - len(str(count))]}_{count}"
        used.add(name)
        names[node] = name
    return names


def _no_settings(
    nodes: Mapping[Hashable, Mapping[str, Any]],
    roles: Mapping[Hashable, str],
    edges: Sequence[Mapping[str, Any]],
    ignored: Collection[str],
) -> list[Diagnostic]:
    """Report attributes that are no settings and resemble none; ``ignore`` is meant for them."""
    unknown_keys: dict[str, dict[str, None]] = {"edges": {}, "nodes": {}}
    for settings in edges:
        kind = settings.get("kind")
        options = KINDS[kind].model_fields if isinstance(kind, str) and kind in KINDS else {}
        _collect(unknown_keys["edges"], settings, [*known_keys(("edges", 0)), "kind", "order", *options], ignored)
    for node, settings in nodes.items():
        at = (roles[node],) if node in roles else ("states", "")
        _collect(unknown_keys["nodes"], settings, known_keys(at), ignored)
    unknown = [key for keys in unknown_keys.values() for key in keys]
    if not unknown:
        return []
    where = " and ".join(f"{', '.join(keys)} of {what}" for what, keys in unknown_keys.items() if keys)
    hint = f"if they are no settings, pass ignore=[{', '.join(json.dumps(key) for key in dict.fromkeys(unknown))}]"
    return [Diagnostic(f"unknown attributes: {where}", hint, rule="unknown-key")]


def _collect(unknown: dict[str, None], settings: Mapping[Any, Any], legal: list[str], ignored: Collection[str]) -> None:
    for key in map(str, settings):
        # A misspelled setting is reported later, where it is read, with the correct spelling. networkx's own 'weight'
        # is none, though it resembles weight_decay.
        misspelled = key != "weight" and nearest(key, legal).startswith("did you mean")
        if key not in (*legal, *ignored, *unknown) and not misspelled:
            unknown[key] = None


def _loops(
    names: Mapping[Hashable, str],
    edges: Sequence[tuple[Hashable, Hashable, Mapping[str, Any]]],
    default: EdgeKind | Mapping[str, Any] | None,
) -> list[Diagnostic]:
    """Report self-loops of a kind that joins two states; a unary kind is allowed."""
    problems = []
    for one, two, settings in edges:
        kinds = {key for key in (*settings, settings.get("kind")) if key in KINDS}
        kinds = kinds or KINDS.keys() & _edge_defaults(default).keys()
        if one == two and not any(KINDS[kind].unary for kind in kinds):
            message = f"self-loop: the edge joins '{names[one]}' to itself, and its kind joins two states"
            hint = 'give it kind="self", or remove it: graph.remove_edges_from(list(networkx.selfloop_edges(graph)))'
            at = ("edges", f"{names[one]}→{names[one]}", "to")
            problems.append(Diagnostic(message, hint, at, rule="self-loop"))
    return problems


def _edge_defaults(edge: EdgeKind | Mapping[str, Any] | None) -> dict[str, Any]:
    return as_written(edge, {}, "edge") if isinstance(edge, EdgeKind) else _spelled_out(edge or {}, "edge")


def _with_defaults(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in defaults.items() if _EXCLUSIVE.get(key) not in settings} | dict(settings)


def _spelled_out(settings: Mapping[str, Any], label: str) -> dict[str, Any]:
    return as_written(settings.get("kind"), {key: value for key, value in settings.items() if key != "kind"}, label)


def _oriented(
    graph: nx.Graph[Any], source: Hashable, sink: Hashable
) -> Iterator[tuple[Hashable, Hashable, dict[str, Any]]]:
    """Edges in their direction and order of declaration."""
    edges = list(graph.edges(data=True))
    places = [data.get("order") for _, _, data in edges]
    last = len(edges)
    edges = [
        edge
        for _, edge in sorted(zip(places, edges, strict=True), key=lambda e: e[0] if isinstance(e[0], int) else last)
    ]
    if graph.is_directed():
        yield from edges
        return
    place = {node: i for i, node in enumerate(graph)}
    distance = nx.single_source_shortest_path_length(graph, source)
    for one, two, settings in edges:
        # The input has distance 0. The output counts as farthest, wherever it is.
        def farness(node: Hashable) -> tuple[bool, int, int]:
            return (node == sink, distance.get(node, len(place)), place[node])

        yield (*sorted((one, two), key=farness), settings)
