"""``epgraph predict``: labels of images of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.api_predict import predict
from epgraph.cli.groups import Machine
from epgraph.cli.options import json_option, options, plugin_option
from epgraph.cli.output import echo, echo_json
from epgraph.cli.types import Whole


@click.command("predict")
@plugin_option
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option("--top", type=Whole(1), default=2, show_default=True, help="Number of classes to show for each image.")
@options(machine=Machine)
@click.option("--free-steps", type=Whole(1), help="Override dynamics.free_steps.")
@json_option
def predict_command(
    run: Path, images: tuple[Path, ...], top: int, machine: Machine, free_steps: int | None, as_json: bool
) -> None:
    """Predict the labels of images.

    RUN is a run folder, or a checkpoint (.pt) in one. An IMAGE is a file, a directory of images, or a .npz or .pt with
    an array x. It is prepared as the images of the run. Printed are the most likely class and the next ones, with
    probabilities where the cost is a cross-entropy, else with scores, the outputs as they are.

    \b
    Example:
      epgraph predict runs/demo photo.png more-photos/
    """
    result = predict(run, images, **machine.chosen(), free_steps=free_steps, progress=True)
    if as_json:
        echo_json(result.to_dict(top))
    else:
        echo(*result.lines(top))
