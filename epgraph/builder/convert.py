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
    and the output theirs); ``name`` is the state's name. Attributes of edges are the keys of edges, with the kind
    either as in YAML, ``conv={"kernel": 3}``, or flat, ``kind="conv", kernel=3``. Attributes of the graph are its
    name and sections (``dynamics``, …).

    Nodes become states in the graph's order, and their names legal and unique: 3 is ``n3``, ``"a b"`` is ``a_b``. Edges
    of an undirected graph lead away from the input, from the nearer end to the farther one (between equally near ones,
    in the order of nodes), and always out of the input and into the output. An integer ``order`` at edges says in which
    order they are declared; without one it is networkx's own.

    Parameters
    ----------
    input, output
        The nodes that are clamped and nudged; left out, the graph's attributes ``input`` and ``output`` name them.
    shape, classes
        Shape of the input and number of classes, where the nodes do not say it.
    state, edge
        Settings of states and of edges that say nothing themselves, e.g. ``state={"channels": 16}`` and
        ``edge=Conv(kernel=3, padding=1)``. Left out, edges are dense.
    ignore
        Attributes that are no settings, such as ``pos`` or ``weight``.
    sections
        As for ``Network``; they replace those of the graph.

    Raises
    ------
    EpgraphError
        Where it is no graph, a node is missing, or what it says is no network; the message names the state or edge.
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
    # Whatever else a graph carries, as read from a file of some format, is not the language's.
    known = set(known_keys(())) - {"epgraph", "name", "input", "output", "states", "edges"}
    sections = {key: value for key, value in attributes.items() if key in known} | sections
    # A set has no order, and text is no list of sizes; ``Network`` says what a shape is.
    given: object = list(shape) if isinstance(shape, Sequence) and not isinstance(shape, str | bytes) else shape
    clamped = ({} if shape is None else {"shape": given}) | nodes[source]
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
        kept = {str(key): value for key, value in settings.items() if str(key) not in ignored}
        if isinstance(kept.get("order"), int):
            del kept["order"]
        written = rest | _spelled_out(kept, f"{names[one]}→{names[two]}")
        kind = next((KINDS[key] for key in written if key in KINDS), None)
        written = written if kind else kinds | written
        net.edge(*((ends[one],) if one == two else (ends[one], ends[two])), **written)


