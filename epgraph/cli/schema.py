"""``epgraph schema``: the JSON Schema of the language."""

from __future__ import annotations

import json
from pathlib import Path

import click

from epgraph.cli.output import write_out
from epgraph.cli.shared import plugin_option
from epgraph.language import json_schema


@click.command()
@plugin_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; left out, print it.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of architecture files, for completion in editors.

    \b
    Example:
      epgraph schema -o schemas/architecture.schema.json
      epgraph schema --plugin my_kinds.py -o my.schema.json
    """
    write_out(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", output)
