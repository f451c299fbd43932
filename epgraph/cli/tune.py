"""``epgraph tune``: measure the backends on this machine, and keep the fastest on record."""

from __future__ import annotations

import click

from epgraph.api import tune as tune_network
from epgraph.cli.groups import Network, Tuning
from epgraph.cli.options import json_option, options, plugin_option
from epgraph.cli.output import echo, echo_json


@click.command()
@plugin_option
@options(network=Network)
@click.option("--batch", type=click.IntRange(min=1), help="Examples in a batch; left out, training.batch_size.")
@click.option("--backend", "backends", multiple=True, metavar="NAME", help="Measure only this one; may be repeated.")
@options(machine=Tuning)
@json_option
def tune(network: Network, batch: int | None, backends: tuple[str, ...], machine: Tuning, as_json: bool) -> None:
    """Measure how fast each backend runs a network here, and record the times.

    'train', 'eval' and 'compile' use the record of this network, device, precision, number of threads and torch. They
    take the fastest backend; a short training takes the one that ends first, its start included. --backend measures
    that one again, and keeps the recorded times of the others. Inputs are random. inductor compiles first, which may
    take minutes.

    \b
    Example:
      epgraph tune examples/vgg5.yaml --batch 64
      epgraph tune examples/vgg5.yaml --backend onednn --backend channels_last
    """
    result = tune_network(network.load(), batch=batch, backends=backends, **machine.chosen(), progress=True)
    if as_json:
        echo_json(result.to_dict())
    else:
        echo(*result.lines())
