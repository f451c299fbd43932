"""``epgraph sweep``: train many variations of a network, or several networks, and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from epgraph.api_studies import sweep as sweep_networks
from epgraph.cli.console import Console
from epgraph.cli.data_option import data_option
from epgraph.cli.groups import Changes, Training, TrainingData
from epgraph.cli.options import json_option, options, plugin_option
from epgraph.cli.output import echo_json
from epgraph.cli.types import OBJECTIVE, Named, Whole, values_option
from epgraph.language.sweep import METRICS, PRUNERS, SAMPLERS


@click.command()
@plugin_option
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@options(changes=Changes)
@data_option("; left out, data.name of FILE")
@options(files=TrainingData)
@values_option("--grid", metavar="KEY=V1,V2", help="Values of a key; may be repeated.")
@values_option("--range", "ranges", metavar="KEY=LOW..HIGH", help="Range of a key, for a sampler.")
@click.option(
    "--without",
    multiple=True,
    metavar="EDGES",
    help="Compare with the network that lacks these edges: a kind (skip), an edge's name, or a->b.",
)
@click.option("--seeds", metavar="0..4", help="Seeds with which each variant is trained: 0..4, or 0,3,7.")
@click.option(
    "--sampler",
    type=Named(SAMPLERS),
    help=f"{', '.join(SAMPLERS)}; grid: all combinations; the others are of Optuna; left out, grid.",
)
@click.option("--trials", type=int, help="Choices that a sampler makes; only with a sampler other than grid.")
@click.option(
    "--pruner", type=Named(PRUNERS), help=f"Stop trials that fall behind: {', '.join(PRUNERS)}; left out, none."
)
@click.option("--objective", type=Named(METRICS, "METRIC"), help=OBJECTIVE)
@click.option("--out", type=click.Path(path_type=Path), help="Sweep folder; left out, runs/NAME-sweep.")
@click.option("--epochs", type=Whole(1), help="Override training.epochs.")
@options(machine=Training)
@json_option
def sweep(
    sources: tuple[Path, ...], changes: Changes, files: TrainingData, machine: Training, as_json: bool, **settings: Any
) -> None:
    """Train variants with several seeds, and test the differences.

    The comparison has means, spread, paired tests and curves.

    What varies is in the section 'sweep' of the first FILE, or in options. Several FILEs are compared with each other.
    Each trial is a run folder. The same command goes on where it was stopped or killed; run by several processes at
    once, it shares the trials. FILE may be a sweep folder.

    \b
    Example:
      epgraph sweep examples/u12.yaml --data digits --without skip --seeds 0..4
      epgraph sweep net.yaml --data digits --range 'training.learning_rate=0.01..0.2 log' --sampler tpe --trials 20
    """
    console = Console()
    chosen = {**changes.chosen(), **files.chosen(), **machine.chosen(), **settings}
    report = None if as_json else console.out
    result = sweep_networks(sources, **chosen, report=report, progress=True, warn=console.warn)
    if as_json:
        echo_json(result.to_dict())
    for line in [] if as_json else result.lines():
        console.out(line)
