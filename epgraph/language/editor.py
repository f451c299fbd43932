"""What lets an editor complete and check a file: the installed JSON Schema, and the comment that names a schema."""

from __future__ import annotations

import json
from pathlib import Path

from epgraph.language.schema import json_schema

INSTALLED_SCHEMA = Path(__file__).with_name("architecture.schema.json")
"""The schema of the language without plugins, a file of the package; ``make schema`` writes it."""

RUN_SCHEMA = "architecture.schema.json"
"""Name of the schema in a run folder."""


def modeline(schema: str) -> str:
    """Return the first line of a file, from which a YAML language server knows the schema.

    Parameters
    ----------
    schema
        A URI, or a path relative to the folder of the file.
    """
    return f"# yaml-language-server: $schema={schema}\n"


def schema_text(*, indent: int | None = 2) -> str:
    """Return the JSON Schema of the language as it is now, plugins included, as text."""
    return json.dumps(json_schema(), indent=indent, ensure_ascii=False) + "\n"
