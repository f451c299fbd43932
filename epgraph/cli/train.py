"""``epgraph train``: train a network, and leave a run folder behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from epgraph.cli.options import (
    allow_include_option,
    backend_option,
    data_options,
    device_option,
    dtype_option,
    file_argument,
    plugin_option,
    schedule_option,
    set_option,
    threads_option,
)
from epgraph.cli.training import Training


@click.command()
@plugin_option
@file_argument
@allow_include_option
@data_options(required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; left out, runs/NAME-DATA.")
@click.option("--epochs", type=click.IntRange(min=1), help="Override training.epochs.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Override training.seed.")
@schedule_option
@set_option
@device_option
@dtype_option
@backend_option
@threads_option
@click.option("--workers", type=click.IntRange(0, 64), help="Processes that load data; left out, chosen by size.")
@click.option("--augment/--no-augment", default=True, help="Augment training images as the data set's recipe says.")
@click.option(
    "--from", "weights", type=click.Path(path_type=Path), help="Start from the weights of a run or a .pt file."
)
@click.option("--overwrite", is_flag=True, help="Start over in a run folder that is in use.")
@click.option("--resume", is_flag=True, help="Go on from the run folder's last checkpoint, if there is one.")
@click.option("--pictures/--no-pictures", default=True, help="Draw network.svg and curves.png.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics of each epoch as JSON lines.")
@click.pass_context
def train(context: click.Context, /, file: Path, **options: Any) -> int:
    """Train a network by equilibrium propagation.

    The run folder receives run.json (every setting, versions, data, history), architecture.yaml (complete),
    metrics.jsonl (epochs), batches.jsonl (loss, energy, steps and residuals of every batch), last.pt, best.pt,
    network.svg, curves.png and tensorboard/. The same seed gives the same run on the same machine.

    Checkpoints are written after every epoch and every training.checkpoint_minutes. SIGINT, SIGTERM and SIGHUP write
    one and end the training. --resume goes on from it: FILE may then be the run folder, and options that are not given
    again are those of the run. Rates, epochs, batch size, steps, beta and clipping may change. Without a checkpoint
    --resume starts from the beginning.

    \b
    Example:
      epgraph train examples/digits.yaml --data digits
      epgraph train runs/digits-digits --resume --epochs 20
      epgraph train examples/vgg5.yaml --data fashion-mnist --set 'input.shape=[1, 32, 32]' \\
          --set learning.beta=0.15 --epochs 5
    """
    given = {name for name in options if context.get_parameter_source(name) == ParameterSource.COMMANDLINE}
    return Training(file, options, given).run()
