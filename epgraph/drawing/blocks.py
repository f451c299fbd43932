"""Blocks in a diagram: which are opened, which are drawn as one box, and which equal ones are drawn once."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal

from epgraph.graph import Edge, NetworkGraph, State

LEGIBLE_BOXES = 40
"""Boxes up to which everything is drawn."""
PAGE_BOXES = 14
"""Boxes that fit on a page. In a larger network equal blocks are drawn once, and blocks are closed to come near it."""

LEAST_CHAIN = 4
"""Equal states in a row from which they are drawn once, where the file has no block for them."""

# E.g. h12_a, or h12a: a state of the block h12. Files that Python wrote, and run folders, have no blocks.
_MEMBER = re.compile(r"([A-Za-z][A-Za-z_]*\d+)_?([A-Za-z]\w*)")


@dataclass
class View:
    """What is drawn of a network.

    Attributes
    ----------
    box
        State → key of its box: its own name, or ``"block <instance>"``.
    members
        Key of a box → the states that it stands for.
    frames
        Key of a box → the frames around it (names of instances), outermost first.
    times
        Instance → how many equal ones it stands for, and the name of the last; only where there are several.
    shown
        Instance that is drawn → itself; instance that is not drawn → the equal one that is.
    """

    box: dict[str, str] = field(default_factory=dict)
    members: dict[str, list[str]] = field(default_factory=dict)
    frames: dict[str, tuple[str, ...]] = field(default_factory=dict)
    times: dict[str, tuple[int, str]] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)

    def implied(self, edge: Edge, path: dict[str, tuple[str, ...]]) -> bool:
        """Whether an edge joins two of the equal blocks that are drawn as one: "× n" says so."""
        for one, other in zip(path[edge.source], path[edge.target], strict=False):
            if one != other:
                return self.shown[one] == self.shown[other]
        return False


@dataclass
class _Edges:
    """Edges of instances, each as its ends there and what it is, with how many there are.

    ``inside``: within one; ``back``: to states declared before it; ``between``: those of them to another instance.
    """

    inside: defaultdict[str, Counter[tuple[object, ...]]] = field(default_factory=lambda: defaultdict(Counter))
    back: defaultdict[str, Counter[tuple[object, ...]]] = field(default_factory=lambda: defaultdict(Counter))
    between: defaultdict[tuple[str, str], Counter[tuple[object, ...]]] = field(
        default_factory=lambda: defaultdict(Counter)
    )


class Blocks:
    """The instances of blocks in a network.

    Attributes
    ----------
    path
        State → the instances around it, outermost first.
    """

    def __init__(self, graph: NetworkGraph) -> None:
        self.graph = graph
        self._local: dict[str, str] = {}
        self.path: dict[str, tuple[str, ...]] = {}
        known = {name: graph.architecture.instance(name) for name in graph.states}
        if not any(instance for instance, _ in known.values()):
            known = _by_name(graph)
        for name, (instance, local) in known.items():
            parts = instance.split(".") if instance else []
            self.path[name] = tuple(".".join(parts[: i + 1]) for i in range(len(parts)))
            self._local[name] = f"{instance}.{local}" if instance else local
        # A state that is in no block is tried as a block of its own: rows of equal ones are drawn once.
        self._chained = {name for name in graph.free if not self.path[name] and "." not in name}
        for name in self._chained:
            self.path[name], self._local[name] = (name,), f"{name}."
        self._states = self._members()
        self._shown, self._runs = self._find_runs()
        for name in [name for name in self._chained if len(self._runs[self._shown[name]]) < LEAST_CHAIN]:
            self._chained.remove(name)
            self.path[name], self._local[name] = (), name
        self._states = self._members()
        self._flat = {dotted: name for name, dotted in self._local.items()}
        self.deepest = max(map(len, self.path.values()))

    def _members(self) -> dict[str, list[State]]:
        members: dict[str, list[State]] = {}
        for name, path in self.path.items():
            for instance in path:
                members.setdefault(instance, []).append(self.graph.states[name])
        return members

    def view(self, depth: int | Literal["all"] | None = None) -> View:
        """Return what is drawn with ``depth`` levels of blocks opened.

        Equal blocks in a row are drawn once, unless ``depth`` is "all". None opens what stays legible.
        """
        if isinstance(depth, int):
            return self._view(depth, True)
        view = self._view(self.deepest, False)
        if depth is None and len(view.members) > LEGIBLE_BOXES:
            for level in range(self.deepest, -1, -1):
                view = self._view(level, True)
                if len(view.members) <= PAGE_BOXES:
                    break
        return view

    def _view(self, depth: int, once: bool) -> View:
        """``once``: equal blocks in a row are drawn once."""
        view = View()
        for instance in self._states:
            view.shown[instance] = self._shown[instance] if once else instance
        for name, path in self.path.items():
            outer, same = "", self._local[name]
            for instance in path:
                # The name of the equal state in the instance that is drawn, from the outermost block inwards.
                here = outer + instance[len(instance.rpartition(".")[0]) :] if outer else instance
                outer = view.shown.get(here, here)
                same = outer + self._local[name][len(instance) :]
            drawn = self._flat[same]
            frames = self.path[drawn]
            key = drawn if len(frames) <= depth else f"block {frames[depth]}"
            view.box[name] = key
            view.members.setdefault(key, []).append(name)
            view.frames[key] = frames[:depth]
        if once:
            kept = {first: run for first, run in self._runs.items() if first in self._states}
            view.times = {first: (len(run), run[-1]) for first, run in kept.items() if len(run) > 1}
        for key, frames in view.frames.items():
            view.frames[key] = tuple(one for one in frames if one not in self._chained or one in view.times)
        return view

    def _find_runs(self) -> tuple[dict[str, str], dict[str, list[str]]]:
        """Instance → the first of its row of equal ones, and that one → the row."""
        edges = self._edges()
        shown: dict[str, str] = {}
        runs: dict[str, list[str]] = {}
        last: dict[tuple[str, bool], str] = {}
        for instance in self._states:
            parent = instance.rpartition(".")[0]
            # Blocks stay a row where a state that is in none is declared between them.
            lane = parent, instance in self._chained
            before = last.get(lane)
            last[lane] = instance
            if before is not None and self._parts(before) == self._parts(instance):
                run = runs[shown[before]]
                same = edges.inside[before] == edges.inside[instance] and edges.back[before] == edges.back[instance]
                step = edges.between[before, instance]
                # The first of a row may be joined to anything; the others are joined to the one before them.
                if same and step and (len(run) == 1 or step == edges.between[run[-2], before]):
                    shown[instance] = shown[before]
                    run.append(instance)
                    continue
            shown[instance], runs[instance] = instance, [instance]
        return shown, runs

    def _edges(self) -> _Edges:
        place = {name: i for i, name in enumerate(self.path)}
        found = _Edges()
        for edge in self.graph.edges.values():
            what = (edge.kind.label(), edge.parameters, edge.frozen)
            source, target = self.path[edge.source], self.path[edge.target]
            for instance in source:
                if instance in target:
                    ends = self._within(edge.source, instance), self._within(edge.target, instance)
                    found.inside[instance][*ends, *what] += 1
            later, other = (
                (edge.target, edge.source) if place[edge.source] < place[edge.target] else (edge.source, edge.target)
            )
            for instance in self.path[later]:
                if instance in self.path[other]:
                    continue
                own = self._within(later, instance), later == edge.target
                found.back[instance][*own, *what] += 1
                level = instance.count(".")
                if level < len(self.path[other]):
                    previous = self.path[other][level]
                    found.between[previous, instance][*own, self._within(other, previous), *what] += 1
        return found

    def _within(self, state: str, instance: str) -> str:
        return self._local[state][len(instance) :]

    def _parts(self, instance: str) -> list[tuple[object, ...]]:
        """What the states of an instance are, whatever it is called."""
        return [
            (self._within(s.name, instance), s.shape, s.activation.label, s.norm, s.bias_shape)
            for s in self._states[instance]
        ]


def _by_name(graph: NetworkGraph) -> dict[str, tuple[str, str]]:
    """Read blocks out of names, where two or more have the same states."""
    found = {name: _MEMBER.fullmatch(name) for name, state in graph.states.items() if state.role == "hidden"}
    parts: dict[str, list[str]] = {}
    for match in found.values():
        if match:
            parts.setdefault(match[1], []).append(match[2])
    often = Counter(map(tuple, parts.values()))
    blocks = {name for name, names in parts.items() if len(names) > 1 and often[tuple(names)] > 1}
    return {
        name: (match[1], match[2]) if (match := found.get(name)) and match[1] in blocks else ("", name)
        for name in graph.states
    }


def frame_label(instance: str, view: View) -> str:
    """Write what a block stands for: ``h2``, or ``h2 … h8  × 7``."""
    if instance not in view.times:
        return instance
    n, last = view.times[instance]
    return f"{instance} … {last.rpartition('.')[2]}  × {n}"


def all_frames(view: View) -> list[tuple[str, ...]]:
    """Every frame that is drawn, as the path to it, outer ones first."""
    return list(dict.fromkeys(path[: i + 1] for path in view.frames.values() for i in range(len(path))))
