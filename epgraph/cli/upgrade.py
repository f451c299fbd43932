"""``epgraph upgrade``: a file in the newest version of the language."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.cli.options import file_argument
from epgraph.cli.output import echo, write_out
from epgraph.files import rewrite_bytes
from epgraph.graph import read
from epgraph.language import upgrade as upgraded


@click.command()
@file_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; left out, FILE itself.")
def upgrade(file: Path, output: Path | None) -> None:
    """Rewrite a file in the newest version of the language; comments and layout stay.

    \b
    Example:
      epgraph upgrade net.yaml
    """
    content, name = read(file)
    text = upgraded(content, name)
    if output is None:
        echo(str(rewrite_bytes(file, text.encode())))
    else:
        write_out(text, output)
