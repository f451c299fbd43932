"""What a command writes: to the file that was asked for, or to the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.draw.write import write


def write_out(text: str, output: Path | None) -> None:
    """Write a text to a file, and print its path; without a file print the text itself.

    Raises
    ------
    EpgraphError
        Where the file cannot be written.
    """
    if output is None:
        click.echo(text, nl=False)
    else:
        click.echo(write(output, text.encode()))
