"""The command line: one file a command, and one place where errors become messages and exit codes."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence

import click

from epgraph.cli.application import app
from epgraph.cli.console import Console, fill_closed_descriptors
from epgraph.cli.diagnostics import print_diagnostics
from epgraph.cli.output import echo
from epgraph.errors import EpgraphError
from epgraph.files import remembering_inputs
from epgraph.plugins import load_installed
from epgraph.runs.launch import launch
from epgraph.runs.stop import Stopped

__all__ = ["app", "main", "run"]


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
    except (EpgraphError, click.ClickException) as error:
        if not _speaks():
            return 1
        if isinstance(error, click.ClickException):
            context = getattr(error, "ctx", None)
            help_hint = f"; see '{context.command_path} --help'" if context else ""
            echo(f"epgraph: {error.format_message().rstrip('.')}{help_hint}", err=True)
            return 1
        if os.environ.get("EPGRAPH_TRACEBACK") and error.__cause__ is not None:
            traceback.print_exc()
        print_diagnostics(error.diagnostics)
        return 1
    except Stopped as stopped:
        Console().err(f"epgraph: {stopped}")
        return stopped.exit_code
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


def _speaks() -> bool:
    """Whether this process is to say what the user did wrong: of several of torchrun the first one is."""
    try:
        return launch().rank == 0
    except EpgraphError:  # what says so is wrong itself
        return True
