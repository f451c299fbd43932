"""The JSON Schema of the language, generated from the pydantic models.

The models of the flat form say what a value must be; here an expression is allowed in the place of every one, and the
sections and keys of sugar are added.
"""

from __future__ import annotations

import copy
from typing import Any

from epgraph.kinds import KINDS
from epgraph.language.model import Architecture
from epgraph.language.sugar import InstanceSpec, PatternSpec, SugarSpec

IDENTIFIER = "urn:epgraph:architecture:{version}"
"""``$id`` of the schema of a version of the language: a name, which needs no web address."""

Schema = dict[str, Any]

_EXPRESSION = {"$ref": "#/$defs/Expression"}
_SAID = ("title", "description", "default", "examples")
_REQUIRED = ["epgraph", "input", "output"]


def json_schema() -> Schema:
    """Return the JSON Schema (2020-12) of an architecture file, for editors and independent validators."""
    schema = _models(Architecture)
    definitions: dict[str, Schema] = schema.pop("$defs")
    edge = definitions.pop("EdgeSpec", None) or schema["properties"]["edges"]["items"]
    for definition in (*definitions.values(), edge):
        _open_properties(definition)
    for name, section in schema["properties"].items():
        if name not in ("epgraph", "states", "edges"):
            schema["properties"][name] = _open(section)
    sugar = _add_sugar(schema, definitions, edge)
    schema["properties"] |= sugar["properties"]
    # 'edges' is optional with instances; with 'include', every section is.
    schema["required"] = ["epgraph"]
    schema["anyOf"] = [
        {"required": ["include"]},
        {"required": [*_REQUIRED, "edges"]},
        {"required": [*_REQUIRED, "blocks", "states"]},
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": IDENTIFIER.format(version=schema["properties"]["epgraph"]["const"]),
        "title": "epgraph architecture",
        "$defs": _untitled(dict(sorted(definitions.items())), named=True),
        **_untitled(schema),
    }


def _untitled(schema: Any, *, named: bool = False) -> Any:
    """Leave out the titles that pydantic makes of names of classes and fields: an editor would show them as headings.

    In a mapping whose keys are names (``named``), 'title' is a name like any other.
    """
    if isinstance(schema, list):
        return [_untitled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _untitled(value, named=not named and key in ("properties", "patternProperties"))
        for key, value in schema.items()
        if named or key != "title"
    }


def _add_sugar(schema: Schema, definitions: dict[str, Schema], edge: Schema) -> Schema:
    """Add blocks, instances, patterns and expressions to the definitions, and return the sections of sugar."""
    for model in (InstanceSpec, PatternSpec, SugarSpec):
        found = _models(model)
        definitions.update(found.pop("$defs", {}))
        definitions[model.__name__] = found
    sugar, pattern = definitions.pop("SugarSpec"), definitions.pop("PatternSpec")
    instance = definitions["InstanceSpec"]
    given = instance["properties"]["with"]
    _open_properties(instance)
    # A value may be an expression; a parameter's name may not.
    instance["properties"]["with"] = given
    pattern["properties"]["apart"] = _open(pattern["properties"]["apart"])
    for name in KINDS:
        # An option that an edge leaves out may be in 'defaults'.
        definitions[_definition(edge, name)].pop("required", None)
    definitions["EdgeSpec"] = _with_patterns(edge, pattern)
    for branch in definitions["EdgeSpec"]["properties"]["tie"]["anyOf"]:
        if "pattern" in branch:
            # Names of edges of instances: h1.up.
            branch |= {"pattern": r"^[A-Za-z][A-Za-z0-9_.]*$", "maxLength": 1000}
    definitions["DefaultsSpec"]["properties"] |= _kind_defaults(edge, definitions)
    definitions["Expression"] = {
        "type": "string",
        "pattern": r"\$",
        "description": "An expression over parameters: $channels, $(2 * channels); '$$' is a dollar sign.",
        "examples": ["$channels", "$(2 * channels)"],
    }
    states, edges = schema["properties"]["states"], schema["properties"]["edges"]
    states["additionalProperties"] = {
        "if": {"type": "object", "required": ["block"]},
        "then": {"$ref": "#/$defs/InstanceSpec"},
        "else": {"$ref": "#/$defs/StateSpec"},
    }
    edges["items"] = {"$ref": "#/$defs/EdgeSpec"}
    block = definitions["BlockSpec"]["properties"]
    block["states"]["additionalProperties"] = states["additionalProperties"]
    block["edges"]["items"] = edges["items"]
    # A block has states, or only edges between its ports.
    definitions["BlockSpec"]["anyOf"] = [
        {"required": [key], "properties": {key: {least: 1}}}
        for key, least in (("states", "minProperties"), ("edges", "minItems"))
    ]
    for part in (block, definitions["InstanceSpec"]["properties"]):
        part["defaults"] = {"$ref": "#/$defs/DefaultsSpec", **_said(part["defaults"])}
    return sugar


