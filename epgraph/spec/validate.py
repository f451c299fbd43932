"""Plain values → ``Architecture``, with every mistake found in one go and said in the user's words."""

from __future__ import annotations

import copy
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from epgraph.errors import Diagnostic, EpgraphError, Location, nearest
from epgraph.spec.architecture import LANGUAGE, Architecture, known_keys
from epgraph.spec.document import Document

_TAGS = ("<flag>", "<options>", "<number>", "<pair>", "<word>")

_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of names to settings",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "none_required": "null",
    "finite_number": "a finite number",
}


def validate(document: Document) -> tuple[Architecture | None, list[Diagnostic]]:
    """Validate a document against the language.

    Returns
    -------
    architecture
        The network; where there are mistakes, what is left of it without the parts at fault, so that the
        rest can still be checked, or None where too little is left.
    diagnostics
        The document's own problems and everything that the schema refuses, located. Empty means valid.
    """
    problems = list(document.problems)
    data = document.data
    if not isinstance(data, dict):
        problems.append(Diagnostic(f"expected a mapping of keys, found {describe(data)}", "start with 'epgraph: 1'"))
        return None, [document.locate(p) for p in problems]
    newer = _newer_language(data.get("epgraph"))
    if newer:
        return None, [document.locate(p) for p in (*problems, newer)]
    architecture: Architecture | None = None
    try:
        architecture = Architecture.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems += [explain(d) for d in details]
        rest, bad_edges = _without(data, details)
        try:
            architecture = Architecture.model_validate(rest)
        except ValidationError:
            architecture = None
        else:
            architecture._dropped_edges = bad_edges
            architecture._partial = True
    if architecture is not None:
        architecture._document = document
    return architecture, [document.locate(p) for p in problems]


def explain(error: ErrorDetails) -> Diagnostic:
    """Turn one of pydantic's errors into a diagnostic in the language's own terms."""
    at: Location = tuple(part for part in error["loc"] if part not in _TAGS)
    kind, value, ctx = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        key = str(at[-1])
        return Diagnostic(f"unknown key '{key[:64]}'", nearest(key, known_keys(at[:-1])), at, on_key=True)
    if kind == "missing":
        key = str(at[-1])
        return Diagnostic(f"missing key '{key}'", _example(at), at[:-1])
    if kind in _EXPECTED:
        return Diagnostic(f"'{_last_key(at)}' expects {_EXPECTED[kind]}, found {describe(value)}", "", at)
    if kind == "literal_error":
        return Diagnostic(
            f"'{_last_key(at)}' expects {ctx['expected']}, found {describe(value)}",
            nearest(value, [w.strip("'") for w in str(ctx["expected"]).replace(" or ", ", ").split(", ")])
            if isinstance(value, str)
            else "",
            at,
        )
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        sign = {"greater_than": ">", "greater_than_equal": "≥", "less_than": "<", "less_than_equal": "≤"}[kind]
        bound = next(ctx[key] for key in ("gt", "ge", "lt", "le") if key in ctx)
        return Diagnostic(f"'{_last_key(at)}' must be {sign} {_number(bound)}, found {describe(value)}", "", at)
    if kind == "string_pattern_mismatch":
        return Diagnostic(
            f"{describe(value)} is not a name",
            "a name is a letter followed by at most 63 letters, digits or '_'",
            at,
        )
    if kind in ("too_short", "too_long"):
        bound = ctx.get("min_length", ctx.get("max_length"))
        least = "at least" if kind == "too_short" else "at most"
        return Diagnostic(f"'{_last_key(at)}' needs {least} {bound} entries, found {ctx.get('actual_length')}", "", at)
    hint = str(ctx.get("hint", ""))
    return Diagnostic(error["msg"], hint, at)


def describe(value: object) -> str:
    """Name a value the way a person would: ``text '3'``, ``true``, ``a list``."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"text '{value[:40]}{'…' if len(value) > 40 else ''}'"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:20]}… ({len(text)} digits)"


def raise_for(diagnostics: list[Diagnostic]) -> None:
    """Raise all errors among the diagnostics, in the order of the file."""
    errors = [d for d in diagnostics if d.severity == "error"]
    if errors:
        raise EpgraphError(sorted(errors, key=lambda d: (d.line or 0, d.column or 0)))


def _number(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def _newer_language(version: object) -> Diagnostic | None:
    if isinstance(version, int) and not isinstance(version, bool) and version > LANGUAGE:
        return Diagnostic(
            f"this file is written in language version {version}, and this epgraph reads version {LANGUAGE}",
            "upgrade epgraph",
            ("epgraph",),
        )
    return None


def _last_key(at: Location) -> str:
    names = [part for part in at if isinstance(part, str)]
    if not names:
        return "the file"
    index = f"[{at[-1]}]" if at and isinstance(at[-1], int) else ""
    return f"{names[-1]}{index}"


def _example(at: Location) -> str:
    examples = {
        "epgraph": "write 'epgraph: 1' at the top",
        "input": "e.g. input: {name: x, shape: [3, 32, 32]}",
        "output": "e.g. output: {name: y, classes: 10}",
        "edges": "e.g. edges: [{from: x, to: y, dense: {}}]",
        "from": "an edge needs both ends: from and to",
        "to": "an edge needs both ends: from and to",
        "shape": "e.g. shape: [3, 32, 32]",
        "classes": "e.g. classes: 10",
        "kernel": "e.g. kernel: 3",
        "kind": "e.g. kind: average",
    }
    return examples.get(str(at[-1]), "")


def _without(data: dict[str, Any], errors: list[ErrorDetails]) -> tuple[dict[str, Any], set[int]]:
    """Copy the data without the parts at fault: an unknown key, a state's settings, whole edges (returned)."""
    rest = copy.deepcopy(data)
    bad_edges: set[int] = set()
    for error in errors:
        at = tuple(part for part in error["loc"] if part not in _TAGS)
        # A key misspelt among a kind's options leaves the options unknown, and with them what the edge does to shapes.
        harmless = _is_unknown_key(error) and len(at) <= 3
        if len(at) >= 2 and at[0] == "edges" and isinstance(at[1], int) and not harmless:
            bad_edges.add(at[1])
        elif len(at) >= 2 and at[0] == "states" and not _is_unknown_key(error):
            rest["states"][at[1]] = {}
        elif at:
            parent: Any = rest
            for part in at[:-1]:
                parent = parent[part] if _has(parent, part) else None
            if isinstance(parent, dict):
                parent.pop(at[-1], None)
    if bad_edges:
        rest["edges"] = [edge for i, edge in enumerate(rest["edges"]) if i not in bad_edges]
    return rest, bad_edges


def _is_unknown_key(error: ErrorDetails) -> bool:
    return error["type"] == "extra_forbidden"


def _has(parent: Any, part: str | int) -> bool:
    return (isinstance(parent, dict) and part in parent) or (
        isinstance(parent, list) and isinstance(part, int) and part < len(parent)
    )
