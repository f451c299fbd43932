"""``--watch``: run a command again whenever a file that it has read is saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NoReturn

import click

from epgraph.cli.diagnostics import print_diagnostics
from epgraph.cli.output import echo
from epgraph.errors import EpgraphError
from epgraph.files import Stamp, stamp, tracing_inputs

SECONDS = 0.3
"""Time between two looks at the files. Looking costs microseconds, and sees every kind of file system and editor."""

watch_option = click.option(
    "--watch", is_flag=True, help="Run again whenever FILE, or a file that it includes, is saved; Ctrl-C ends it."
)


def watched(act: Callable[[], object]) -> NoReturn:
    """Run ``act`` now and after every change of a file that it has read or looked for; only Ctrl-C ends it.

    Mistakes of the user are printed, and the next change is awaited.
    """
    while True:
        with tracing_inputs() as seen:
            try:
                act()
            except EpgraphError as error:
                print_diagnostics(error.diagnostics)
        echo(f"watching {len(seen)} file{'s' * (len(seen) != 1)}; Ctrl-C ends it", err=True)
        changed = _wait(seen)
        echo("", f"{time.strftime('%H:%M:%S')} {changed} was saved", err=True)


def _wait(seen: Mapping[str, Stamp]) -> str:
    """Return the first file that is not what it was when it was read, once nothing changes any more."""
    while True:
        time.sleep(SECONDS)
        now = {path: stamp(path) for path in seen}
        changed = [path for path in seen if now[path] != seen[path]]
        if not changed:
            continue
        # An editor may empty a file before it writes the new text.
        time.sleep(SECONDS)
        if {path: stamp(path) for path in seen} == now:
            return changed[0]
