"""A command whose ``--json`` holds for every mistake, those on the command line included."""

from __future__ import annotations

from typing import Any

import click

from epgraph.checking import CheckResult
from epgraph.cli.output import echo_json
from epgraph.errors import Diagnostic, EpgraphError


class JsonCommand(click.Command):
    """A command whose ``--json`` holds for what is wrong on the command line, and in plugins, as well."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of a call; with ``--json`` what is wrong is printed as JSON."""
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
