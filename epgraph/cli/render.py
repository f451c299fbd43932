"""``epgraph render``: draw a network."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.cli.options import (
    allow_include_option,
    file_argument,
    plugin_option,
    schedule_option,
    set_option,
    settings,
)
from epgraph.cli.output import check_output, echo
from epgraph.cli.say import say
from epgraph.errors import Diagnostic
from epgraph.graph import load


@click.command()
@plugin_option
@file_argument
@allow_include_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Picture to write; .svg, .png, .pdf or .dot.",
)
@schedule_option
@set_option
def render(
    file: Path, allow_include: tuple[Path, ...], output: Path, schedule: str | None, overrides: tuple[str, ...]
) -> None:
    """Draw a network: states by colour class, edges by kind.

    \b
    Example:
      epgraph render examples/hopfield_resnet13.yaml -o net.svg
    """
    from epgraph.drawing import render as draw

    architecture = load(file, settings(overrides, schedule), allow_include)
    check_output(output)
    echo(str(draw(architecture, output, report=lambda note: say([Diagnostic(note, severity="warning")]))))
