"""Trainings by several processes: what a process of one does, faults included."""

from __future__ import annotations

import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

import epgraph as ep
from epgraph.cli import run
from tests.helpers.processes import start


def train_ranks(size: int, arguments: list[str], said: Path, fault: str = "", **variables: object) -> list[int | None]:
    """Train as ``size`` processes without torchrun; return their exit codes. Process n writes to ``said``/n."""
    said.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "job"}
    processes = []
    for rank in range(size):
        environment = {**shared, "RANK": rank, "LOCAL_RANK": rank, "EPGRAPH_TEST_FAULT": fault, **variables}
        work = partial(_rank, {name: str(value) for name, value in environment.items()}, arguments)
        processes.append(start(work, said / str(rank)))
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _rank(environment: dict[str, str], arguments: list[str]) -> int:
    os.environ.update(environment)
    return main(arguments)


def main(arguments: list[str]) -> int:
    """Run the command line as a process of torchrun; ``EPGRAPH_TEST_FAULT`` is rank:batch:fault, of the first start."""
    fault = os.environ.get("EPGRAPH_TEST_FAULT", "")
    if fault and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        rank, batch, what = fault.split(":")
        if rank == os.environ["RANK"]:
            _arm(int(batch), what)
    return run(arguments)


def _arm(at: int, what: str) -> None:
    """Let a fault happen in this process's batch with that number."""
    original, seen = ep.Engine.backward, 0

    def backward(*arguments: Any, **options: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == at:
            match what:
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "term":
                    signal.raise_signal(signal.SIGTERM)
                    signal.raise_signal(signal.SIGTERM)  # the scheduler's, and torchrun's
                case "error":
                    raise ep.EpgraphError("the disk of the data is gone")
                case "bug":
                    raise ZeroDivisionError("a bug")
        return original(*arguments, **options)

    ep.Engine.backward = backward  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
