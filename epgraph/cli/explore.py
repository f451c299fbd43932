"""``epgraph explore``: a network, or a run, as a page to look into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from epgraph.api_explore import explore as write_page
from epgraph.cli.data_option import data_option
from epgraph.cli.diagnostics import print_diagnostics
from epgraph.cli.groups import Changes, DataFiles, Machine
from epgraph.cli.options import options, plugin_option
from epgraph.cli.output import echo
from epgraph.cli.types import Whole


@click.command()
@plugin_option
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Page to write, .html; required for a network file; left out, explore.html in the run folder.",
)
@options(changes=Changes)
@data_option("; for a run only; left out, its own data")
@options(files=DataFiles)
@click.option("--examples", type=Whole(1), help="Examples of the curves of a run; left out, 64.")
@options(machine=Machine)
def explore(
    source: Path, output: Path | None, changes: Changes, files: DataFiles, machine: Machine, **settings: Any
) -> None:
    """Write a page that shows a network or a run.

    FILE is a network file or a run folder. The weights of a run are shown, or those of a checkpoint (.pt) in its place;
    a network file has initial ones, and needs -o. The page has the diagram, the equations, the sweep and tables, and
    works offline in a browser. Of a run it also has curves of every checkpoint: energy and residual by sweep, and
    activity, saturation and residual of each state.

    \b
    Example:
      epgraph explore examples/hopfield_resnet13.yaml -o net.html
      epgraph explore runs/demo
    """
    chosen = {**settings, **changes.chosen(), **files.chosen(), **machine.chosen()}
    echo(str(write_page(source, output, **chosen, progress=True, warn=print_diagnostics).path))