def _models(model: Any) -> Schema:
    found: Schema = model.model_json_schema(by_alias=True)
    return found


def _said(schema: Schema) -> Schema:
    return {key: schema[key] for key in _SAID if key in schema}


def _open_properties(definition: Schema) -> None:
    """Allow an expression as the value of every property."""
    for name, inner in definition.get("properties", {}).items():
        definition["properties"][name] = _open(inner)


def _open(schema: Schema) -> Schema:
    """Allow an expression in place of a value, and of every value inside it."""
    inside = _open_inside(schema)
    branches = inside["anyOf"] if set(inside) - set(_SAID) == {"anyOf"} else [_unsaid(inside)]
    if any(branch == {} or branch == {"type": "string"} for branch in branches):
        return inside
    return {"anyOf": [*branches, dict(_EXPRESSION)], **_said(inside)}


def _unsaid(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key not in _SAID}


def _open_inside(schema: Schema) -> Schema:
    opened = dict(schema)
    for key in ("anyOf", "oneOf", "prefixItems"):
        if key in opened:
            open_part = _open if key == "prefixItems" else _open_inside
            opened[key] = [open_part(part) for part in opened[key]]
    for key in ("items", "additionalProperties"):
        if isinstance(opened.get(key), dict):
            opened[key] = _open(opened[key])
    if "properties" in opened:
        opened["properties"] = {name: _open(inner) for name, inner in opened["properties"].items()}
    return opened


def _definition(edge: Schema, kind: str) -> str:
    """Name of the definition of a kind's options."""
    branches = edge["properties"][kind]["anyOf"]
    (reference,) = (part["$ref"] for part in branches if "$ref" in part and part != _EXPRESSION)
    return str(reference).rpartition("/")[2]


def _with_patterns(edge: Schema, pattern: Schema) -> Schema:
    """Add the keys of patterns to those of an edge, whose ends may then be selections."""
    edge = copy.deepcopy(edge)
    for name, inner in pattern["properties"].items():
        said = _said(edge["properties"].get(name, {}))
        edge["properties"][name] = {**inner, **said}
    # This replaces the ends of the flat form.
    for key in ("required", "oneOf"):
        edge.pop(key, None)
    among = {"required": ["among"], "not": _any_of("from", "to", "at")}
    pairs = {"required": ["from", "to"], "not": _any_of("among", "apart", "at")}
    alone = {"required": ["at"], "not": _any_of("from", "to", "among", "apart")}
    kinds = [
        {"required": [name, "at"]} if kind.unary else {"required": [name], "not": _any_of("at")}
        for name, kind in KINDS.items()
    ]
    edge["allOf"] = [{"oneOf": [pairs, among, alone]}, {"oneOf": kinds}]
    return edge


def _any_of(*keys: str) -> Schema:
    return {"anyOf": [{"required": [key]} for key in keys]}


def _kind_defaults(edge: Schema, definitions: dict[str, Schema]) -> dict[str, Schema]:
    """Options of kinds in 'defaults', where none is required."""
    found = {}
    for name in KINDS:
        text = edge["properties"][name]
        options = {k: v for k, v in definitions[_definition(edge, name)].items() if k in ("properties", "type")}
        options["properties"] = {key: dict(inner) for key, inner in options["properties"].items()}
        found[name] = {
            **options,
            "additionalProperties": False,
            "description": f"Options of '{name}' where an edge does not say them.",
            **{key: text[key] for key in ("examples",) if key in text},
        }
    return found
