"""The runs that are compared: read from run folders and sweep folders, and grouped by everything but the seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epgraph.drawing.curves import read_metrics
from epgraph.errors import EpgraphError, path_text
from epgraph.kinds import KINDS
from epgraph.progress import tracked
from epgraph.runs.record import Record
from epgraph.runs.resume import flat
from epgraph.sweeps.folder import is_sweep
from epgraph.sweeps.study import Trials

Epochs = dict[int, dict[str, Any]]


@dataclass(frozen=True)
class Compared:
    """A finished run.

    Attributes
    ----------
    settings
        All settings but the seed, and the dtype, by key.
    epochs
        Metrics by epoch.
    label, point
        Name of its group, and what the group is, where a sweep said so.
    """

    folder: Path
    seed: int
    settings: dict[str, Any]
    epochs: Epochs
    label: str = ""
    point: str = ""


def read_runs(paths: Sequence[Path], progress: bool = False) -> tuple[list[Compared], list[str]]:
    """Return the finished runs of run folders and sweep folders, and a note about each that is left out.

    ``progress``: show how many have been read.

    Raises
    ------
    EpgraphError
        If a path is neither, or no run has finished.
    """
    runs: list[Compared] = []
    notes: list[str] = []
    for path in tracked(paths, len(paths), "read the runs", "folders", show=progress):
        if is_sweep(path):
            trials = Trials(path).all()
            complete = [choice for choice in trials if choice.state == "complete"]
            runs += [
                read_run(choice.folder, choice.label, choice.point)
                for choice in tracked(complete, len(complete), f"read {path}", "trials", show=progress)
            ]
            failed = [choice for choice in trials if choice.state == "failed"]
            notes += [f"left out: {choice.label}, seed {choice.seed}, failed: {choice.error}" for choice in failed]
            for state, meaning in (("pruned", "were pruned"), ("open", "have not finished")):
                if count := sum(choice.state == state for choice in trials):
                    notes.append(f"left out: {count} of {len(trials)} trials, which {meaning}")
        elif Record.read(path).finished:
            runs.append(read_run(path))
        else:
            notes.append(f"left out: {path} has not finished")
    if not runs:
        hint = "let one finish: 'epgraph train RUN --resume', or the same 'epgraph sweep' again"
        raise EpgraphError("no run has finished, so there is nothing to compare", hint)
    return runs, notes


def read_run(folder: Path, label: str = "", point: Any = None) -> Compared:
    """Read a run folder, finished or not.

    Raises
    ------
    EpgraphError
        If it is none, or its record or metrics cannot be read.
    """
    record = Record.read(folder)
    # A published result is no setting.
    settings = {key: value for key, value in record.settings.items() if key != "published"}
    training = dict(settings["training"])
    seed = training.pop("seed")
    # Where the data are differs between machines.
    data = {key: value for key, value in settings["data"].items() if key != "root"}
    settings |= {"training": training, "edges": _by_ends(settings["edges"]), "data": data}
    settings["dtype"] = record.options.dtype
    named = {path_text(at): value for at, value in flat(settings).items()}
    return Compared(folder, seed, named, read_metrics(folder / "metrics.jsonl"), label, json.dumps(point))


def _by_ends(edges: list[dict[str, Any]]) -> dict[str, Any]:
    """Edges by their ends: one more edge does not make all later ones others."""
    found: dict[str, Any] = {}
    for edge in edges:
        ends = edge["at"] if "at" in edge else f"{edge['from']}->{edge['to']}"
        name, number = ends, 1
        while name in found:
            number += 1
            name = f"{ends} ({number})"
        found[name] = {key: value for key, value in edge.items() if key not in ("from", "to", "at")}
    return found


def grouped(runs: Sequence[Compared], notes: list[str]) -> dict[str, list[Compared]]:
    """Group runs by the label of a sweep, or by all settings but the seed, and name each group by what is its own.

    A second run with the same settings and seed is left out, with a note.
    """
    groups: dict[str, list[Compared]] = {}
    for run in runs:
        members = groups.setdefault(run.point if run.label else json.dumps(run.settings, sort_keys=True), [])
        twin = next((other for other in members if other.seed == run.seed), None)
        if twin is None:
            members.append(run)
        else:
            notes.append(f"left out: {run.folder} has the settings and the seed of {twin.folder}")
    keys = list(differences(groups))
    named: dict[str, list[Compared]] = {}
    for members in groups.values():
        name = members[0].label or _name(members, groups, keys)
        named[name if name not in named else str(members[0].folder)] = members
    return named


def _name(members: list[Compared], groups: dict[str, list[Compared]], keys: list[str]) -> str:
    first = members[0]
    own = [key for key in keys if key != "name"]
    if 0 < len(own) <= 3 and not any(key == _part(key) for key in own):
        return ", ".join(f"{key.rpartition('.')[2]}={_shown(first.settings.get(key))}" for key in own)
    names = {others[0].settings.get("name") for others in groups.values()}
    return str(first.settings.get("name") if len(names) == len(groups) else first.folder)


def differing(groups: Sequence[Sequence[Compared]]) -> list[str]:
    """Keys whose values differ between groups, in the order of the file."""
    first = [members[0].settings for members in groups]
    keys = dict.fromkeys(key for settings in first for key in settings)
    return [key for key in keys if any(settings.get(key) != first[0].get(key) for settings in first)]


def differences(groups: dict[str, list[Compared]]) -> dict[str, list[str]]:
    """What differs between groups: key → value of each group; an edge or a state that some have not is one entry."""
    first = [members[0].settings for members in groups.values()]
    found: dict[str, list[str]] = {}
    for key in differing(list(groups.values())):
        part = _part(key)
        there = [any(_part(name) == part for name in settings) for settings in first]
        if part and not all(there):
            kinds = [
                _kind(settings, part) if is_there else "–" for settings, is_there in zip(first, there, strict=True)
            ]
            found[part] = kinds
        else:
            found[key] = [_shown(settings.get(key)) for settings in first]
    return found


def _part(key: str) -> str:
    """The state or the edge that a key is about; empty for other keys."""
    head, _, rest = key.partition(".")
    return f"{head}.{rest.partition('.')[0]}" if head in ("states", "edges") else ""


def _kind(settings: dict[str, Any], part: str) -> str:
    inside = (key[len(part) + 1 :].partition(".")[0] for key in settings if _part(key) == part)
    return next((key for key in inside if key in KINDS), "yes")


def _shown(value: Any) -> str:
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
