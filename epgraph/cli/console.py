"""What a long command prints: a stream that is gone costs one warning, and never the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress

from epgraph.cli.diagnostics import print_diagnostics
from epgraph.cli.output import echo
from epgraph.errors import Diagnostic
from epgraph.runs.launch import launch


class Console:
    """Prints lines to the terminal as long as it takes them.

    A reader that has gone (``| head``), a full device or a closed terminal raise an OSError at a write. The first one
    is said on the other stream, and what follows goes nowhere. Of several processes of torchrun the first one prints.
    """

    def __init__(self) -> None:
        self._warned: set[Diagnostic] = set()
        self._silent = launch().rank > 0

    def out(self, text: str) -> None:
        """Print a line to standard output."""
        self._print(lambda: echo(text), err=False)

    def warn(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Print diagnostics to standard error, each once."""
        new = [d for d in diagnostics if d not in self._warned]
        self._warned.update(new)
        self._print(lambda: print_diagnostics(new), err=True)

    def err(self, text: str) -> None:
        """Print a line to standard error."""
        self._print(lambda: echo(text, err=True), err=True)

    def _print(self, write: Callable[[], None], *, err: bool) -> None:
        if self._silent:
            return
        try:
            write()
            stream = sys.stderr if err else sys.stdout
            if stream is not None:
                stream.flush()
        except (OSError, ValueError) as error:
            _close(2 if err else 1)
            if not err:
                reason = getattr(error, "strerror", None) or str(error)
                lost = f"standard output cannot be written any more: {reason}; the work goes on"
                self.warn([Diagnostic(lost, severity="warning")])


def _close(descriptor: int) -> None:
    """Send a stream to nowhere: Python would complain about what it still holds when it flushes at exit."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
    stream = sys.stdout if descriptor == 1 else sys.stderr
    with suppress(OSError, ValueError, AttributeError):
        stream.flush()


def fill_closed_descriptors() -> None:
    """Open the standard descriptors that are closed on nothing.

    Otherwise the next file that is opened gets their number, and what some library prints lands in it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
