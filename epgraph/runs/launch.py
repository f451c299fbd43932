"""How this process was started: alone, or by torchrun as one of several that train together. Loads no torch."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from epgraph.errors import EpgraphError


@dataclass(frozen=True)
class Launch:
    """What torchrun's environment variables say; the defaults stand for a process that was started by itself.

    Attributes
    ----------
    rank, size
        Number of this process, and how many there are.
    local, local_size
        The same among those of this machine.
    restarts
        How often torchrun has started all processes again.
    name
        Name of the job, the same after a restart; empty without torchrun.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    local_size: int = 1
    restarts: int = 0
    name: str = ""


def launch() -> Launch:
    """Read the environment.

    Raises
    ------
    EpgraphError
        If a variable is no number, or the rank is not below the number of processes.
    """
    if not all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")):
        return Launch()
    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    if rank >= size:
        raise EpgraphError(f"RANK is {rank}, but there are {size} processes (WORLD_SIZE)", _HINT)
    job = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    # Without --standalone or --rdzv-id all jobs have the same one, but not the same parent.
    name = f"{socket.gethostname()}/{os.getppid()}" if job == "none" else job
    return Launch(
        rank,
        size,
        _number("LOCAL_RANK", 0),
        _number("LOCAL_WORLD_SIZE", 1),
        _number("TORCHELASTIC_RESTART_COUNT", 0),
        name,
    )


_HINT = "start with: torchrun --nproc-per-node N -m epgraph train …"


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise EpgraphError(f"the environment variable {name} is no whole number: '{text[:64]}'", _HINT)
    return int(text)
