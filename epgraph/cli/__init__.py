"""The command line: one file a command, and one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from epgraph.cli.check import check
from epgraph.cli.compile import compile_command
from epgraph.cli.console import fill_closed_descriptors
from epgraph.cli.eval import eval_command
from epgraph.cli.expand import expand
from epgraph.cli.gradcheck import gradcheck
from epgraph.cli.new import new
from epgraph.cli.render import render
from epgraph.cli.say import say
from epgraph.cli.schema import schema
from epgraph.cli.train import train
from epgraph.cli.tune import tune
from epgraph.cli.upgrade import upgrade
from epgraph.errors import EpgraphError
from epgraph.registry import fault, load_installed

COMMANDS = (new, check, expand, render, train, eval_command, gradcheck, compile_command, tune, schema, upgrade)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="epgraph")
def app() -> None:
    """Declare energy-based networks as graphs in YAML; check, draw and train them by equilibrium propagation.

    \b
    Example:
      epgraph check examples/digits.yaml
      epgraph render examples/digits.yaml -o net.svg
      epgraph train examples/digits.yaml --data digits

    Exit codes: 0 done, 1 the input is at fault, 2 epgraph is at fault. EPGRAPH_TRACEBACK=1 shows tracebacks.
    """


for _command in COMMANDS:
    app.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    fill_closed_descriptors()
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        load_installed()
        result = app.main(arguments, prog_name="epgraph", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except EpgraphError as error:
        say(error.diagnostics)
        return 1
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        help_hint = f"; see '{context.command_path} --help'" if context else ""
        _say(f"epgraph: {error.format_message().rstrip('.')}{help_hint}")
        return 1
    except (KeyboardInterrupt, click.Abort):
        _say("epgraph: interrupted")
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("EPGRAPH_TRACEBACK"):
            traceback.print_exc()
        own = fault(error)
        if own is not None:
            say([own])
            return 1
        _say(
            f"epgraph: internal error: {type(error).__name__}: {error}",
            "This is a mistake in epgraph, not in your file. Run again with EPGRAPH_TRACEBACK=1 and report it.",
        )
        return 2


def _say(*lines: str) -> None:
    for line in lines:
        click.echo(line, err=True)
