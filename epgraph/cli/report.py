"""``epgraph report``: runs as one page that a colleague can read."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.api_report import GRADIENTS
from epgraph.api_report import report as write_report
from epgraph.cli.data_option import data_option
from epgraph.cli.groups import DataLimit, Machine
from epgraph.cli.options import json_option, options, plugin_option
from epgraph.cli.output import echo, echo_json
from epgraph.cli.types import METRIC, Named
from epgraph.language.sweep import METRICS


@click.command("report")
@plugin_option
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="File to write: .html, or .md for a pull request.",
)
@click.option("--format", "format_", type=click.Choice(["html", "md"]), help="Format, whatever the suffix says.")
@click.option("--no-figures", is_flag=True, help="Leave out the folder of figures (PNG and SVG) beside the report.")
@click.option("--no-gradients", is_flag=True, help="Leave out the check of the gradients.")
@click.option("--metric", type=Named(METRICS, "METRIC"), default="test_error", show_default=True, help=METRIC)
@data_option("; left out, the data of each run")
@options(files=DataLimit, machine=Machine)
@json_option
def report_command(
    runs: tuple[Path, ...],
    output: Path,
    format_: str | None,
    no_figures: bool,
    no_gradients: bool,
    metric: str,
    data: str | None,
    files: DataLimit,
    machine: Machine,
    as_json: bool,
) -> None:
    """Write one page about runs and sweeps.

    RUN is a run folder or a sweep folder. The page is one file that needs nothing else.

    It has the diagrams, learning curves, comparison with tests, weights beside backpropagation, convergence, agreement
    of gradients, confusion matrix with best and worst images, time and memory, and every setting. Of the runs of one
    setting the first seed is shown by itself.

    \b
    Example:
      epgraph report runs/skips runs/no-skips -o report.html
      epgraph report runs/u12-sweep -o report.md
    """
    result = write_report(
        runs,
        output,
        format=format_,
        figures=not no_figures,
        gradients=0 if no_gradients else GRADIENTS,
        metric=metric,
        data=data,
        **files.chosen(),
        **machine.chosen(),
        progress=True,
    )
    if as_json:
        echo_json(result.to_dict())
    else:
        echo(*result.lines())
