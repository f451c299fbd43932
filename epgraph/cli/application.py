"""The commands, and what ends one of them early."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from epgraph.cli.check import check
from epgraph.cli.compare import compare
from epgraph.cli.compile import compile_command
from epgraph.cli.eval import eval_command
from epgraph.cli.expand import expand
from epgraph.cli.explore import explore
from epgraph.cli.gradcheck import gradcheck
from epgraph.cli.new import new
from epgraph.cli.predict import predict_command
from epgraph.cli.render import render
from epgraph.cli.report import report_command
from epgraph.cli.schema import schema
from epgraph.cli.sweep import sweep
from epgraph.cli.train import train
from epgraph.cli.tune import tune
from epgraph.plugins import blaming_plugins

COMMANDS = (
    new,
    check,
    expand,
    render,
    explore,
    train,
    eval_command,
    predict_command,
    sweep,
    compare,
    report_command,
    gradcheck,
    compile_command,
    tune,
    schema,
)


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

    Exit codes: 0 done, 1 the input is at fault, 2 epgraph is at fault, 130 interrupted (Ctrl-C). EPGRAPH_TRACEBACK=1
    shows tracebacks.
    """


for _command in COMMANDS:
    app.add_command(_command)
