"""Plain values → ``Architecture``, or all mistakes at once in the user's terms."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from epgraph.arguments import shown
from epgraph.costs import COSTS
from epgraph.errors import RULES, Diagnostic, EpgraphError, Location, nearest
from epgraph.kinds import KINDS
from epgraph.language.document import Document
from epgraph.language.dump import flow
from epgraph.language.model import LANGUAGE, NAME_PATTERN, Architecture, ScheduleName, field_at, known_keys, one_end
from epgraph.language.remains import meant, place, remains
from epgraph.language.sugar import SugarSpec

MOST = 1000
"""Number of mistakes that are explained; of further ones only the number is reported."""

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


# Names of the ends of an edge in Python.
_PYTHON = {"source": "from", "target": "to"}

_SIGNS = {"greater_than": ">", "greater_than_equal": "≥", "less_than": "<", "less_than_equal": "≤"}

# Type of a pydantic error → rule. Our own error types have the names of rules.
_RULES = {
    **dict.fromkeys(_EXPECTED, "wrong-type"),
    **dict.fromkeys(_SIGNS, "out-of-range"),
    **dict.fromkeys(("too_short", "too_long", "string_too_short", "string_too_long"), "wrong-length"),
    "finite_number": "out-of-range",
    "extra_forbidden": "unknown-key",
    "missing": "missing-key",
    "literal_error": "unknown-value",
    "word": "unknown-value",
    "pair": "wrong-length",
    "string_pattern_mismatch": "not-a-name",
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
        message = f"expected a mapping of keys, found {describe(data)}"
        problems.append(Diagnostic(message, "start with 'epgraph: 2'", rule="wrong-type"))
        return None, [document.locate(p) for p in problems]
    unreadable = version_problem(data.get("epgraph"))
    if unreadable:
        return None, [document.locate(p) for p in (*problems, unreadable)]
    architecture: Architecture | None = None
    try:
        architecture = Architecture.model_validate(data)
    except ValidationError as error:
        details = errors_of(error)
        most = _most(document, details)
        problems += [_in_quotes(explain(_as_written(d, document)), d, document) for d in details[:most]]
        if len(details) > most:
            problems.append(_more(details, most))
        else:
            architecture = remains(data, details)
    if document.headless:
        architecture = None
    if architecture is not None:
        architecture._document = document
        architecture._partial = architecture._partial or document.partial
    return architecture, [document.locate(p) for p in problems]


def _as_written(error: ErrorDetails, document: Document) -> ErrorDetails:
    """Complete the hint of a unary kind with two ends: name the ends as written, without those that cannot move."""
    ends = error.get("ctx", {}).get("ends")
    if ends is None:
        return error
    data = document.data
    source, sink = (data[key] if isinstance(data.get(key), dict) else {} for key in ("input", "output"))
    # The input is clamped, and a readout is no part of the dynamics.
    readout = any(sink.get("cost") == name and cost.readout for name, cost in COSTS.items())
    fixed = [source.get("name", "x"), *([sink.get("name", "y")] if readout else [])]
    texts = {}
    for key, end in zip(("from", "to"), ends, strict=True):
        text = document.written((*error["loc"], key))
        if end not in fixed:
            texts[key] = text if isinstance(text, str) else f"[{', '.join(text)}]" if isinstance(text, list) else end
    hint = one_end(list(texts.values())) if texts else "write at, and the name of a state that moves, in their place"
    return {**error, "ctx": {**error["ctx"], "hint": hint}}


def _most(document: Document, details: list[ErrorDetails]) -> int:
    """Number of leading errors that come from ``MOST`` places of the file; one mistake in a block gives many errors."""
    places = set()
    for number, error in enumerate(details):
        places.add((error["type"], document.place(place(error))))
        if len(places) > MOST:
            return number
    return len(details)


def _more(details: list[ErrorDetails], most: int) -> Diagnostic:
    at = place(details[most])
    return Diagnostic(
        f"{len(details) - most:,} more mistakes from here on", "fix the others first", at, rule="too-large"
    )


def mistakes(states: dict[str, Any], edges: list[Any]) -> list[Diagnostic]:
    """Return the mistakes in states and edges that do not depend on the network around them."""
    around = {"epgraph": LANGUAGE, "input": {"shape": [1]}, "output": {"classes": 1}}
    filler = [{"from": "x", "to": "y", "dense": {}}]
    try:
        Architecture.model_validate({**around, "states": states, "edges": edges or filler})
    except ValidationError as error:
        return [explain(d) for d in errors_of(error)]
    return []


def errors_of(error: ValidationError) -> list[ErrorDetails]:
    """Return pydantic's errors, without those that follow from others.

    pydantic does not count faulty entries of a list, and then reports the list as too short.
    """
    return [d for d in error.errors(include_url=False) if not _only_miscounted(d)]


def _only_miscounted(error: ErrorDetails) -> bool:
    entries = error["input"]
    short = error["type"] == "too_short" and isinstance(entries, list | tuple)
    return short and len(entries) >= error["ctx"]["min_length"]


def _in_quotes(diagnostic: Diagnostic, error: ErrorDetails, document: Document) -> Diagnostic:
    """If unquoted text was read as another type, locate the diagnostic and propose the text in quotes."""
    if error["type"] != "string_type" or not isinstance(error["input"], bool | int | float):
        return diagnostic
    found = document.locate(diagnostic)
    key = ".".join(map(str, diagnostic.at))
    if found.line is None:
        raw = str(found.file).partition(f"--set {key}=")[2].strip()
        hint = f"write --set '{key}=\"{raw}\"'"
    else:
        raw = found.span()
        hint = f'write "{raw}"'
    # Quotes do not make it a legal name, and the text of an expression is not its value.
    could = diagnostic.at == ("name",) or re.fullmatch(NAME_PATTERN, raw)
    return replace(found, hint=hint) if raw and could and "$" not in raw else found


def explain(error: ErrorDetails) -> Diagnostic:
    """Turn a pydantic error into a diagnostic in the language's terms."""
    at: Location = place(error)
    kind, value, ctx = error["type"], error["input"], error.get("ctx", {})
    own = kind.replace("_", "-")
    # Custom validators of edge kinds reject combinations of options.
    rule = _RULES.get(kind, own if own in RULES else "conflicting-keys")
    if kind == "extra_forbidden":
        key = str(at[-1])
        return Diagnostic(f"unknown key '{key[:64]}'", _key_hint(key, at[:-1], value), at, on_key=True, rule=rule)
    if kind == "missing":
        key = str(at[-1])
        return Diagnostic(f"missing key '{key}'", _example(at), at[:-1], rule=rule)
    if kind in _EXPECTED:
        expected = f"'{_last_key(at)}' expects {_EXPECTED[kind]}, found {describe(value)}"
        return Diagnostic(expected, _instead(kind, value, at), at, rule=rule)
    if kind == "literal_error":
        if isinstance(value, str) and value in str(ctx["expected"]).split(" or "):
            message = f"'{_last_key(at)}' expects {ctx['expected']}, found {describe(value)}"
            return Diagnostic(message, f"write {value} without quotes", at, rule=rule)
        elsewhere = at == ("training", "schedule") and value in get_args(ScheduleName)
        return Diagnostic(
            f"'{_last_key(at)}' expects {ctx['expected']}, found {describe(value)}",
            "it belongs in 'dynamics'" if elsewhere else _nearest_word(value, str(ctx["expected"])),
            at,
            rule=rule,
        )
    if kind in _SIGNS:
        bound = next(ctx[key] for key in ("gt", "ge", "lt", "le") if key in ctx)
        must = f"'{_last_key(at)}' must be {_SIGNS[kind]} {_number(bound)}, found {describe(value)}"
        return Diagnostic(must, "", at, rule=rule)
    if kind == "string_pattern_mismatch":
        hint = "a name is a letter followed by at most 63 letters, digits or '_'"
        if isinstance(value, str) and ")" in value:
            hint = "put an expression with commas in quotes"
        return Diagnostic(f"{describe(value)} is not a name", hint, at, rule=rule)
    if kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        bound = ctx.get("min_length", ctx.get("max_length"))
        least = "at least" if kind.endswith("short") else "at most"
        one, many, length = ("entry", "entries", ctx.get("actual_length"))
        if isinstance(value, str):
            one, many, length = ("character", "characters", len(value))
        needs = f"'{_last_key(at)}' needs {least} {bound} {one if bound == 1 else many}, found {length}"
        return Diagnostic(needs, _example(at) if at else "", at, rule=rule)
    hint = str(ctx.get("hint", ""))
    return Diagnostic(error["msg"], hint, at, rule=rule)


