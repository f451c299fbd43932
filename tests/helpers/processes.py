"""The command line in processes of their own, which have torch loaded from their start: forks of one that idles.

For what is about a process: its number, its death, its limits. A process of its own to the end, with its own start and
its own streams, is ``subprocess``.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from epgraph.cli import run

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["epgraph.cli", "epgraph.training", "epgraph.data", "torch._dynamo", "sklearn.datasets"]
)


def start(arguments: list[str], said: Path, largest: int | None = None) -> BaseProcess:
    """Start a command, whose output goes to the file ``said``; ``largest``: bytes of a file that it may write."""
    process = _CONTEXT.Process(target=_run, args=(arguments, said, largest))
    process.start()
    return process


def finished(arguments: list[str], said: Path, largest: int | None = None) -> tuple[int | None, str]:
    """Run a command to its end; return its exit code and its output."""
    process = start(arguments, said, largest)
    process.join()
    return process.exitcode, said.read_text()


def _run(arguments: list[str], said: Path, largest: int | None) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    sys.exit(run(arguments))
