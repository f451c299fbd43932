"""``epgraph check``: everything that can be said about a file without running it."""

from __future__ import annotations

import click

from epgraph.api import check as check_network
from epgraph.checking import CheckResult
from epgraph.cli.diagnostics import print_diagnostics
from epgraph.cli.groups import Network
from epgraph.cli.json_command import JsonCommand
from epgraph.cli.options import json_option, options, plugin_option
from epgraph.cli.output import echo, echo_json, terminal
from epgraph.cli.types import Whole
from epgraph.cli.watch import watch_option, watched
from epgraph.graph import no_collection


@click.command(cls=JsonCommand)
@plugin_option
@options(network=Network)
@click.option(
    "--verify",
    is_flag=True,
    help="Check numerically that edge kinds, activations and cost compute what they declare.",
)
@click.option("--batch", type=Whole(1), help="Examples in a batch, for memory and time.")
@watch_option
@json_option
def check(network: Network, verify: bool, batch: int | None, watch: bool, as_json: bool) -> int:
    """Check a network. Print its states, edges and schedule, and which guarantees hold and why.

    FILE is a network file or a run folder. Printed as well are the parameters, and the memory and time of a batch.
    These two are estimates; the time is known once 'epgraph tune' has measured the network.

    Mistakes are printed as file:line:column, all at once, and the exit code is 1.

    \b
    Example:
      epgraph check examples/hopfield_resnet13.yaml
      epgraph check examples/hopfield_resnet13.yaml --schedule coloring --json
      epgraph check net.yaml --plugin my_kinds.py --verify
    """

    def act() -> int:
        with no_collection():
            result = check_network(
                network.file,
                network.overrides,
                network.allow_include,
                schedule=network.schedule,
                verify=verify,
                batch=batch,
            )
            if as_json:
                echo_json(result.to_dict())
            else:
                print_diagnostics(result.diagnostics)
                _print(result)
        return 0 if result.ok else 1

    return watched(act) if watch else act()


def _print(result: CheckResult) -> None:
    """Print the report: as tables on a terminal, else as plain text."""
    console = terminal()
    if console is None or result.report is None:
        echo(*result.lines())
        return
    from epgraph.terminal import show_check

    show_check(result.report, console)
