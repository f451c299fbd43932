"""How much memory a process has needed at most."""

from __future__ import annotations

from pathlib import Path

import torch

from epgraph.process_memory import STATUS, peak_resident
from epgraph.training.ranks import ALONE, Ranks

MIB = 1 << 20


def peak_memory(device: torch.device, ranks: Ranks = ALONE, status: Path = STATUS) -> dict[str, float]:
    """Return the most memory that a process has held since its start, in MiB, by the names in ``metrics.jsonl``.

    On a CUDA device, that of the tensors on the device is a value of its own. Of several processes it is the largest.
    """
    found = {"peak_memory_mib": round(peak_resident(status) / MIB, 1)}
    if device.type == "cuda":
        found["peak_device_memory_mib"] = round(torch.cuda.max_memory_allocated(device) / MIB, 1)
    every = ranks.gather(found)
    return {name: max(one.get(name, 0.0) for one in every) for name in found}
