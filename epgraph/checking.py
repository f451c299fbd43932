"""Everything that can be said about a network without running it: ``ep.check`` and ``epgraph check``. No torch."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from epgraph.activations import Activation
from epgraph.costs import COSTS
from epgraph.errors import Diagnostic, EpgraphError, Location, listed, visible
from epgraph.graph import NetworkGraph, survey
from epgraph.graph.checks.data import data_refusals
from epgraph.graph.folders import of_a_run
from epgraph.graph.plugged import with_plugins
from epgraph.language import raise_for
from epgraph.lowering import depicted, lower, report
from epgraph.plugins import blaming_plugins
from epgraph.progress import tracked
from epgraph.resources import resources, sentences
from epgraph.result_shapes import smaller
from epgraph.testing import verify_activation, verify_cost, verify_kind
from epgraph.timings import last_measured


@dataclass(frozen=True, repr=False)
class CheckResult:
    """What ``ep.check`` returns.

    Attributes
    ----------
    report
        The compiled network as plain values (``epgraph.lowering.report``), and what a batch takes (``resources``, as
        ``epgraph.resources.Resources``); None where there are mistakes.
    diagnostics
        Mistakes and warnings, in the order of the file.
    """

    report: dict[str, Any] | None
    diagnostics: tuple[Diagnostic, ...]

    def __repr__(self) -> str:
        mistakes = sum(d.severity == "error" for d in self.diagnostics)
        return f"CheckResult(ok={self.ok}, mistakes={mistakes}, warnings={len(self.diagnostics) - mistakes})"

    @property
    def ok(self) -> bool:
        """Whether the network has no mistake."""
        return self.report is not None

    def lines(self) -> list[str]:
        """Return the report as text; nothing where there are mistakes."""
        return [] if self.report is None else _text(self.report)

    def to_dict(self) -> dict[str, Any]:
        """Return report and diagnostics as plain values, ready for JSON."""
        return {**(self.report or {}), "diagnostics": [d.to_dict() for d in self.diagnostics]}


def examine(
    source: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    allow_include: Sequence[str | os.PathLike[str]] = (),
    schedule: str | None = None,
    verify: bool = False,
    batch: int | None = None,
) -> CheckResult:
    """Check a network; see ``epgraph.api.check``."""
    diagnostics: list[Diagnostic] = []
    values = None
    try:
        with blaming_plugins():
            graph, architecture, diagnostics = survey(source, overrides, allow_include, schedule)
            if architecture is not None and not architecture.partial:
                diagnostics += data_refusals(architecture)
            raise_for(diagnostics)
            assert graph is not None
            order = schedule or graph.architecture.dynamics.schedule
            plan = lower(graph, order)
            shown = depicted(graph, order) if graph.by_backprop else plan
            # Measured times are on record by the plan that ran.
            values = {**report(shown), "resources": resources(shown, batch, last_measured(plan)).to_dict()}
            if verify:
                values["verified"], wrong = _verify(plan.graph)
                values["verified_functions"], wrong_functions = _verify_functions(plan.graph)
                raise_for(wrong + wrong_functions)
    except EpgraphError as error:
        values = None
        diagnostics = [d for d in diagnostics if d.severity == "warning"] + with_plugins(error.diagnostics)
    # A training wrote all settings of its run down, those without effect too: nobody can leave them out.
    diagnostics = [d for d in diagnostics if not (d.rule == "no-effect" and of_a_run(d.file))]
    return CheckResult(values, tuple(sorted(diagnostics, key=lambda d: (d.line or 0, d.column or 0))))


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
    for options, index in tracked(first.items(), len(first), "verify", "kinds of edges"):
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


def _verify_functions(graph: NetworkGraph) -> tuple[list[dict[str, Any]], list[Diagnostic]]:
    """Verify every activation and the cost once: what was verified, in which states, and what is wrong."""
    architecture, states = graph.architecture, defaultdict[Activation, list[str]](list)
    done: list[dict[str, Any]] = []
    wrong: list[Diagnostic] = []
    for name in graph.free:
        states[graph.states[name].activation].append(name)

    def hold(what: str, names: list[str], at: Location, verify: Callable[[], list[str] | None]) -> None:
        try:
            remarks = verify()
        except EpgraphError as error:
            wrong.extend(architecture.locate(replace(d, at=at)) for d in error.diagnostics)
        else:
            done.append({"what": what, "states": names, "remarks": remarks or []})

    for activation, names in states.items():
        level = activation.alpha_range[1] or 1.0
        spec = architecture.states.get(names[0])
        own = ("output",) if spec is None else ("states", names[0]) if spec.activation else ("defaults",)
        at: Location = (*own, "activation")
        hold(f"activation {activation.label}", names, at, partial(verify_activation, activation, level))
    cost = architecture.output.cost
    hold(f"cost {cost}", [graph.output.name], ("output", "cost"), partial(verify_cost, COSTS[cost]))
    return done, wrong


def verified(values: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield, for all that ``verify`` has looked at, a sentence and remarks."""
    for kind in values.get("verified", ()):
        on = " → ".join("×".join(map(str, kind[end])) for end in ("source", "target"))
        edges = f"{kind['edges']} edge{'s' * (kind['edges'] > 1)}"
        yield f"{kind['label']}, {edges}: as declared, checked on {on}", kind["remarks"]
    for function in values.get("verified_functions", ()):
        yield f"{function['what']} of {listed(function['states'])}: as declared", function["remarks"]


