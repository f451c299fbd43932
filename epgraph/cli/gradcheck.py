"""``epgraph gradcheck``: whether the gradient is right, for the user's own network and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from epgraph.api import gradcheck as check_gradient
from epgraph.cli.data_option import data_option
from epgraph.cli.diagnostics import print_diagnostics
from epgraph.cli.groups import DataFiles, Machine, Network
from epgraph.cli.options import json_option, options, plugin_option
from epgraph.cli.output import echo, echo_json
from epgraph.cli.types import Whole
from epgraph.drawing.figures import check_figure
from epgraph.errors import EpgraphError


@click.command()
@plugin_option
@options(network=Network)
@data_option("; left out, data.name of FILE; without either, noise in [0, 1] with random labels")
@options(files=DataFiles)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="Run folder or .pt file with the weights for FILE; left out, those of a run, or initial ones.",
)
@click.option("--examples", type=Whole(1), default=8, show_default=True, help="Examples to check on.")
@click.option("--quick", is_flag=True, help="Leave out how beta and the numbers of sweeps change the gradient.")
@click.option("--stepwise", is_flag=True, help="Compare EP with backpropagation through time sweep by sweep as well.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Figure to write; .png, .svg or .pdf.")
@options(machine=Machine)
@click.option(
    "--dtype", type=click.Choice(["float32", "float64"]), default="float64", show_default=True, help="Precision."
)
@json_option
def gradcheck(
    network: Network, files: DataFiles, machine: Machine, output: Path | None, as_json: bool, **settings: Any
) -> None:
    """Check the gradient of a network, edge by edge.

    FILE is a network file, whose initial weights are taken, or a run folder or a checkpoint (.pt), with its weights.

    The configured estimator is compared with two references: backpropagation through the unrolled free phase, and
    implicit differentiation at the equilibrium. This is repeated for other values of beta and other numbers of sweeps.
    The report also has the distance from the equilibrium, the eigenvalues of the linearized update, whether nudged
    states return to the free equilibrium, saturation, and a verdict in words.

    \b
    Example:
      epgraph gradcheck examples/digits.yaml --data digits -o gradcheck.png
      epgraph gradcheck runs/demo
    """
    if output is not None:
        check_figure(output)
        if settings["quick"]:
            what = "how the gradient varies with beta and the sweeps"
            raise EpgraphError(f"--quick leaves out what --output draws: {what}", "leave out one of the two")
    chosen = {**network.chosen(), **settings, **files.chosen(), **machine.chosen()}
    result = check_gradient(chosen.pop("file"), **chosen, progress=True, warn=print_diagnostics)
    # Printed first: a figure that cannot be drawn does not lose the report.
    if as_json:
        echo_json(result.to_dict())
    else:
        echo(*result.lines())
    if output is not None:
        result.draw(output)
        if not as_json:
            echo("", f"figure: {output}")
