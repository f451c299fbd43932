"""``epgraph new``: a file to begin with, from a template or with everything explained."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.cli.output import check_output, echo, write_out
from epgraph.cli.starter import STARTER
from epgraph.cli.templates import describe, read_parameters
from epgraph.errors import EpgraphError, nearest
from epgraph.language import INSTALLED_SCHEMA, modeline


class _New(click.Command):
    """A command whose help ends with the templates and their parameters."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the templates below the options."""
        describe(formatter)


@click.command(cls=_New, context_settings={"ignore_unknown_options": True})
@click.option("--template", metavar="NAME", help="Family of networks, with parameters of its own; see below.")
@click.option("--list", "listed", is_flag=True, help="Print the templates and their parameters.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; left out, print it.")
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED, metavar="[--PARAMETER VALUE]...")
def new(template: str | None, listed: bool, output: Path | None, parameters: tuple[str, ...]) -> None:
    """Write a network file to begin with.

    It is a small network with comments, or one of a family.

    \b
    Example:
      epgraph new -o net.yaml
      epgraph new --template unet --depth 2 --width 16 -o net.yaml
      epgraph new --template small_world --states 12 --seed 3 -o net.yaml
    """
    if listed:
        formatter = click.HelpFormatter(width=100)
        describe(formatter)
        echo(*formatter.getvalue().strip().splitlines())
        return
    from epgraph.topologies import TEMPLATES

    if template is None:
        if parameters:
            raise EpgraphError(f"'{parameters[0]}' belongs to no template", "name one with --template NAME")
        text = STARTER
    elif template not in TEMPLATES:
        raise EpgraphError(f"unknown template '{template[:64]}'", nearest(template, list(TEMPLATES)))
    else:
        text = TEMPLATES[template].yaml(**read_parameters(parameters))
    check_output(output)
    if output is not None and output.exists():
        raise EpgraphError(f"{output}: exists already", "name another file, or delete it")
    if output is not None:
        text = modeline(INSTALLED_SCHEMA.as_uri()) + text
    write_out(text, output)
