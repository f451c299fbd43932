"""What the user writes: YAML with positions, the pydantic models, diagnostics, JSON Schema."""

from epgraph.spec.architecture import Architecture
from epgraph.spec.document import Document, parse
from epgraph.spec.dump import to_yaml
from epgraph.spec.expand import expand, include, origins, upgrade, without_repetitions
from epgraph.spec.overrides import override
from epgraph.spec.schema import json_schema
from epgraph.spec.validate import raise_for, validate

__all__ = [
    "Architecture",
    "Document",
    "expand",
    "include",
    "json_schema",
    "origins",
    "override",
    "parse",
    "raise_for",
    "to_yaml",
    "upgrade",
    "validate",
    "without_repetitions",
]