def _nearest_word(value: object, expected: str) -> str:
    """Hint for a word that is none of those that the message lists."""
    if not isinstance(value, str):
        return ""
    hint = nearest(value, [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")])
    return hint if hint.startswith("did you mean") else ""


def _key_hint(key: str, at: Location, value: object) -> str:
    """Hint for an unknown key: the section where it belongs, or the nearest known key."""
    if key == "<<":
        return "YAML 1.2 has no merge keys; write the keys out, or give the whole value an alias"
    known = known_keys(at)
    word = re.match(r"\w+", key)
    if word and word[0] in known and re.match(r"[ :]", key[word.end() :]):
        return f"write ': ' between '{word[0]}' and its value"
    if key.isdigit():
        return "a decimal point is '.', and keys are followed by ':'"
    if len(at) == 2 and at[0] == "edges":
        of_edges = _edge_key_hint(key, value)
        if of_edges:
            return of_edges
    if at[:1] == ("states",) and key in _SIZES:
        return _size_hint(value)
    if at[:2] == ("training", "optimizer") and key in _ELSEWHERE:
        return f"it is the key training.{_ELSEWHERE[key]}"
    if len(at) <= 1:
        others = [name for name in Architecture.model_fields if (name,) != at and key in known_keys((name,))]
        sections = [name for name in others if not at or _may_be_meant(value, (name, key))]
        if sections:
            return f"it belongs in {' or '.join(map(repr, sections[:3]))}"
        if at == ("training",) and key in _TRAINING:
            return _TRAINING[key]
    if not at:
        known[1:1] = SugarSpec.model_fields
    return nearest(key, known, len(known) if not at else 12)


def _edge_key_hint(key: str, value: object) -> str:
    """Hint for an unknown key of an edge: another name of a kind, or an option of one; empty where it is neither."""
    if key in ("kind", "type"):
        return "the kind is a key itself, with its options: e.g. dense: {}"
    if key in _PYTHON:
        return f"did you mean '{_PYTHON[key]}'?"
    kinds = [name for name, kind in KINDS.items() if key in kind.model_fields]
    if kinds:
        return f"it is an option of {' and '.join(kinds)}: write it inside, e.g. {kinds[0]}: {{{key}: …}}"
    if isinstance(value, dict):
        # A mapping of options means a kind.
        close = nearest(key, list(KINDS))
        own = f"kinds of edges: {', '.join(KINDS)}; one of your own is brought by --plugin FILE"
        return close if close.startswith("did you mean") else own
    return ""


_SIZES = ("units", "neurons", "nodes", "size", "dim")
"""Keys of a state in other software that say how large it is."""


def _size_hint(value: object) -> str:
    count = value if isinstance(value, int) and not isinstance(value, bool) else "N"
    return f"write shape: [{count}] for {count} units, or channels: {count} for {count} maps with height and width"


def _may_be_meant(value: object, at: Location) -> bool:
    """Whether a key at a location may have this value: if the key has a list of words, the value must be one."""
    field = field_at(at)
    assert field is not None
    try:
        TypeAdapter(field.rebuild_annotation()).validate_python(value, strict=True)
    except ValidationError as error:
        return all(detail["type"] != "literal_error" for detail in error.errors(include_url=False))
    return True


_RATE = "write schedule: cosine, linear, exponential, constant, {step: {every: 30}} or one_cycle"

_ELSEWHERE = {"lr": "learning_rate", **{key: key for key in ("learning_rate", "momentum", "nesterov", "weight_decay")}}
"""Arguments of optimizers that are keys of training."""

_TRAINING = dict.fromkeys(("scheduler", "lr_schedule", "lr_scheduler", "learning_rate_schedule"), _RATE)
"""Keys of training in other software → hint."""


def _instead(kind: str, value: object, at: Location) -> str:
    """Hint for a value of the wrong type: the same value in the expected type."""
    if kind in ("model_type", "model_attributes_type", "dict_type", "list_type", "tuple_type"):
        return "write […] in place of (…)" if isinstance(value, str) and value[:1] == "(" else _example(at)
    if kind == "string_type" and value is None and at:
        return _example(at)
    instead = meant(kind, value)
    if isinstance(instead, bool) or isinstance(value, float):
        return "" if instead is None else f"write {flow(instead)}"
    if instead is not None:
        return f"write {str(value).strip()} without quotes"
    if value is None:
        return _example(at)
    # 3x3 is written for a pair.
    sides = re.fullmatch(r"\s*\d+(\s*[x×]\s*\d+)+\s*", value) if isinstance(value, str) else None
    return f"write [{', '.join(re.findall(r'[0-9]+', str(value)))}]" if sides and kind == "int_type" else ""


def describe(value: object) -> str:
    """Describe a value for a person: ``text '3'``, ``true``, ``a list``."""
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
    return shown(value)


def raise_for(diagnostics: list[Diagnostic]) -> None:
    """Raise if there are errors among the diagnostics, with all of them in file order."""
    errors = [d for d in diagnostics if d.severity == "error"]
    if errors:
        raise EpgraphError(sorted(errors, key=lambda d: (d.line or 0, d.column or 0)))


def _number(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def version_problem(version: object) -> Diagnostic | None:
    """Return the problem with the version of a file; None if this epgraph reads it."""
    if not isinstance(version, int) or isinstance(version, bool) or version == LANGUAGE:
        return None
    written = f"this file is written in language version {version}, and this epgraph reads"
    if version > LANGUAGE:
        return Diagnostic(f"{written} up to version {LANGUAGE}", "upgrade epgraph", ("epgraph",), rule="version")
    hint = f"write 'epgraph: {LANGUAGE}', and '$$' for a dollar sign that begins no expression"
    return Diagnostic(f"{written} version {LANGUAGE}", hint, ("epgraph",), rule="version")


def _last_key(at: Location) -> str:
    names = [part for part in at if isinstance(part, str)]
    if not names:
        return "the file"
    index = f"[{at[-1]}]" if at and isinstance(at[-1], int) else ""
    return f"{names[-1]}{index}"


def _example(at: Location) -> str:
    examples = {
        "epgraph": "write 'epgraph: 2' at the top; if this is a fragment, check a file that includes it",
        "input": "e.g. input: {name: x, shape: [3, 32, 32]}",
        "output": "e.g. output: {name: y, classes: 10}",
        "states": "e.g. states: {h1: {channels: 64}}",
        "edge": "e.g. {from: x, to: y, dense: {}}",
        "edges": "e.g. edges: [{from: x, to: y, dense: {}}]",
        "from": "an edge needs both ends: from and to",
        "to": "an edge needs both ends: from and to",
        "shape": "e.g. shape: [3, 32, 32]",
        "classes": "e.g. classes: 10",
        "kernel": "e.g. kernel: 3",
        "kind": "e.g. kind: average",
    }
    last = str(at[-1])
    if len(at) == 3 and at[0] == "edges" and last in KINDS:
        needed = [name for name, option in KINDS[last].model_fields.items() if option.is_required()]
        example = {name: (KINDS[last].model_fields[name].examples or ["…"])[0] for name in needed}
        return f"e.g. {last}: {{{', '.join(f'{name}: {value}' for name, value in example.items())}}}"
    if len(at) == 2 and at[0] == "states":
        return f"e.g. {last}: {{channels: 64}}"
    if len(at) == 2 and at[0] == "edges":
        last = "edge"
    field = field_at(at)
    if last not in examples and field is not None and field.examples:
        return f"e.g. {last}: {flow(field.examples[0])}"
    return examples.get(last, "")
