"""``epgraph check``: everything that can be said about a file without running it."""

from __future__ import annotations

from typing import Any

import click

from epgraph.api import check as check_network
from epgraph.checking import CheckResult
from epgraph.cli.diagnostics import print_diagnostics
from epgraph.cli.groups import Network
from epgraph.cli.options import json_option, options, plugin_option
from epgraph.cli.output import echo, echo_json
from epgraph.errors import Diagnostic, EpgraphError
from epgraph.graph import no_collection


class _Command(click.Command):
    """A command whose ``--json`` holds for what is wrong on the command line, and in plugins, as well."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        as_json = "--json" in args
        try:
            return super().make_context(info_name, args, parent, **extra)
        except EpgraphError as error:
            problems = error.diagnostics
            if not as_json:
                raise
        except click.UsageError as error:
            problems = (Diagnostic(error.format_message().rstrip("."), "see 'epgraph check --help'"),)
            if not as_json:
                raise
        echo_json(CheckResult(None, tuple(problems)).to_dict())
        raise click.exceptions.Exit(1)


@click.command(cls=_Command)
@plugin_option
@options(network=Network)
@click.option(
    "--verify", is_flag=True, help="Test with numbers that the edge kinds of the file compute what they declare."
)
@json_option
def check(network: Network, verify: bool, as_json: bool) -> int:
    """Check a network. Print its states, edges, schedule and cost, and which guarantees hold and why.

    Mistakes are printed as file:line:column, all at once, and the exit code is 1.

    \b
    Example:
      epgraph check examples/hopfield_resnet13.yaml
      epgraph check examples/hopfield_resnet13.yaml --schedule coloring --json
      epgraph check net.yaml --plugin my_kinds.py --verify
    """
    with no_collection():
        result = check_network(
            network.file, network.overrides, network.allow_include, schedule=network.schedule, verify=verify
        )
        if as_json:
            echo_json(result.to_dict())
        else:
            print_diagnostics(result.diagnostics)
            echo(*result.lines())
    return 0 if result.ok else 1
