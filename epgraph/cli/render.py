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
    help="Picture to write: .svg, .png, .pdf, .tex (TikZ), .mmd (Mermaid) or .dot.",
)
@click.option(
    "--layout",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="left-right, top-down, u (encoder down, decoder up), stages (a frame for each size of images) or auto.",
)
@click.option(
    "--depth",
    metavar="N",
    help="Levels of blocks that are opened; equal blocks in a row are drawn once, as '× n'. 'all' draws every state; "
    "left out, as much is opened as stays legible.",
)
@watch_option
@click.option(
    "--moral",
    is_flag=True,
    help="Draw as well a dashed line between states that predict one common state (energy predictive).",
)
def render(network: Network, output: Path, watch: bool, layout: str, depth: str | None, moral: bool) -> None:
    """Draw a network: a box for each state, a line for each edge.

    FILE is a network file or a run folder. The color of a box is the class of the schedule in which its state moves;
    the color and style of a line are the kind of the edge. The legend says both.

    \b
    Example:
      epgraph render examples/hopfield_resnet13.yaml -o net.svg
      epgraph render examples/hopfield_resnet13.yaml --depth 0 -o net.tex
    """
    from epgraph.drawing import render as draw

    def report(note: str) -> None:
        print_diagnostics([Diagnostic(note, severity="warning")])

    levels = int(depth) if depth is not None and depth.isascii() and depth.isdecimal() else depth

    def act() -> None:
        architecture = network.load()
        check_output(output)
        path = draw(
            architecture,
            output,
            moral=moral,
            layout=layout,
            depth=levels,  # type: ignore[arg-type]  # what is no number is refused there
            report=report,
            progress=lambda line: echo(line, err=True),
        )
        echo(str(path))

    watched(act) if watch else act()
