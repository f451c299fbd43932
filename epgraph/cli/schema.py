"""``epgraph schema``: the JSON Schema of the language."""

from __future__ import annotations

import json
from pathlib import Path

import click

from epgraph.cli.options import plugin_option
from epgraph.cli.output import check_output, echo, write_out
from epgraph.errors import EpgraphError
from epgraph.language import INSTALLED_SCHEMA, json_schema, schema_text

MAX_BYTES = 1 << 24
"""What a schema may have at most; ours has less than a megabyte."""


@click.command()
@plugin_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; left out, print it.")
@click.option("--path", "show_path", is_flag=True, help="Print the path of the installed schema, for editor settings.")
def schema(output: Path | None, show_path: bool) -> None:
    """Print the JSON Schema of network files.

    Editors complete and check files by it.

    \b
    Example:
      epgraph schema --path
      epgraph schema --plugin my_kinds.py -o my.schema.json
    """
    if show_path:
        echo(str(INSTALLED_SCHEMA))
        return
    check_output(output)
    if output is not None and output.is_file() and not _is_schema(output, json_schema()["title"]):
        raise EpgraphError(f"{output}: exists and is no schema of epgraph", "name another file, or delete it")
    write_out(schema_text(), output)


def _is_schema(path: Path, title: str) -> bool:
    """Whether a file is empty, or holds what this command wrote."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES)
        content = json.loads(text or b"{}")
    except (OSError, ValueError, RecursionError):
        return False
    return not text or (isinstance(content, dict) and content.get("title") == title and "$schema" in content)
