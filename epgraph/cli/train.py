"""``epgraph train``: train a network, and leave a run folder behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from epgraph.api import train as train_network
from epgraph.cli.console import Console
from epgraph.cli.data_option import data_option
from epgraph.cli.groups import MeasuredTraining, Network, TrainingData
from epgraph.cli.options import options, plugin_option
from epgraph.cli.progress import EpochLines, result_lines
from epgraph.cli.types import Whole


@click.command()
@plugin_option
@options(network=Network)
@data_option("; left out, data.name of FILE")
@options(files=TrainingData)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; left out, runs/NAME-DATA.")
@click.option("--epochs", type=Whole(1), help="Override training.epochs.")
@click.option("--seed", type=Whole(0, 2**32 - 1), help="Override training.seed.")
@options(machine=MeasuredTraining)
@click.option(
    "--from",
    "weights",
    type=click.Path(path_type=Path),
    help="Start a new run with these weights: of a run folder or a .pt file.",
)
@click.option("--overwrite", is_flag=True, help="Start over in a run folder that is in use.")
@click.option("--resume", is_flag=True, help="Go on from the run folder's last checkpoint, if there is one.")
@click.option("--pictures/--no-pictures", default=True, help="Draw network.svg and curves.png.")
@click.option(
    "--histograms/--no-histograms", default=True, help="Write histograms of parameters and states to TensorBoard."
)
@click.option("--json", "as_json", is_flag=True, help="Print the metrics of each epoch as JSON lines.")
def train(network: Network, files: TrainingData, machine: MeasuredTraining, as_json: bool, **settings: Any) -> None:
    """Train a network by equilibrium propagation.

    The run folder receives run.json (every setting, versions, data, history), architecture.yaml (complete)
    with its schema, metrics.jsonl (epochs), batches.jsonl (loss, energy, steps and residuals of every batch), last.pt,
    best.pt, network.svg, curves.png and tensorboard/. The same seed gives the same run on the same machine.

    --dtype auto measures on the first training examples, and takes the fastest precision in which the gradient of every
    parameter has a cosine of 0.99 or more to that in float64. --threads auto takes the fewest threads within 5 % of the
    fastest. run.json has the measurements, and a run that goes on keeps the choice.

    Checkpoints are written after every epoch and every training.checkpoint_minutes. SIGINT, SIGTERM and SIGHUP write
    one and end the training. --resume goes on from it: FILE may then be the run folder, and options that are not given
    again are those of the run. With --resume, rates, epochs, batch size, steps, beta and clipping may change. Without a
    checkpoint it starts from the beginning.

    \b
    Example:
      epgraph train examples/digits.yaml
      epgraph train runs/digits-digits --resume --epochs 20
      epgraph train net.yaml --data digits --set learning.beta=0.2 --seed 1 --out runs/beta-0.2
    """
    console = Console()
    named = network.chosen()
    result = train_network(
        named.pop("file"),
        **named,
        **files.chosen(),
        **machine.chosen(),
        **settings,
        progress=True,
        callbacks=[EpochLines(console, as_json)],
        warn=console.warn,
    )
    if not as_json:
        for line in result_lines(result):
            console.out(line)
