"""``epgraph check``: everything that can be said about a file without running it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from epgraph.cli.options import file_argument, plugin_option, schedule_option, set_option
from epgraph.errors import Diagnostic, EpgraphError, path_text
from epgraph.graph import build, inspect
from epgraph.passes import lower, report
from epgraph.spec import raise_for


@click.command()
@plugin_option
@file_argument
@schedule_option
@set_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path, schedule: str | None, overrides: tuple[str, ...], as_json: bool) -> int:
    """Check a network and print its states, edges, schedule, cost, and what is guaranteed for it and why.

    Mistakes are printed as file:line:column, all at once, and the exit code is 1.

    \b
    Example:
      epgraph check examples/hopfield_resnet13.yaml
      epgraph check examples/hopfield_resnet13.yaml --schedule coloring --json
    """
    try:
        architecture, diagnostics = inspect(file, overrides)
        raise_for(diagnostics)
        assert architecture is not None
        found = report(lower(build(architecture), schedule or architecture.dynamics.schedule))
    except EpgraphError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"diagnostics": [_plain(d) for d in error.diagnostics]}, ensure_ascii=False))
        return 1
    if as_json:
        click.echo(json.dumps({**found, "diagnostics": [_plain(d) for d in diagnostics]}, ensure_ascii=False))
        return 0
    for diagnostic in diagnostics:
        click.echo(f"warning: {diagnostic}", err=True)
    click.echo(_text(found))
    return 0


def _plain(diagnostic: Diagnostic) -> dict[str, Any]:
    return {**asdict(diagnostic), "at": path_text(diagnostic.at)}


def _text(found: dict[str, Any]) -> str:
    states = [
        (
            state["name"],
            "×".join(map(str, state["shape"])),
            "clamped" if state["clamped"] else state["activation"],
            "" if state["colour"] is None else str(state["colour"] + 1),
            ", ".join(state["pre"]),
            ", ".join(state["post"]),
        )
        for state in found["states"]
    ]
    edges = [
        (
            edge["name"],
            f"{edge['from']} → {edge['to']}" if edge["from"] != edge["to"] else f"at {edge['from']}",
            edge["kind"],
            _weight(edge),
            f"{edge['macs']:,}",
        )
        for edge in found["edges"]
    ]
    schedule = found["schedule"]
    lines = [
        found["name"],
        "",
        *_table(("state", "shape", "activation", "class", "pre", "post"), states),
        "",
        *_table(("edge", "from → to", "kind", "weight", "MACs"), edges),
        "",
        f"schedule    {schedule['name']}, {len(schedule['classes'])} classes, "
        + ("a proper colouring" if schedule["proper"] else "not a proper colouring"),
        *(
            f"            conflict: {' and '.join(c['states'])} move together but share the edge {c['edge']}"
            for c in schedule["conflicts"]
        ),
        *(f"{'' if i else 'guarantees':<12}{sentence}" for i, sentence in enumerate(found["guarantees"])),
        f"parameters  {found['parameters']:,}" + (f", and {found['frozen']:,} frozen" if "frozen" in found else ""),
        f"MACs/sweep  {found['macs_per_sweep']:,} per example (the clamped input's part is computed once per batch)",
    ]
    return "\n".join(lines)


def _weight(edge: dict[str, Any]) -> str:
    shape = "×".join(map(str, edge["weight_shape"] or ())) or "–"
    tied = f", that of {edge['tied_to']}" if "tied_to" in edge else ""
    return f"{shape}{tied}{', frozen' if 'frozen' in edge else ''}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
