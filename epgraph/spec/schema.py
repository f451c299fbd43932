"""The JSON Schema of the language, generated from the pydantic models."""

from __future__ import annotations

from typing import Any

from epgraph.spec.architecture import Architecture


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of an architecture file, for editors and independent validators."""
    schema = Architecture.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "epgraph architecture",
        **{key: value for key, value in schema.items() if key != "title"},
    }
