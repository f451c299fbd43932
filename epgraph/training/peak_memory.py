"""How much memory a process has needed at most."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

from epgraph.training.ranks import ALONE, Ranks

MIB = 1 << 20


def peak_memory(
    device: torch.device, ranks: Ranks = ALONE, status: Path = Path("/proc/self/status")
) -> dict[str, float]:
    """Return the most memory that a process has held since its start, in MiB, by the names in ``metrics.jsonl``.

    On a CUDA device, that of the tensors on the device is a value of its own. Of several processes it is the largest.
    """
    found = {"peak_memory_mib": round(_resident(status) / MIB, 1)}
    if device.type == "cuda":
        found["peak_device_memory_mib"] = round(torch.cuda.max_memory_allocated(device) / MIB, 1)
    every = ranks.gather(found)
    return {name: max(one.get(name, 0.0) for one in every) for name in found}


def _resident(status: Path) -> int:
    """Largest resident size in bytes."""
    if status.is_file():
        # getrusage counts what the parent process held when it started this one.
        marks = [line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")]
        if marks:
            return int(marks[0].split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
