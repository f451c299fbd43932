"""What a command prints and writes. No other file of the command line prints, but ``diagnostics``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from epgraph.errors import visible
from epgraph.files import check_writable, write_bytes

if TYPE_CHECKING:
    from rich.console import Console

_OTHER = re.compile(r"[^ -~]")


def echo(*lines: str, err: bool = False) -> None:
    """Print lines. A line break within one is shown as such, as all that does not print."""
    for line in lines:
        click.echo(visible(line), err=err)


def terminal() -> Console | None:
    """Return the terminal that standard output is, as rich knows it; None where it is a file or a pipe.

    NO_COLOR, TERM and COLUMNS say what they say elsewhere.
    """
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def echo_json(value: Any, output: Path | None = None) -> None:
    """Print a value as one line of JSON, or write it to a file; with escapes for what does not print."""
    text = json.dumps(value, ensure_ascii=False)
    write_out(
        _OTHER.sub(lambda match: match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1], text) + "\n",
        output,
    )


def check_output(output: Path | None) -> None:
    """Refuse, as ``check_writable``, where -o names what must not be written; to call once the inputs are read."""
    if output is not None:
        check_writable(output)


def write_out(text: str, output: Path | None) -> None:
    """Write a text to a file, and print its path; without a file print the text itself. Both are UTF-8.

    Raises
    ------
    EpgraphError
        Where the file cannot be written, or is one of those that were read.
    """
    if output is None:
        # Whatever the encoding of a pipe is said to be: what reads YAML and JSON expects UTF-8.
        binary = hasattr(sys.stdout, "buffer") and not sys.stdout.isatty()
        click.echo(text.encode() if binary else text, nl=False)
    else:
        echo(str(write_bytes(output, text.encode())))
