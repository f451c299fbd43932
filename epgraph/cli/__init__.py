"""The command line: one file a command, and one place where errors become messages and exit codes."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from epgraph.cli.check import check
from epgraph.cli.compile import compile_command
from epgraph.cli.console import fill_closed_descriptors
from epgraph.cli.diagnostics import print_diagnostics
from epgraph.cli.eval import eval_command
from epgraph.cli.expand import expand
from epgraph.cli.gradcheck import gradcheck
from epgraph.cli.new import new
from epgraph.cli.output import echo
from epgraph.cli.render import render
from epgraph.cli.schema import schema
from epgraph.cli.train import train
from epgraph.cli.tune import tune
from epgraph.errors import EpgraphError
from epgraph.files import remembering_inputs
from epgraph.registry import blaming_plugins, load_installed

COMMANDS = (new, check, expand, render, train, eval_command, gradcheck, compile_command, tune, schema)


class _Application(click.Group):
    """A group that tells what a plugin raises from what click means by the same exceptions."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with blaming_plugins():
                return super().invoke(ctx)
        except BrokenPipeError:
            # The reader (`| head`) has what it wanted; Python must not complain when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


@click.group(cls=_Application, context_settings={"help_option_names": ["-h", "--help"]})
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # σ and → are in messages, whatever the terminal can show.
            stream.reconfigure(errors="backslashreplace")
    try:
        with remembering_inputs():
            load_installed()
            result = app.main(arguments, prog_name="epgraph", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except EpgraphError as error:
        if os.environ.get("EPGRAPH_TRACEBACK") and error.__cause__ is not None:
            traceback.print_exc()
        print_diagnostics(error.diagnostics)
        return 1
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        help_hint = f"; see '{context.command_path} --help'" if context else ""
        echo(f"epgraph: {error.format_message().rstrip('.')}{help_hint}", err=True)
        return 1
    except (KeyboardInterrupt, click.Abort):
        echo("epgraph: interrupted", err=True)
        return 130
    except Exception as error:
        if os.environ.get("EPGRAPH_TRACEBACK"):
            traceback.print_exc()
        echo(
            f"epgraph: internal error: {type(error).__name__}: {error}",
            "This is a mistake in epgraph, not in your file. Run again with EPGRAPH_TRACEBACK=1 and report it.",
            err=True,
        )
        return 2
