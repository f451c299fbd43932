"""``epgraph tune``: measure the backends on this machine, and keep the fastest on record."""

from __future__ import annotations

import click

from epgraph.api import tune as tune_network
from epgraph.cli.data_option import data_option
from epgraph.cli.groups import DataFiles, Network, Tuning
from epgraph.cli.options import json_option, options, plugin_option
from epgraph.cli.output import echo, echo_json
from epgraph.cli.types import Whole


@click.command()
@plugin_option
@options(network=Network)
@data_option("; left out, noise and random labels")
@options(files=DataFiles)
@click.option("--batch", type=Whole(1), help="Examples in a batch; left out, training.batch_size.")
@click.option("--backend", "backends", multiple=True, metavar="NAME", help="Measure only this one; may be repeated.")
@options(machine=Tuning)
@json_option
def tune(
    network: Network,
    data: str | None,
    files: DataFiles,
    batch: int | None,
    backends: tuple[str, ...],
    machine: Tuning,
    as_json: bool,
) -> None:
    """Measure the backends, so that training takes the fastest.

    FILE is a network file or a run folder. The weights of a run are taken, or those of a checkpoint (.pt) in its place;
    a network file has initial ones. The times on this machine are put on record; then a precision is chosen.

    'train', 'eval' and 'compile' use the record of this network, device, precision, number of threads and torch. They
    take the fastest backend; a short training takes the one that ends first, its start included. --backend measures
    that one again, and keeps the recorded times of the others. inductor compiles first, which may take minutes.

    The precision is the one that 'train --dtype auto' would take with these weights. It is on record to be looked up:
    'train' measures on its own weights. Noise says little about accuracy, so give --data. --dtype is the precision in
    which backends are measured.

    \b
    Example:
      epgraph tune examples/vgg5.yaml --batch 64
      epgraph tune examples/digits.yaml --data digits --threads auto
      epgraph tune examples/vgg5.yaml --backend onednn --backend channels_last
    """
    chosen = {**network.chosen(), **files.chosen(), **machine.chosen()}
    result = tune_network(chosen.pop("file"), data, batch=batch, backends=backends, progress=True, **chosen)
    if as_json:
        echo_json(result.to_dict())
    else:
        echo(*result.lines())
