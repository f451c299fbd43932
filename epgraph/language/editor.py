"""What lets an editor complete and check a file: the installed JSON Schema, and the comment that names a schema."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from epgraph.activations import NAMED
from epgraph.costs import COSTS
from epgraph.energies import ENERGIES
from epgraph.init_rules import INITIAL
from epgraph.kinds import KINDS
from epgraph.language.schema import json_schema
from epgraph.learning_rules import ESTIMATORS
from epgraph.optimizers import OPTIMIZERS
from epgraph.rates import RATE_SCHEDULES
from epgraph.solvers import SOLVERS

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
    registered = (tuple((name, _Same(member)) for name, member in table.items()) for table in _REGISTRIES)
    return _schema_text(indent, tuple(registered))


_REGISTRIES = (NAMED, COSTS, ENERGIES, INITIAL, KINDS, ESTIMATORS, OPTIMIZERS, RATE_SCHEDULES, SOLVERS)
"""All that the schema depends on and that a plugin may change."""


class _Same:
    """A member of a registry, which is equal to itself alone and may be of any type."""

    def __init__(self, member: object) -> None:
        self.member = member

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.member is self.member

    def __hash__(self) -> int:
        return id(self.member)


@lru_cache(maxsize=8)
def _schema_text(indent: int | None, registered: tuple[Any, ...]) -> str:
    """Every run writes the schema, and pydantic takes 50 ms to make it: it is kept while what is registered stays."""
    return json.dumps(json_schema(), indent=indent, ensure_ascii=False) + "\n"
