"""The language: YAML with positions, the pydantic models, diagnostics, JSON Schema."""

from epgraph.language.document import Document
from epgraph.language.dump import to_yaml
from epgraph.language.editor import INSTALLED_SCHEMA, RUN_SCHEMA, modeline, schema_text
from epgraph.language.expand import expand, include, origins, without_repetitions
from epgraph.language.model import Architecture
from epgraph.language.overrides import Assignment, override
from epgraph.language.reader import parse
from epgraph.language.schema import json_schema
from epgraph.language.validate import raise_for, validate

__all__ = [
    "INSTALLED_SCHEMA",
    "RUN_SCHEMA",
    "Architecture",
    "Assignment",
    "Document",
    "expand",
    "include",
    "json_schema",
    "modeline",
    "origins",
    "override",
    "parse",
    "raise_for",
    "schema_text",
    "to_yaml",
    "validate",
    "without_repetitions",
]