def _text(values: dict[str, Any]) -> list[str]:
    states = [
        (
            state["name"],
            "×".join(map(str, state["shape"])),
            "clamped" if state["clamped"] else state["activation"],
            "" if state["color"] is None else str(state["color"] + 1),
            ", ".join(state["pre"]),
            ", ".join(state["post"]),
        )
        for state in values["states"]
    ]
    edges = [
        (
            edge["name"],
            f"{edge['from']} → {edge['to']}" if edge["from"] != edge["to"] else f"at {edge['from']}",
            edge["kind"],
            weight_text(edge),
            f"{edge['macs']:,}",
        )
        for edge in values["edges"]
    ]
    lines = [
        values["name"],
        "",
        *_table(("state", "shape", "activation", step_word(values), "pre", "post"), states),
        "",
        *_table(("edge", "from → to", "kind", "weight", "MACs"), edges),
        "",
        "{:<12}{}".format(*order_text(values)),
        *(
            f"            conflict: {' and '.join(c['states'])} move together but " + conflict_reason(c)
            for c in values["schedule"]["conflicts"]
        ),
        *(
            f"{key:<12}{solver_text(values[key])}"
            for key, usual in (("energy", "hopfield"), ("solver", "plain"))
            if values[key] != usual and not values.get("one_pass")
        ),
        *(f"{'' if i else 'guarantees':<12}{sentence}" for i, sentence in enumerate(values["guarantees"])),
        f"parameters  {values['parameters']:,}" + (f", and {values['frozen']:,} frozen" if "frozen" in values else ""),
        "{:<12}{}".format(*_work(values)),
        *(f"{head:<12}{text}" for head, text in zip(("memory", "time"), sentences(values["resources"]), strict=True)),
    ]
    for i, (sentence, remarks) in enumerate(verified(values)):
        lines.append(f"{'' if i else 'verified':<12}{sentence}")
        lines += [f"{'':<12}  {remark}" for remark in remarks]
    return lines


def step_word(values: dict[str, Any]) -> str:
    """What states that are computed together are called: a class, or a step of a forward pass."""
    return "step" if values.get("one_pass") else "class"


def order_text(values: dict[str, Any]) -> tuple[str, str]:
    """Head and text of the order in which states are computed."""
    schedule = values["schedule"]
    count = len(schedule["classes"])
    if values.get("one_pass"):
        return "order", f"backpropagation: one forward pass, {count} step{'s' * (count != 1)}"
    proper = "" if schedule["proper"] else "not "
    return "schedule", f"{schedule['name']}, {count} class{'es' * (count != 1)}, {proper}a proper coloring"


def _work(values: dict[str, Any]) -> tuple[str, str]:
    count = f"{values['macs_per_sweep']:,} per example"
    if values.get("one_pass"):
        return "MACs/pass", count
    return "MACs/sweep", f"{count} (the clamped input's part is computed once per batch)"


def conflict_reason(conflict: dict[str, Any]) -> str:
    """Write why two states must not move together."""
    if conflict["edge"]:
        return f"share the edge {conflict['edge']}"
    child = conflict.get("child")
    return f"both lead into {child}" if child else "the energy couples them"


def solver_text(solver: str | dict[str, dict[str, Any]]) -> str:
    """Write a solver with its options: ``anderson (memory 5)``."""
    if isinstance(solver, str):
        return solver
    ((name, options),) = solver.items()
    return f"{name} ({', '.join(f'{key} {json.dumps(value)}' for key, value in options.items())})"


def weight_text(edge: dict[str, Any]) -> str:
    """Write the shape of a weight, and whose it is."""
    shape = "×".join(map(str, edge["weight_shape"] or ())) or "–"
    tied = f", that of {edge['tied_to']}" if "tied_to" in edge else ""
    return f"{shape}{tied}{', frozen' if 'frozen' in edge else ''}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    shown = [[visible(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
