"""The runs that are compared: read from run folders and sweep folders, and grouped by everything but the seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epgraph.chance import at_chance
from epgraph.drawing.curves import read_metrics
from epgraph.errors import EpgraphError, path_text
from epgraph.graph import build
from epgraph.graph.checks.idle import without_effect
from epgraph.kinds import KINDS
from epgraph.progress import tracked
from epgraph.runs.record import Record
from epgraph.runs.resume import architecture_of, flat
from epgraph.sweeps.folder import is_sweep
from epgraph.sweeps.study import Trials

SHOWN_OF_A_HASH = 12

NO_EFFECT = "without effect"
"""Value that stands for any value of a key that has no effect in the network of its run."""

CHANGE_RESULTS = ("training.", "dynamics.", "learning.", "states.", "edges[", "output.")
"""How settings begin whose change within a run makes it another one than a run that had them from the start."""

Epochs = dict[int, dict[str, Any]]


@dataclass(frozen=True)
class Compared:
    """A finished run.

    Attributes
    ----------
    settings
        All settings but the seed, the dtype, the content of the data, and whether it began from weights of a run, by
        key. ``NO_EFFECT`` stands for values that have none.
    epochs
        Metrics by epoch.
    label, point
        Name of its group, and what the group is, where a sweep said so.
    doubts
        Why its settings do not say all about it.
    untrained
        Whether its last test error is that of guessing.
    """

    folder: Path
    seed: int
    settings: dict[str, Any]
    epochs: Epochs
    label: str = ""
    point: str = ""
    doubts: tuple[str, ...] = ()
    untrained: bool = False


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
    return runs, [*notes, *(doubt for run in runs for doubt in run.doubts)]


def read_run(folder: Path, label: str = "", point: Any = None) -> Compared:
    """Read a run folder, finished or not.

    Raises
    ------
    EpgraphError
        If it is none, or its record or metrics cannot be read.
    """
    record = Record.read(folder)
    epochs = read_metrics(folder / "metrics.jsonl")
    return Compared(
        folder,
        int(record.settings["training"]["seed"]),
        settings_of(record),
        epochs,
        label,
        json.dumps(point),
        tuple(_doubts(folder, record)),
        _untrained(record, epochs),
    )


def _untrained(record: Record, epochs: Epochs) -> bool:
    """Whether the last test error is that of guessing; a record of older versions has no class counts."""
    error = epochs[max(epochs)].get("test_error") if epochs else None
    classes = record.settings["output"].get("classes")
    if not isinstance(error, int | float) or not classes:
        return False
    return at_chance(error, record.data.get("test", 0), record.data.get("largest_class") or 1 / classes)


def settings_of(record: Record) -> dict[str, Any]:
    """Return what makes a run another one, by key: all settings but the seed; edges are named by their ends.

    With them the dtype, the content of the data, and whether it began from weights of a run.
    """
    # A published result is no setting.
    settings = {key: value for key, value in record.settings.items() if key != "published"}
    training = dict(settings["training"])
    training.pop("seed")
    # Where the data are differs between machines.
    data = {key: value for key, value in settings["data"].items() if key != "root"}
    # One name may stand for other files, in another place or later.
    data["sha256"] = (record.data.get("sha256") or "")[:SHOWN_OF_A_HASH] or None
    settings |= {"training": training, "edges": _by_ends(settings["edges"]), "data": data}
    settings["dtype"] = record.options.dtype
    settings["weights"] = None if record.weights_from is None else "those of a run"
    found = {path_text(at): value for at, value in flat(settings).items()}
    return found | {key: NO_EFFECT for key in _without_effect(record) if key in found}


def _without_effect(record: Record) -> list[str]:
    """Keys that have no effect in the network of a run; none where it needs a plugin that is not there."""
    try:
        graph = build(architecture_of(record.settings, "the run"))
    except EpgraphError:
        return []
    return [path_text(at) for at in without_effect(graph)]


def _doubts(folder: Path, record: Record) -> Iterator[str]:
    """Say which settings were others before a run went on: its record has the last ones alone."""
    for start in record.history[1:]:
        changed = [
            f"{key} {before} to {now}" for key, (before, now) in start.changed.items() if key.startswith(CHANGE_RESULTS)
        ]
        if changed:
            yield f"{folder} went on with other settings after epoch {start.epoch}: {', '.join(changed)}"


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
    first = [members[0] for members in groups.values()]
    names = names_of([one.settings for one in first], [str(one.folder) for one in first])
    named: dict[str, list[Compared]] = {}
    for members, found in zip(groups.values(), names, strict=True):
        name = members[0].label or found
        named[name if name not in named else str(members[0].folder)] = members
    return named


def names_of(settings: Sequence[dict[str, Any]], otherwise: Sequence[str]) -> list[str]:
    """Name each of several settings by what is its own: up to three keys, or else its name where no other has it."""
    own = {key: values for key, values in differences(settings).items() if key != "name"}
    if 0 < len(own) <= 3:
        return [
            ", ".join(f"{_key(key)}={values[i]}" for key, values in own.items() if one.get(key) != NO_EFFECT)
            for i, one in enumerate(settings)
        ]
    names = [str(one.get("name")) for one in settings]
    return names if len(set(names)) == len(names) else list(otherwise)


def _key(key: str) -> str:
    """The last word of a key; of a state or an edge also which one it is."""
    return key.partition(".")[2] if _part(key) else key.rpartition(".")[2]


def differences(settings: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """What differs between settings: key → value of each; an edge or a state that some have not is one entry.

    A key that has no effect in some of them differs only where it does among the others.
    """
    found: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for one in settings for key in one):
        values = [one.get(key) for one in settings if one.get(key) != NO_EFFECT]
        if all(value == values[0] for value in values):
            continue
        part = _part(key)
        there = [any(_part(name) == part for name in one) for one in settings]
        if part and not all(there):
            found[part] = [_kind(one, part) if is_there else "–" for one, is_there in zip(settings, there, strict=True)]
        else:
            found[key] = [_shown(one.get(key)) for one in settings]
    return found


def _part(key: str) -> str:
    """The state or the edge that a key is about; empty for other keys."""
    head, _, rest = key.partition(".")
    return f"{head}.{rest.partition('.')[0]}" if head in ("states", "edges") else ""


def _kind(settings: dict[str, Any], part: str) -> str:
    inside = (key[len(part) + 1 :].partition(".")[0] for key in settings if _part(key) == part)
    return next((key for key in inside if key in KINDS), "yes")


def _shown(value: Any) -> str:
    return (
        "–"
        if value in (None, NO_EFFECT)
        else value
        if isinstance(value, str)
        else json.dumps(value, ensure_ascii=False)
    )
