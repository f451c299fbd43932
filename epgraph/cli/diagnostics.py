"""Diagnostics for a person at a terminal: the message, the line of the file, and carets under what is meant."""

from __future__ import annotations

from collections.abc import Iterable

import click

from epgraph.errors import Diagnostic

MOST = 100
"""Diagnostics that are printed before it only says how many more there are; ``--json`` prints all."""

COLORS = {"error": "red", "warning": "yellow"}


def print_diagnostics(diagnostics: Iterable[Diagnostic]) -> None:
    """Print diagnostics to stderr; in color where that is a terminal."""
    rows = list(diagnostics)
    for diagnostic in rows[:MOST]:
        for line in lines(diagnostic):
            # click takes colors out again unless it writes to a terminal.
            click.echo(line, err=True)
    if len(rows) > MOST:
        click.echo(f"… and {len(rows) - MOST:,} more; 'epgraph check --json' prints all of them", err=True)


def lines(diagnostic: Diagnostic) -> list[str]:
    """Write a diagnostic and its related ones as lines: the text, and the excerpt where its source is known."""
    text = diagnostic.headline()
    if diagnostic.severity == "warning":
        text = click.style("warning", fg="yellow") + f": {text}"
    others = [(f"or here: {other.headline()}", other) for other in diagnostic.related]
    return [line for words, one in ((text, diagnostic), *others) for line in (words, *_excerpt(one))]


def _excerpt(diagnostic: Diagnostic) -> list[str]:
    excerpt = diagnostic.excerpt()
    if excerpt is None:
        return []
    source, carets = excerpt
    number = str(diagnostic.line)
    margin = " " * max(4, len(number))
    return [
        f"{number.rjust(len(margin))} | {source}".rstrip(),
        f"{margin} | {_colored(carets, diagnostic)}",
    ]


def _colored(carets: str, diagnostic: Diagnostic) -> str:
    indent = len(carets) - len(carets.lstrip())
    return carets[:indent] + click.style(carets[indent:], fg=COLORS[diagnostic.severity], bold=True)
