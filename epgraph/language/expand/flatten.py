"""Sugar → flat form: expand parameters, blocks, groups and patterns, and keep the origin of every part."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from epgraph.errors import Diagnostic, Location
from epgraph.language.document import Document, Origin
from epgraph.language.expand.context import ExpansionContext
from epgraph.language.expand.defaults import read_defaults
from epgraph.language.expand.edges import PATTERN_KEYS, connect, read_groups
from epgraph.language.expand.expression import UNKNOWN
from epgraph.language.expand.frames import Cascade, Frame
from epgraph.language.expand.instances import IN, Blocks, check_parameters, declare, read_parameters
from epgraph.language.expand.limits import TooMuchError
from epgraph.language.expand.parameter_origins import ParameterOrigins
from epgraph.language.expand.ties import tie_edges
from epgraph.language.expand.unused import unused_parameters
from epgraph.language.model import NAME_PATTERN, Architecture, DefaultsSpec
from epgraph.language.sweep import SweepSpec
from epgraph.language.validate import describe, mistakes, version_problem

SECTIONS = ("include", "parameters", "blocks", "groups", "sweep")
"""Sections of sugar, which the flat form does not have."""

_NAME = re.compile(NAME_PATTERN)


def expand(document: Document) -> Document:
    """Expand the sugar of a document.

    Returns
    -------
    Document
        The flat form, with the origins of its parts in ``document`` and the mistakes in the sugar among its
        ``problems``; ``document`` itself without sugar, or if its version is another one.
    """
    data = document.data
    if not isinstance(data, dict) or version_problem(data.get("epgraph")) or not _has_sugar(data):
        return document
    context = ExpansionContext(document)
    context.problems += document.problems
    if data.get("sweep") is not None:
        context.check(SweepSpec, data["sweep"], ("sweep",))
    try:
        flat = _flat(context)
    except TooMuchError as error:
        hint = "repeat less, or write a file for each network"
        context.report(Diagnostic(str(error), hint, error.at, rule="too-large"))
        left = {
            key: value for key, value in data.items() if key not in (*SECTIONS, "defaults") and not _has_dollar(value)
        }
        flat = {**_STAND_IN, **left, "states": {}, "edges": _filler(left)}
    made = Document(document.name, flat, problems=context.problems, source=document.source, origins=context.origins)
    made.partial = document.partial or context.failures > 0
    made.headless = context.headless
    return made


def _has_sugar(data: dict[str, Any]) -> bool:
    """Whether a file has sections of sugar, instances, patterns, defaults of kinds or expressions."""
    if any(section in data for section in SECTIONS):
        return True
    states, edges, defaults = data.get("states"), data.get("edges"), data.get("defaults")
    if isinstance(defaults, dict) and not set(defaults) <= set(DefaultsSpec.model_fields):
        return True
    states = states if isinstance(states, dict) else {}
    if any(isinstance(state, dict) and "block" in state for state in states.values()):
        return True
    names = {*states, *_ends(data)}
    for edge in edges if isinstance(edges, list) else ():
        if isinstance(edge, dict):
            ends = (edge[key] for key in ("from", "to", "at") if edge.get(key) is not None)
            if any(key in edge for key in PATTERN_KEYS) or any(_is_pattern(end, names) for end in ends):
                return True
    return _has_dollar(data)


def _is_pattern(end: Any, names: set[str]) -> bool:
    """Whether the end of an edge is more than a name; checks of the flat form report a misspelled name."""
    return not isinstance(end, str) or (end not in names and not _NAME.fullmatch(end))


def _has_dollar(value: Any) -> bool:
    if isinstance(value, str):
        return "$" in value
    if isinstance(value, dict):
        return any(_has_dollar(entry) for entry in value.values())
    return isinstance(value, list) and any(_has_dollar(entry) for entry in value)


def _ends(data: dict[str, Any]) -> tuple[str, str]:
    """Names of the input and the output."""
    names = []
    for key, default in (("input", "x"), ("output", "y")):
        section = data.get(key)
        name = section.get("name", default) if isinstance(section, dict) else default
        names.append(name if isinstance(name, str) else default)
    return names[0], names[1]


def _flat(context: ExpansionContext) -> dict[str, Any]:
    data = context.data
    given = data.get("parameters")
    if given is not None and not isinstance(given, dict):
        found = f"'parameters' expects a mapping of names to values, found {describe(given)}"
        context.report(Diagnostic(found, "e.g. parameters: {channels: 64}", ("parameters",), rule="wrong-type"))
    check_parameters(context, given if isinstance(given, dict) else (), ("parameters",))
    scope = read_parameters(context, given if isinstance(given, dict) else {}, ("parameters",), {})
    places: dict[str, tuple[Location, ParameterOrigins | None, bool]] = {}
    of_file = ParameterOrigins(places)
    places |= {name: (("parameters", name), of_file, False) for name in scope}
    context.origins[()] = Origin(context.source, (), parameters=of_file)
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if key not in (*SECTIONS, "states", "edges", "defaults"):
            resolved = context.resolve(value, (key,), scope)
            # A section with a broken expression is left out, so its defaults apply.
            if resolved is not UNKNOWN:
                flat[key] = resolved
            elif key in ("input", "output"):
                flat[key] = _STAND_IN[key]
                context.headless = True
    context.ends = _ends(flat)
    defaults = data.get("defaults")
    cascade = read_defaults(context, defaults, ("defaults",), scope, None)
    if isinstance(defaults, dict):
        flat["defaults"] = {key: value for key, (value, _) in cascade.keys.items()}
    elif defaults is not None:
        flat["defaults"] = defaults
    blocks = Blocks(context)
    # The flat form keeps the file's defaults of states and edges. Only options of kinds are expanded.
    root = Frame("", "", (), scope, Cascade({}, cascade.kinds, cascade.broken), parameter_origins=of_file)
    states, edges = data.get("states"), data.get("edges")
    if isinstance(states, dict):
        declare(context, blocks, root, states)
    groups = read_groups(context, root)
    connect(context, groups, root)
    tie_edges(context, root)
    _unused(context, blocks, root)
    if not any(problem.severity == "error" for problem in context.problems):
        # With errors, no such warning: a misspelled use of the parameter is already an error.
        unused_parameters(context, blocks)
    flat["states"] = context.states if isinstance(states, dict) or states is None else states
    flat["edges"] = context.edges if isinstance(edges, list) or (edges is None and context.edges) else edges
    if not context.edges and context.failures:
        # Expansion failed: do not also report that there are no edges.
        flat["edges"] = _filler(flat)
    elif edges is None and not context.edges:
        del flat["edges"]
    order = [*Architecture.model_fields, *flat]
    return {key: flat[key] for key in dict.fromkeys(order) if key in flat}


def _filler(flat: dict[str, Any]) -> list[Any]:
    source, target = _ends(flat)
    return [{"from": source, "to": target, "dense": {}}]


_STAND_IN = {"input": {"shape": [1]}, "output": {"classes": 1}}


def _unused(context: ExpansionContext, blocks: Blocks, root: Frame) -> None:
    """Warn about unused blocks, and check blocks without an instance as far as possible."""
    holders: dict[str, set[str]] = {}
    for name, spec in blocks.known.items():
        for entry in spec.states.values():
            if isinstance(entry, dict) and isinstance(entry.get("block"), str):
                holders.setdefault(entry["block"], set()).add(name)
    said = set(context.problems)
    for name, spec in blocks.known.items():
        if name in blocks.made:
            continue
        at = ("blocks", name)
        meant = name in blocks.used or blocks.unknown
        if not meant and not holders.get(name, set()) - {name} and not context.source.included(at):
            found = f"block '{name}' is not used"
            hint = f"e.g. states: {{h: {{block: {name}, from: …}}}}, or remove it"
            context.problems.append(
                context.source.locate(Diagnostic(found, hint, at, True, severity="warning", rule="unused-block"))
            )
        alone = ExpansionContext(context.source)
        alone.budget = context.budget
        scope = {**root.scope, "i": 1, "n": 1}
        given = {key: value for key, value in spec.parameters.items() if value is not None}
        scope = {**scope, **dict.fromkeys(spec.parameters, UNKNOWN)}
        scope = read_parameters(alone, given, (*at, "parameters"), scope)
        trail = (f"in block '{name}'" if meant else f"in block '{name}', which is not used",)
        cascade = root.cascade.under(read_defaults(alone, spec.defaults, (*at, "defaults"), scope, None, trail))
        frame = Frame(name, "", at, scope, cascade, root, name, spec, at, trail)
        frame.ports = dict.fromkeys((IN, *spec.ports), "x")
        declare(alone, blocks, frame, spec.states)
        connect(alone, {}, frame)
        tie_edges(alone, frame)
        context.problems += [p for p in alone.problems if p not in said]
        said.update(alone.problems)
        scratch = Document(context.source.name, None, origins=alone.origins)
        context.problems += [scratch.locate(p) for p in mistakes(alone.states, alone.edges)]


def without_repetitions(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """Report a mistake in a block once, with the number of further instances that have it."""
    first: dict[tuple[Any, ...], int] = {}
    kept: list[Diagnostic] = []
    more: dict[int, int] = {}
    for diagnostic in diagnostics:
        if diagnostic.file is not None:
            # A value that was set from outside has no line; its location differs between instances.
            where: Any = diagnostic.message if diagnostic.line is None else diagnostic.at
            key = (
                diagnostic.rule,
                diagnostic.severity,
                diagnostic.file,
                diagnostic.line,
                diagnostic.column,
                where,
            )
            if key in first:
                same = kept[first[key]]
                if diagnostic.trail or same.trail or diagnostic.message == same.message:
                    more[first[key]] = more.get(first[key], 0) + 1
                    continue
            first.setdefault(key, len(kept))
        kept.append(diagnostic)
    for index, number in more.items():
        found = kept[index]
        if found.trail:
            times = f"and {number} more {'instance' if number == 1 else 'instances'}"
            kept[index] = replace(found, trail=(*found.trail, times))
    return kept
