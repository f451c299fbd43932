"""Work in processes of its own, which have torch loaded from their start: forks of one that idles.

For what is about a process: its number, its death, its limits. A process of its own to the end, with its own start and
its own streams, is ``subprocess``.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["epgraph.cli", "epgraph.training", "epgraph.data", "torch._dynamo", "sklearn.datasets"]
)


def start(work: Callable[[], int | None], said: Path) -> BaseProcess:
    """Start what returns an exit code; its output goes to ``said``."""
    process = _CONTEXT.Process(target=_run, args=(work, said))
    process.start()
    return process


def finished(work: Callable[[], int | None], said: Path) -> tuple[int | None, str]:
    """Do it to its end; return its exit code and its output."""
    process = start(work, said)
    process.join()
    return process.exitcode, said.read_text()


def _run(work: Callable[[], int | None], said: Path) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    sys.exit(work())


def forked(work: Callable[[], object]) -> int:
    """Do something in a fork of this process, without output; return its number. Its exit code is a number returned."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        found = work()
        code = found if isinstance(found, int) else 0
    finally:
        os._exit(code)
