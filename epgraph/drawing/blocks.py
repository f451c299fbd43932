"""Blocks in a diagram: which are opened, which are drawn as one box, and which equal ones are drawn once."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from epgraph.graph import Edge, NetworkGraph, State

LEGIBLE_BOXES = 40
"""Boxes up to which everything is drawn."""
PAGE_BOXES = 14
"""Boxes that fit on a page. In a larger network equal blocks are drawn once, and blocks are closed to come near it."""

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
        self._flat = {dotted: name for name, dotted in self._local.items()}
        self.deepest = max(map(len, self.path.values()))
        self._states: dict[str, list[State]] = {}
        for name, path in self.path.items():
            for instance in path:
                self._states.setdefault(instance, []).append(graph.states[name])
        self._shown, self._runs = self._find_runs() if self._states else ({}, {})

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
            view.times = {first: (len(run), run[-1]) for first, run in self._runs.items() if len(run) > 1}
        return view

    def _find_runs(self) -> tuple[dict[str, str], dict[str, list[str]]]:
        """Instance → the first of its row of equal ones, and that one → the row."""
        owner = {name: {instance.count("."): instance for instance in path} for name, path in self.path.items()}
        inside: dict[str, Counter[tuple[object, ...]]] = {instance: Counter() for instance in self._states}
        across: dict[tuple[str, str], Counter[tuple[object, ...]]] = {}
        for edge in self.graph.edges.values():
            for level in range(self.deepest):
                one, other = owner[edge.source].get(level), owner[edge.target].get(level)
                ends = (self._within(edge.source, one), self._within(edge.target, other))
                if one is not None and one == other:
                    inside[one][(*ends, edge.kind.label(), edge.parameters)] += 1
                elif one is not None and other is not None:
                    across.setdefault((one, other), Counter())[(*ends, edge.kind.label(), edge.parameters)] += 1
        shown: dict[str, str] = {}
        runs: dict[str, list[str]] = {}
        last: dict[str, str] = {}
        for instance in self._states:
            parent = instance.rpartition(".")[0]
            before = last.get(parent)
            last[parent] = instance
            run = runs[shown[before]] if before is not None else []
            if (
                before is not None
                and self._parts(before) == self._parts(instance)
                and inside[before] == inside[instance]
            ):
                steps = [
                    (across.get((a, b)), across.get((b, a)))
                    for a, b in ((before, instance), tuple(run[-2:]))[: len(run)]
                ]
                if steps[0] != (None, None) and all(step == steps[0] for step in steps):
                    shown[instance] = shown[before]
                    run.append(instance)
                    continue
            shown[instance], runs[instance] = instance, [instance]
        return shown, runs

    def _within(self, state: str, instance: str | None) -> str:
        return self._local[state][len(instance) :] if instance else state

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
