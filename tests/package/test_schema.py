"""The JSON Schema in the repository is that of the language."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from epgraph.language import json_schema, parse

ROOT = Path(__file__).parents[2]


def test_schema_file_is_current_and_accepts_the_examples() -> None:
    written = json.loads((ROOT / "schemas" / "architecture.schema.json").read_text())
    assert written == json_schema(), "run `make schema`"
    validator = jsonschema.Draft202012Validator(written)
    validator.check_schema(written)
    for example in (ROOT / "examples").glob("*.yaml"):
        validator.validate(parse(example.read_text()).data)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"epgraph": 2, "edges": []})
