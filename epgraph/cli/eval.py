"""``epgraph eval``: accuracy of a trained network, and what it confuses."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.api import evaluate
from epgraph.cli.data_option import data_option
from epgraph.cli.diagnostics import print_diagnostics
from epgraph.cli.groups import DataLimit, Machine
from epgraph.cli.options import json_option, options, plugin_option
from epgraph.cli.output import echo, echo_json
from epgraph.cli.types import Whole


@click.command("eval")
@plugin_option
@click.argument("run", type=click.Path(path_type=Path))
@data_option("; left out, the data of the run")
@options(files=DataLimit, machine=Machine)
@click.option("--free-steps", type=Whole(1), help="Override dynamics.free_steps.")
@json_option
def eval_command(
    run: Path, data: str | None, files: DataLimit, machine: Machine, free_steps: int | None, as_json: bool
) -> None:
    """Evaluate a trained network on test images.

    RUN is a run folder or a checkpoint (.pt).

    Printed are loss, top-1 and top-5 accuracy, and the accuracy of each class with the confusion matrix; of many
    classes the worst ones and the most frequent confusions.

    \b
    Example:
      epgraph eval runs/demo
    """
    result = evaluate(
        run,
        data,
        **files.chosen(),
        **machine.chosen(),
        free_steps=free_steps,
        progress=True,
        warn=print_diagnostics,
    )
    if as_json:
        echo_json(result.to_dict())
    else:
        echo(*result.lines())
