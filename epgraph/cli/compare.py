"""``epgraph compare``: what differs between runs, and whether it matters."""

from __future__ import annotations

from pathlib import Path

import click

from epgraph.api_studies import compare as compare_runs
from epgraph.cli.options import json_option, plugin_option
from epgraph.cli.output import check_output, echo, echo_json
from epgraph.cli.types import METRIC, Named
from epgraph.language.sweep import METRICS


@click.command()
@plugin_option
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--metric", type=Named(METRICS, "METRIC"), default="test_error", show_default=True, help=METRIC)
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="File to write: a table (.md, .csv) or learning curves (.png, .svg, .pdf); may be repeated.",
)
@json_option
def compare(runs: tuple[Path, ...], metric: str, outputs: tuple[Path, ...], as_json: bool) -> None:
    """Compare finished runs.

    RUN is a run folder, or a sweep folder, which stands for all its runs. Runs that differ in the seed alone are one
    group. Printed are mean and sample deviation of each group, the keys that differ, and paired tests of each further
    group against the first over common seeds: t test, Wilcoxon, effect size, and the number of seeds that the t test
    would need for power 0.8.

    \b
    Example:
      epgraph compare runs/u12-sweep -o skips.png -o skips.md
      epgraph compare runs/beta-0.1-seed-* runs/beta-0.2-seed-*
    """
    from epgraph.comparison.result import check_suffix

    for output in outputs:
        check_suffix(output)
        check_output(output)
    result = compare_runs(runs, metric=metric, progress=True)
    # Printed first: a figure that cannot be drawn does not lose the report.
    if as_json:
        echo_json(result.to_dict())
    else:
        echo(*result.lines())
    for output in outputs:
        result.write(output)
        if not as_json:
            echo(str(output))
