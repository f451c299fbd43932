"""What a command prints and writes. No other file of the command line prints, but ``diagnostics``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from epgraph.errors import visible
from epgraph.files import check_writable, write_bytes

_OTHER = re.compile(r"[^ -~]")


def echo(*lines: str, err: bool = False) -> None:
    """Print lines. A line break within one is shown as such, as all that does not print."""
    for line in lines:
        click.echo(visible(line), err=err)


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