def to_networkx(architecture: Architecture) -> nx.MultiDiGraph[str]:
    """Write an architecture as a graph that ``from_networkx`` reads back as an equal one.

    Nodes and edges (keyed by name) carry what their states and edges say, the graph carries name, sections, and which
    nodes are ``input`` and ``output``. A kind that acts on one state is a loop at it.
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
        kept = {key: value for key, value in settings.items() if key not in ("from", "to", "at")}
        graph.add_edge(source, target, key=key)
        graph.edges[source, target, key].update(kept, order=order)  # not as keywords: a kind may be called 'self'
    return graph


def _node(graph: nx.Graph[Any], role: str, given: Hashable) -> Hashable:
    node = graph.graph.get(role) if given is None else given
    if node is None:
        raise EpgraphError(f"which node is the {role} is not said", f"pass {role}=NODE", "missing-key")
    if node not in graph:
        known = [str(n) for n in graph]
        raise EpgraphError(f"'{role}' names no node: {describe(node)}", nearest(str(node), known), "unknown-state")
    return node


def _legal_names(graph: nx.Graph[Any], preferred: Mapping[Hashable, str]) -> dict[Hashable, str]:
    """Name every node, each differently; names that are legal as they are come first, and stay."""
    wanted: dict[Hashable, str] = {}
    for node, data in graph.nodes.items():
        text = str(data.get("name", node))
        if not isinstance(node, str) and "name" not in data:
            text = preferred.get(node, text)
        wanted[node] = text
    legal = re.compile(NAME_PATTERN)
    names: dict[Hashable, str] = {}
    taken: set[str] = set()
    for node in sorted(wanted, key=lambda n: legal.fullmatch(wanted[n]) is None):
        base = (
            re.sub(r"[^A-Za-z0-9]+", "_", wanted[node]).strip("_")
            if not legal.fullmatch(wanted[node])
            else wanted[node]
        )
        base = base if base[:1].isalpha() else f"n{base}"
        name, count = base[:_LONGEST], 1
        while name in taken:
            count += 1
            name = f"{base[: _LONGEST - 1 - len(str(count))]}_{count}"
        taken.add(name)
        names[node] = name
    return names


def _no_settings(
    nodes: Mapping[Hashable, Mapping[str, Any]],
    roles: Mapping[Hashable, str],
    edges: Sequence[Mapping[str, Any]],
    ignored: Collection[str],
) -> list[Diagnostic]:
    """Attributes that are no settings, and do not look like one: what ``ignore`` is for."""
    found: dict[str, dict[str, None]] = {"edges": {}, "nodes": {}}
    for settings in edges:
        kind = settings.get("kind")
        options = KINDS[kind].model_fields if isinstance(kind, str) and kind in KINDS else {}
        _collect(found["edges"], settings, [*known_keys(("edges", 0)), "kind", "order", *options], ignored)
    for node, settings in nodes.items():
        at = (roles[node],) if node in roles else ("states", "")
        _collect(found["nodes"], settings, known_keys(at), ignored)
    unknown = [key for keys in found.values() for key in keys]
    if not unknown:
        return []
    where = " and ".join(f"{', '.join(keys)} of {what}" for what, keys in found.items() if keys)
    hint = f"where they are no settings, pass ignore=[{', '.join(json.dumps(key) for key in dict.fromkeys(unknown))}]"
    return [Diagnostic(f"unknown attributes: {where}", hint, rule="unknown-key")]


def _collect(found: dict[str, None], settings: Mapping[Any, Any], known: list[str], ignored: Collection[str]) -> None:
    for key in map(str, settings):
        # A misspelt setting is said where it is read, with the one that was meant.
        if key not in (*known, *ignored, *found) and not nearest(key, known).startswith("did you mean"):
            found[key] = None


def _loops(
    names: Mapping[Hashable, str],
    edges: Sequence[tuple[Hashable, Hashable, Mapping[str, Any]]],
    default: EdgeKind | Mapping[str, Any] | None,
) -> list[Diagnostic]:
    """Loops of a kind that joins two states; one that acts on one is written ``at`` it."""
    found = []
    for one, two, settings in edges:
        own = {key for key in (*settings, settings.get("kind")) if key in KINDS} or KINDS.keys() & _edge_defaults(
            default
        ).keys()
        if one == two and not any(KINDS[kind].unary for kind in own):
            message = f"self-loop: the edge joins '{names[one]}' to itself, and its kind joins two states"
            hint = 'give it kind="self", or remove it: graph.remove_edges_from(list(networkx.selfloop_edges(graph)))'
            at = ("edges", f"{names[one]}→{names[one]}", "to")
            found.append(Diagnostic(message, hint, at, rule="self-loop"))
    return found


def _edge_defaults(edge: EdgeKind | Mapping[str, Any] | None) -> dict[str, Any]:
    return as_written(edge, {}, "edge") if isinstance(edge, EdgeKind) else _spelled_out(edge or {}, "edge")


def _with_defaults(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in defaults.items() if _EXCLUSIVE.get(key) not in settings} | dict(settings)


def _spelled_out(settings: Mapping[str, Any], label: str) -> dict[str, Any]:
    return as_written(settings.get("kind"), {key: value for key, value in settings.items() if key != "kind"}, label)


def _oriented(
    graph: nx.Graph[Any], source: Hashable, sink: Hashable
) -> Iterator[tuple[Hashable, Hashable, dict[str, Any]]]:
    """Edges with the direction in which they are declared, in order of declaration."""
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
        # The input is nearest to itself; the output may be anywhere, and is farthest by definition.
        def farness(node: Hashable) -> tuple[bool, int, int]:
            return (node == sink, distance.get(node, len(place)), place[node])

        yield (*sorted((one, two), key=farness), settings)
