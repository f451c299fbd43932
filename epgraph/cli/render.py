"""``epgraph render``: draw a network."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.cli.diagnostics import print_diagnostics
from epgraph.cli.groups import Network
from epgraph.cli.options import options, plugin_option
from epgraph.cli.output import check_output, echo
from epgraph.cli.watch import watch_option, watched
from epgraph.errors import Diagnostic


@click.command()
@plugin_option
@options(network=Network)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Picture to write; .svg, .png, .pdf or .dot.",
)
@watch_option
@click.option("--moral", is_flag=True, help="Draw the pairs of states with edges into one state (energy predictive).")
def render(network: Network, output: Path, watch: bool, moral: bool) -> None:
    """Draw a network: states by colour class, edges by kind.

    \b
    Example:
      epgraph render examples/hopfield_resnet13.yaml -o net.svg
    """
    from epgraph.drawing import render as draw

    def report(note: str) -> None:
        print_diagnostics([Diagnostic(note, severity="warning")])

    def act() -> None:
        architecture = network.load()
        check_output(output)
        echo(str(draw(architecture, output, moral=moral, report=report)))

    watched(act) if watch else act()
