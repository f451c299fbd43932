"""``epgraph check``: everything that can be said about a file without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from epgraph.cli.options import allow_include_option, file_argument, plugin_option, schedule_option, set_option
from epgraph.cli.output import echo, echo_json
from epgraph.cli.say import say
from epgraph.errors import Diagnostic, EpgraphError, visible
from epgraph.graph import NetworkGraph, no_collection, survey
from epgraph.language import raise_for
from epgraph.lowering import lower, report
from epgraph.registry import blaming_plugins
from epgraph.testing import smaller, verify_kind


class _Command(click.Command):
    """A command whose ``--json`` holds for what is wrong on the command line, and in plugins, as well."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        as_json = "--json" in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except EpgraphError as error:
            problems = error.diagnostics
            if not as_json:
                raise
        except click.UsageError as error:
            problems = (Diagnostic(error.format_message().rstrip("."), "see 'epgraph check --help'"),)
            if not as_json:
                raise
        echo_json(_content(problems))
        raise click.exceptions.Exit(1)


@click.command(cls=_Command)
@plugin_option
@file_argument
@allow_include_option
@schedule_option
@set_option
@click.option("--verify", "verified", is_flag=True, help="Check that every edge kind of the file is what it says.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(
    file: Path,
    allow_include: tuple[Path, ...],
    schedule: str | None,
    overrides: tuple[str, ...],
    verified: bool,
    as_json: bool,
) -> int:
    """Check a network and print its states, edges, schedule, cost, and what is guaranteed for it and why.

    Mistakes are printed as file:line:column, all at once, and the exit code is 1.

    \b
    Example:
      epgraph check examples/hopfield_resnet13.yaml
      epgraph check examples/hopfield_resnet13.yaml --schedule coloring --json
      epgraph check net.yaml --plugin my_kinds.py --verify
    """
    with no_collection():
        found, diagnostics = _examine(file, allow_include, schedule, overrides, verified)
        if as_json:
            echo_json(_content(diagnostics, found))
        else:
            say(diagnostics)
            if found is not None:
                echo(*_text(found))
    return 1 if found is None else 0


def _examine(
    file: Path, allow_include: tuple[Path, ...], schedule: str | None, overrides: tuple[str, ...], verified: bool
) -> tuple[dict[str, Any] | None, list[Diagnostic]]:
    """Return the report, None where there are errors, and all diagnostics in the order of the file."""
    diagnostics: list[Diagnostic] = []
    found = None
    try:
        with blaming_plugins():
            graph, _, diagnostics = survey(file, overrides, allow_include, schedule)
            raise_for(diagnostics)
            assert graph is not None
            plan = lower(graph, schedule or graph.architecture.dynamics.schedule)
            found = report(plan)
            if verified:
                found["verified"], wrong = _verify(plan.graph)
                raise_for(wrong)
    except EpgraphError as error:
        found = None
        diagnostics = [d for d in diagnostics if d.severity == "warning"] + list(error.diagnostics)
    return found, sorted(diagnostics, key=lambda d: (d.line or 0, d.column or 0))


def _verify(graph: NetworkGraph) -> tuple[list[dict[str, Any]], list[Diagnostic]]:
    """Verify every edge kind with its options once: what was verified on which shapes, and what is wrong."""
    architecture = graph.architecture
    first: dict[tuple[type, str], int] = {}
    edges = list(graph.edges.values())
    number: Counter[tuple[type, str]] = Counter()
    for index, edge in enumerate(edges):
        options = (type(edge.kind), edge.kind.model_dump_json())
        number[options] += 1
        first.setdefault(options, index)
    done, wrong = [], []
    for options, index in first.items():
        kind, edge = edges[index].kind, edges[index]
        shapes = smaller(kind, graph.states[edge.source].shape, graph.states[edge.target].shape)
        at = (*architecture.edge_location(index), kind.name)
        try:
            remarks = verify_kind(kind, [shapes])
        except EpgraphError as error:
            wrong += [architecture.locate(replace(d, at=at)) for d in error.diagnostics]
            continue
        source, target = (list(shape) for shape in shapes)
        row = {"kind": kind.name, "label": kind.label(), "edges": number[options], "source": source, "target": target}
        done.append({**row, "remarks": remarks})
    return done, wrong


def _content(diagnostics: Sequence[Diagnostic], found: dict[str, Any] | None = None) -> dict[str, Any]:
    return {**(found or {}), "diagnostics": [d.to_dict() for d in diagnostics]}


def _solver(solver: str | dict[str, dict[str, Any]]) -> str:
    """Write a solver with its options: ``anderson (memory 5)``."""
    if isinstance(solver, str):
        return solver
    ((name, options),) = solver.items()
    return f"{name} ({', '.join(f'{key} {value}' for key, value in options.items())})"


def _text(found: dict[str, Any]) -> list[str]:
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
        *([f"solver      {_solver(found['solver'])}"] if found["solver"] != "plain" else []),
        *(f"{'' if i else 'guarantees':<12}{sentence}" for i, sentence in enumerate(found["guarantees"])),
        f"parameters  {found['parameters']:,}" + (f", and {found['frozen']:,} frozen" if "frozen" in found else ""),
        f"MACs/sweep  {found['macs_per_sweep']:,} per example (the clamped input's part is computed once per batch)",
    ]
    for i, kind in enumerate(found.get("verified", ())):
        on = " → ".join("×".join(map(str, kind[end])) for end in ("source", "target"))
        edges_of = f"{kind['edges']} edge{'s' * (kind['edges'] > 1)}"
        lines.append(f"{'' if i else 'verified':<12}{kind['label']}, {edges_of}: what it says, checked on {on}")
        lines += [f"{'':<12}  {remark}" for remark in kind["remarks"]]
    return lines


def _weight(edge: dict[str, Any]) -> str:
    shape = "×".join(map(str, edge["weight_shape"] or ())) or "–"
    tied = f", that of {edge['tied_to']}" if "tied_to" in edge else ""
    return f"{shape}{tied}{', frozen' if 'frozen' in edge else ''}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    shown = [[visible(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
