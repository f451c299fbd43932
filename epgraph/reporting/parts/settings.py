"""Where the runs come from: commands, versions, commits, data, and every setting."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from epgraph.errors import path_text
from epgraph.reporting.blocks import Block, Details, Table, Text
from epgraph.reporting.context import Context, Part
from epgraph.reporting.parts.overview import MOST_ROWS
from epgraph.reporting.runs import ReportedRun
from epgraph.runs.resume import flat

MOST_SETTINGS = 600
"""Settings that the table of a run lists."""

MOST_CLASSES = 30
"""Names of classes that are listed."""


def _origins(context: Context) -> Iterator[Block]:
    head = ("run", "seed", "folder", "started", "git commit", "epgraph", "torch", "data, SHA-256")
    rows = []
    for run in context.runs[:MOST_ROWS]:
        first = run.record.history[0]
        digest = str(run.record.data.get("sha256") or "–")
        rows.append(
            [
                run.label,
                str(run.seed),
                str(run.folder),
                first.started,
                (first.git or "–")[:12],
                first.versions.get("epgraph", "–"),
                first.versions.get("torch", "–"),
                f"{run.record.data.get('name')}, {digest[:12]}",
            ]
        )
    yield Table("Origin of each run", head, rows)
    digests = {run.record.data.get("sha256") for run in context.runs}
    if len(digests) > 1:
        yield Text("The runs were not trained on the same data: their hashes differ.")


def _settings(context: Context, run: ReportedRun) -> Iterator[Block]:
    first, last = run.record.history[0], run.record.history[-1]
    found = {
        "command": shlex.join(first.command),
        "directory": first.directory,
        "started": first.started,
        "git commit": first.git or "none: the directory was no git repository",
        **{f"version of {name}": version for name, version in last.versions.items()},
        **{name: str(value) for name, value in last.machine.items()},
        **{f"option {name}": _text(value) for name, value in run.record.options.model_dump().items()},
        **{f"data {name}": _text(value) for name, value in run.record.data.items()},
        "weights from": run.record.weights_from or "initial ones",
    }
    for name, value in run.record.measured.items():
        found[f"measured {name}"] = _text(value)
    for number, start in enumerate(run.record.history[1:], 2):
        changed = "; ".join(f"{name}: {_text(was)} → {_text(now)}" for name, (was, now) in start.changed.items())
        found[f"start {number}"] = f"{start.started}, after epoch {start.epoch}, {changed or 'nothing changed'}"
    yield Details("Command, versions, machine and data", [Table.of_pairs(f"Origin of {run.label}", found)])
    settings = {path_text(at): _text(value) for at, value in flat(run.record.settings).items()}
    rows = dict(list(settings.items())[:MOST_SETTINGS])
    blocks: list[Block] = [Table.of_pairs(f"Settings of {run.label}", rows)]
    if len(settings) > MOST_SETTINGS:
        blocks.append(Text(f"The first {MOST_SETTINGS} of {len(settings)} settings; run.json has all of them."))
    yield Details(f"All {len(settings)} settings", blocks)


def _text(value: Any) -> str:
    if isinstance(value, list) and len(value) > MOST_CLASSES:
        more = len(value) - MOST_CLASSES
        return f"{_text(value[:MOST_CLASSES])} and {more} more"
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


SETTINGS = Part("Settings and versions", "settings", _origins, _settings)
